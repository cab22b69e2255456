"""Runs `UserModel` of a submission: a program by itself, which any Python may run, without this package.

    python submission_process.py FOLDER READ_FD WRITE_FD

Questions come and answers go as lines of JSON through two pipes; what the submission prints goes where its output goes.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


def main(folder: str, read_fd: str, write_fd: str) -> None:
    """Load the submission, say that it is up, and answer until the pipe ends."""
    os.chdir(folder)
    sys.path[0] = folder
    with os.fdopen(int(read_fd)) as calls, os.fdopen(int(write_fd), "w") as replies:

        def reply(**values: Any) -> None:
            replies.write(json.dumps(values) + "\n")
            replies.flush()

        try:
            model = load(Path(folder))
        except BaseException as error:
            traceback.print_exc()
            reply(error=f"{type(error).__name__}: {error}")
            return
        reply(value=None)
        for line in calls:
            call = json.loads(line)
            try:
                value = getattr(model, call["method"])(*call["arguments"])
                text = json.dumps({"value": value}, default=describe)
            except BaseException as error:
                traceback.print_exc()
                reply(error=f"{type(error).__name__}: {error}")
                return
            replies.write(text + "\n")
            replies.flush()


def load(folder: Path) -> Any:
    """Return the submission's model."""
    name = "models.user_config" if (folder / "models" / "user_config.py").is_file() else "user_config"
    return importlib.import_module(name).UserModel()


def describe(value: Any) -> Any:
    """Return an array of NumPy or pandas as a list; of what else JSON cannot hold, something that is no text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return {"not JSON": type(value).__name__}


if __name__ == "__main__":
    main(*sys.argv[1:])
