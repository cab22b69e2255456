"""A lock file with the digest of every package's file, for the Python and the machine that this runs on.

    .venv/bin/python .ci/hash_lock.py eshop_ray/environments/cpu.txt

writes `cpu-TAG.txt` beside it, with which `pip install --require-hashes` takes no other file. Run it again whenever the
lock changes.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = "# {name} with digests, for {tag}; written by .ci/hash_lock.py. `pip install --require-hashes --no-deps -r`.\n"


def main(lock: str) -> None:
    """Write the file."""
    path = Path(lock)
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{sys.platform}-{platform.machine()}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        subprocess.run([*command, "-r", lock, "--report", str(report)], check=True)
        found = {}
        for package in json.loads(report.read_text())["install"]:
            digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
            found[package["metadata"]["name"]] = (package["metadata"]["version"], digest)
    lines = [f"{name}=={found[name][0]} --hash=sha256:{found[name][1]}" for name in sorted(found, key=str.lower)]
    target = path.with_name(f"{path.stem}-{tag}.txt")
    target.write_text(HEADER.format(name=path.name, tag=tag) + "\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} packages")


if __name__ == "__main__":
    main(sys.argv[1])
