"""How PEFT names an adapter's files, and its factors in them."""

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

PREFIX, SUFFIX_A, SUFFIX_B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
"""What stands before and behind the name of the base's module."""
