"""What `ray job submit --working-dir .` sends: the folders that `jobs/` links to travel as files."""

import shutil
import zipfile
from pathlib import Path

from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).resolve().parents[2]


def test_linked_folders_are_packed_as_files(tmp_path):
    checkout = tmp_path / "checkout"
    for folder in ("jobs", "eshop_ray/configs", "eshop_ray/environments"):
        shutil.copytree(ROOT / folder, checkout / folder, symlinks=True)
    create_package(str(checkout), tmp_path / "sent.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        for path in ("configs/demo.yaml", "environments/gpu.txt"):
            assert archive.read(f"jobs/{path}") == (ROOT / "eshop_ray" / path).read_bytes()
        assert "jobs/enrich_catalog.py" in archive.namelist()
