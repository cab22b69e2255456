"""Lines that libraries write to every terminal and that no user of a job can act on.

Each is named here with what it says and why it does not matter; all else that a library has to say is shown.
"""

import logging
import os
import re
import warnings

QUIET_LOGGERS = {
    "ray": logging.WARNING,
    "httpx": logging.WARNING,
    "sentence_transformers": logging.WARNING,
    "absl": logging.WARNING,
    # On import, of kernels that CPUs do without.
    "bitsandbytes": logging.ERROR,
    # That Ray protects its cluster with a token, as it does by default.
    "ray._private.authentication": logging.ERROR,
    # That its progress bars are off; jobs show their own.
    "ray.data._internal.progress": logging.ERROR,
}
"""Logger -> the level below which it is not heard."""

RAY_LINES = (
    # Idle workers of a machine with few cores; Ray starts and stops them by itself.
    "PYTHON worker processes have been started",
)
"""Parts of lines that Ray's node sends to the terminal, past all logging."""

WARNINGS = (
    # PEFT asks Transformers for a property by its old name.
    ("`is_gradient_checkpointing` is deprecated", FutureWarning),
)
"""Beginnings of messages, and their category."""


def hush_libraries() -> None:
    """Silence what is listed above. Ray reads its part when it is imported, so this comes first."""
    for name, level in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "|".join(map(re.escape, RAY_LINES)))
    for message, category in WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(message), category=category)
