"""What a base has to be for an adapter to learn from it, and to be folded into it."""

import json
from pathlib import Path

from eshop_ray.errors import UserError


def check_unquantized(model_dir: Path) -> None:
    """Refuse a base whose weights are kept in fewer bits: what is added to them is lost, or cannot be added.

    Raises:
        UserError: naming the way out.
    """
    config = json.loads((model_dir / "config.json").read_text())
    kept = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if kept:
        method = kept.get("quant_method") or kept.get("quant_algo") or "some method of its own"
        raise UserError(
            f"the base {model_dir} is kept quantized ({method}): an adapter learns from weights with all their bits, "
            "and is folded into them. Set `model.source` to the model before it was quantized, and quantize the merged "
            "one with `eshop quantize`; to train in little memory, there is `train.method: qlora`"
        )
