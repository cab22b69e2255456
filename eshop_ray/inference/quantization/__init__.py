"""From a finished model to a smaller one: post-training quantization."""
