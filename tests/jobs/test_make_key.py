"""`eshop make-key`: a line for the file on standard output, and the key apart from it."""

import pytest

from eshop_ray.cli.app import build_group, call
from eshop_ray.errors import UserError
from eshop_ray.serving.keys import KeyRing


def make(*words):
    call(build_group(), ["make-key", *words], "eshop")


def test_line_and_key(tmp_path, capsys):
    make("search-team", "--tokens-per-day", "1000", "--note", "Ann")
    printed = capsys.readouterr()
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(printed.out)
    key = printed.err.split()[-1]
    known = KeyRing(path).find(key)
    assert (known.id, known.tokens_per_day, known.requests_per_minute, known.note) == ("search-team", 1000, None, "Ann")
    assert key not in printed.out


def test_a_limit_has_to_be_one(capsys):
    with pytest.raises(UserError, match="requests_per_minute"):
        make("a", "--requests-per-minute", "0")
    assert not capsys.readouterr().out
