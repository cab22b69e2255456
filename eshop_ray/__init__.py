"""From a shop's raw catalogue and reviews to a tuned shopping LLM, on Ray."""
