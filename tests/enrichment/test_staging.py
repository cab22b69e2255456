"""The workspace of a night: its own while the night lives, cleared away after it was killed."""

import subprocess
import sys
from pathlib import Path

from eshop_ray.enrichment.staging import open_staging

ROOT = Path(__file__).resolve().parents[2]

NIGHT = """
import sys, time
from pathlib import Path
from eshop_ray.enrichment.staging import open_staging
staging, held = open_staging(Path(sys.argv[1]), "other", 2)
print(staging.folder, flush=True)
time.sleep(600)
"""


def test_the_next_night_clears_up_after_one_that_was_killed(tmp_path):
    night = subprocess.Popen([sys.executable, "-c", NIGHT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    folder = Path(night.stdout.readline().strip())
    mine, held = open_staging(tmp_path, "mine", 2)
    assert folder.exists(), "the other night is at work in it"
    night.kill()
    night.communicate()
    next_one, next_held = open_staging(tmp_path, "next", 2)
    assert not folder.exists()
    assert Path(mine.folder).exists()
    held.close()
    open_staging(tmp_path, "last", 2)[1].close()
    assert not Path(mine.folder).exists()
    assert Path(next_one.folder).stat().st_mode & 0o077 == 0
    next_held.close()
