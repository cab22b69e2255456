"""API keys: what is kept of them, and what a file of them has to be."""

import hashlib

import pytest

from eshop_ray.config import ServeSection
from eshop_ray.errors import UserError
from eshop_ray.serving.keys import KeyRing, KeysLostError, make_key, write_line


def write_file(path, *lines, mode=0o600):
    path.touch(mode)
    path.chmod(mode)
    path.write_text("\n".join(lines))
    return path


def test_a_line_holds_the_digest_and_the_limits_and_not_the_key(tmp_path):
    key, known = make_key("search-team", tokens_per_day=1000, note="Ann")
    line = write_line(known)
    assert key not in line
    assert known.sha256 == hashlib.sha256(key.encode()).hexdigest()
    ring = KeyRing(write_file(tmp_path / "keys", "# colleagues", "", line))
    assert ring.find(key) == known
    assert ring.find(key + "x") is None
    assert ring.find("") is None
    assert make_key("search-team")[0] != key


def test_an_environment_variable_holds_the_same_lines(monkeypatch):
    key, known = make_key("a")
    monkeypatch.setenv("SHOP_KEYS", write_line(known))
    assert KeyRing.of(ServeSection(api_keys_env="SHOP_KEYS")).find(key) == known
    with pytest.raises(UserError, match="no environment variable NONE"):
        KeyRing.of(ServeSection(api_keys_env="NONE"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o606])
def test_a_file_that_others_can_use_is_refused(tmp_path, mode):
    path = write_file(tmp_path / "keys", write_line(make_key("a")[1]), mode=mode)
    with pytest.raises(UserError, match=r"keys: others can use .*chmod 600"):
        KeyRing(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("esk-a-key-in-words", r"keys:2: Invalid JSON"),
        ('{"id": "b", "sha256": "ab"}', r"keys:2: sha256"),
        ('{"id": "b"}', r"keys:2: sha256: Field required"),
        ('{"id": "b", "sha256": "%s", "tokens": 1}' % ("0" * 64), r"keys:2: tokens: Extra"),
        ('{"id": "b", "sha256": "%s", "tokens_per_day": 0}' % ("0" * 64), r"keys:2: tokens_per_day"),
        ('{"id": "a", "sha256": "%s"}' % ("0" * 64), r"keys:2: the id `a` stands"),
    ],
)
def test_a_line_that_is_no_key_is_named_and_not_quoted(tmp_path, line, reason):
    path = write_file(tmp_path / "keys", write_line(make_key("a")[1]), line)
    with pytest.raises(UserError, match=reason) as refused:
        KeyRing(path)
    assert "in-words" not in str(refused.value)


def test_a_file_without_keys_or_without_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no API key"):
        KeyRing(write_file(tmp_path / "keys", "# none"))
    with pytest.raises(UserError, match="cannot be read"):
        KeyRing(tmp_path / "none")
    with pytest.raises(UserError, match="not both"):
        KeyRing.of(ServeSection(api_keys_file="keys", api_keys_env="KEYS"))


def test_a_changed_file_is_read_again_and_a_broken_one_lets_nobody_in(tmp_path, caplog):
    (first, first_line), (second, second_line) = make_key("a"), make_key("b")
    path = write_file(tmp_path / "keys", write_line(first_line))
    ring = KeyRing(path)
    path.write_text(write_line(second_line))
    assert ring.find(first) is None
    assert ring.find(second)
    path.write_text(f"{write_line(second_line)}\nno key")
    assert ring.find(second)
    assert "keys:2" in caplog.text
    path.chmod(0o644)
    assert ring.find(second) is None
    path.chmod(0o600)
    assert ring.find(second)
    path.unlink()
    assert ring.find(second) is None


def test_a_key_that_is_gone_is_told_from_a_file_that_is_no_good(tmp_path, caplog):
    line, other = write_line(make_key("a")[1]), write_line(make_key("b")[1])
    path = write_file(tmp_path / "keys", line, other)
    ring = KeyRing(path)
    path.write_text(other)
    assert ring.get("a") is None
    for spoil in (lambda: path.write_text(""), lambda: path.chmod(0o644), path.unlink):
        write_file(path, line)
        assert ring.get("a")
        caplog.clear()
        spoil()
        with pytest.raises(KeysLostError):
            ring.get("a")
        assert "no API key holds any more" in caplog.text
    assert KeyRing().get("a") is None  # whose batches come from a time when the endpoint had keys


def test_an_id_has_to_be_one():
    with pytest.raises(UserError, match="id: "):
        make_key("two words")
