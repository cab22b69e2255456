"""Packed files and folders of files."""

import bz2
import gzip
import io
import shutil
import zipfile

import pyarrow as pa
import pytest

from eshop_ray.data.files import list_files, open_bytes
from eshop_ray.errors import UserError

TEXT = b"id,name\n1,Pan\n" * 1000


def zipped(*files):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return sink.getvalue()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "several gzip members": gzip.compress(TEXT[:500]) + gzip.compress(TEXT[500:]),
    "bzip2": bz2.compress(TEXT),
    "Zstandard": pa.compress(TEXT, "zstd", asbytes=True),
    "zip": zipped(("p.csv", TEXT), ("__MACOSX/p.csv", b"x"), (".DS_Store", b"x")),
    "nothing": TEXT,
}


@pytest.mark.parametrize("way", PACKED)
@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p"])
def test_contents_tell_how_a_file_is_packed(tmp_path, way, name):
    path = tmp_path / name
    path.write_bytes(PACKED[way])
    with open_bytes(str(path)) as stream:
        assert stream.read() == TEXT


@pytest.mark.parametrize("way", ["gzip", "bzip2", "Zstandard", "zip"])
def test_a_damaged_file_is_one_message(tmp_path, way):
    path = tmp_path / "p.csv"
    path.write_bytes(PACKED[way][:-20])
    with pytest.raises(UserError, match=r"p\.csv: cannot be"), open_bytes(str(path)) as stream:
        stream.read()


def test_an_archive_of_several_files_is_refused(tmp_path):
    path = tmp_path / "p.zip"
    path.write_bytes(zipped(("a.csv", b"x"), ("b.csv", b"y")))
    with pytest.raises(UserError, match=r"found a\.csv, b\.csv; unpack it"), open_bytes(str(path)):
        pass


@pytest.mark.parametrize("pack", [gzip.compress, lambda text: zipped(("p.csv", text))])
def test_a_bomb_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr("eshop_ray.data.formats.packing.FREE_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "p.csv.gz"
    path.write_bytes(pack(bytes(8 << 20)))
    with open_bytes(str(path)) as stream, pytest.raises(UserError, match="MAX_PACKED_RATIO"):
        shutil.copyfileobj(stream, io.BytesIO())


def test_a_folder_stands_for_the_files_in_it(tmp_path):
    for name in ("a/p.csv", "b/c/q.csv", "_SUCCESS", ".hidden.csv", "a/._p.csv", "_temporary/0.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    names = [file.path.removeprefix(f"{tmp_path}/") for file in list_files(str(tmp_path.parent), tmp_path.name)]
    assert names == ["a/p.csv", "b/c/q.csv"]
    assert [file.path.rpartition("/")[2] for file in list_files(str(tmp_path), "**/*.csv")] == ["p.csv", "q.csv"]
    assert [file.path.rpartition("/")[2] for file in list_files(str(tmp_path), ".*.csv")] == [".hidden.csv"]
    assert len(list_files(str(tmp_path), "_SUCCESS")) == 1
