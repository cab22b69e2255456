"""Who gets in from another machine: two network namespaces with a cable between them."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eshop_ray.serving.keys import make_key, write_line
from tests.serving.other_machine import PORT

ROOT = Path(__file__).parents[2]
NAMESPACES = ["unshare", "--user", "--map-root-user", "--net"]
SERVER = "10.77.0.1"


def find_obstacle():
    """Return why no machines can be made up here; empty: they can."""
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"{', '.join(missing)} not found"
    probe = "unshare --net sleep 5 & until [ $(readlink /proc/$!/ns/net) != $(readlink /proc/self/ns/net) ]; do :; done"
    probe += "; ip link add here type veth peer name there netns $!; status=$?; kill $!; exit $status"
    done = subprocess.run([*NAMESPACES, "bash", "-c", probe], capture_output=True, text=True, timeout=20, check=False)
    return done.stderr.strip()


OBSTACLE = find_obstacle()
pytestmark = pytest.mark.skipif(bool(OBSTACLE), reason=f"no network namespaces here: {OBSTACLE}")


def ask_from_outside(folder, host, *key):
    """Return what a client on the other machine gets of a gateway that listens on a host."""
    module = [sys.executable, "-m", "tests.serving.other_machine"]
    server = shlex.join([*module, "serve", host, str(folder)])
    client = shlex.join([*module, "ask", f"http://{SERVER}:{PORT}/v1/models", *key])
    done = subprocess.run(
        [*NAMESPACES, "bash", str(Path(__file__).with_name("two_machines.sh")), server, client],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def write_keys(folder):
    key, known = make_key("other")
    (folder / "keys.txt").write_text(write_line(known))
    return key


def test_by_default_nobody_listens_for_others(tmp_path):
    assert ask_from_outside(tmp_path, "127.0.0.1") == "refused"


def test_without_keys_others_are_refused_even_where_somebody_has_it_listen_to_them(tmp_path):
    assert ask_from_outside(tmp_path, "0.0.0.0") == "403 keys_wanted"


def test_with_keys_a_key_opens_and_nothing_else_does(tmp_path):
    key = write_keys(tmp_path)
    assert ask_from_outside(tmp_path, "0.0.0.0") == "401 invalid_api_key"
    (tmp_path / "keys").unlink()
    assert ask_from_outside(tmp_path, "0.0.0.0", key) == "200"
