"""Marks by which chat templates tell who speaks: in a customer's text they would end the turn that quotes it."""

import re

CONTROL = (
    r"<\|[\w/ .-]{1,40}\|>|<\x{ff5c}[\w/ .\x{2581}-]{1,40}\x{ff5c}>"
    r"|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad|unk)>|\[/?INST\]|<</?SYS>>"
)
"""Of ChatML, Llama, Mistral, Gemma, Phi, Qwen and DeepSeek, as Arrow's regular expressions write it."""
_CONTROL = re.compile(re.sub(r"\\x\{(\w+)\}", r"\\u\1", CONTROL))


def strip_control(text: str) -> str:
    """Return a text with a blank for each such mark: what stands on both sides of it cannot become another."""
    return _CONTROL.sub(" ", text)
