"""What autotuning writes into a config."""

import os

import pytest
import yaml

from eshop_ray.errors import UserError
from eshop_ray.inference.autotune.config_file import check_writable, edit_config

FILE = """\
# the shop
name: "shop"   # a name
infer:
  # about the engine
  engine_kwargs: {max_model_len: 1024}  # short

  batch_size: 64   # rows
  # to be continued

train: {num_epochs: 2}
data:
  sources:
    - {format: catalog, path: 'a.jsonl'}
    # the last one
    - {format: esci, path: a very long path that nobody would like to see broken into two lines whatever the reason is}
"""
SECTION = "infer:\n  batch_size: 7\n  engine_kwargs:\n    max_num_seqs: 9\n  cpu_threads: null\n"


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        (
            FILE,
            FILE.replace("1024}  #", "1024, max_num_seqs: 9} #")
            .replace("64   # rows\n", "7    # rows\n")
            .replace("continued\n\n", "continued\n\n  cpu_threads: null\n"),
        ),
        ("name: x", "name: x\n" + SECTION),
        ("", SECTION),
        ("infer:\nname: x\n", SECTION + "name: x\n"),
        ("infer: {}  # all\n", SECTION.replace("infer:", "infer:     # all")),
        (
            "infer:\r\n    engine_kwargs:\r\n        max_num_seqs: 1\r\n    # more\r\nname: x\r\n",
            "infer:\r\n    engine_kwargs:\r\n        max_num_seqs: 9\r\n    # more\r\n"
            "    batch_size: 7\r\n    cpu_threads: null\r\nname: x\r\n",
        ),
    ],
    ids=["commented", "no section", "empty", "empty section", "braces", "CRLF"],
)
def test_comments_order_and_other_values_stay(tmp_path, text, edited):
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode())
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    edit_config(link, {"infer.batch_size": 7, "infer.engine_kwargs.max_num_seqs": 9, "infer.cpu_threads": None})
    assert path.read_bytes().decode() == edited
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    values = yaml.safe_load(edited)["infer"]
    assert (values["batch_size"], values["engine_kwargs"]["max_num_seqs"], values["cpu_threads"]) == (7, 9, None)
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [line.partition("#")[2] for line in edited.splitlines() if "#" in line] == comments


def test_file_that_shares_a_section_is_left_alone(tmp_path):
    path = tmp_path / "run.yaml"
    text = "serve:\n  engine_kwargs: &shared {max_model_len: 512}\ninfer:\n  engine_kwargs: *shared\n"
    path.write_text(text)
    with pytest.raises(UserError, match=r"its form is unusual; set there: infer.engine_kwargs.max_num_seqs=9"):
        edit_config(path, {"infer.engine_kwargs.max_num_seqs": 9})
    assert path.read_text() == text


def test_file_that_cannot_be_written_is_told_before_the_search(tmp_path, monkeypatch):
    path = tmp_path / "run.yaml"
    path.touch()
    check_writable(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"run.yaml: cannot be written.*autotune.write=false"):
        check_writable(path)
