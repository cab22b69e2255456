"""Files of a model folder that prepare pictures, sound and films for a model that reads more than text."""

import json
import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

PATTERN = "*processor_config.json"
"""As Transformers names them. The template is the tokenizer's: an older `chat_template.json` would win over it."""


def copy_processors(source: Path, folder: Path) -> None:
    """Copy a model's processor files, without which engines do not load it; text models have none.

    Args:
        source: The model.
        folder: One that was made of it; where that is its text part only, nothing is copied.
    """
    paths = sorted(source.glob(PATTERN))
    if paths and _read_kind(source) != _read_kind(folder):
        logger.warning("%s reads text only: Transformers takes no more of %s as a language model", folder, source)
        return
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def _read_kind(model_dir: Path) -> str:
    kind: str = json.loads((model_dir / "config.json").read_text())["model_type"]
    return kind
