import json
import uuid
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from eshop_ray.enrichment.table import Writer, deletion
from eshop_ray.enrichment.table.deletion import DeletionVector, VectorWriter, decode, z85_decode, z85_encode
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import make_rows


@given(st.lists(st.sets(st.integers(0, 2**34)) | st.integers(1, 70_000).map(range)), st.integers(0, 200))
def test_positions_survive(bitmaps, inline_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion, "INLINE_BYTES", inline_bytes)
        writer = VectorWriter()
        vectors = [writer.encode(BitMap64(positions)) for positions in bitmaps]
    files = dict([writer.file] if writer.file else [])
    for vector, positions in zip(vectors, bitmaps, strict=True):
        stored = DeletionVector.from_action(json.loads(json.dumps(vector.to_action())))
        assert decode(stored, files.__getitem__) == BitMap64(positions)
        assert (stored.cardinality, stored.path in {None, *files}) == (len(positions), True)


@given(st.binary(max_size=100))
def test_base85_survives(data):
    assert z85_decode(z85_encode(data))[: len(data)] == data


def test_base85_is_zeromqs():
    assert z85_encode(bytes.fromhex("864FD26FB559F75B")) == "HelloWorld"


@pytest.mark.parametrize("inline_bytes", [0, deletion.INLINE_BYTES])
@pytest.mark.parametrize("positions", [[0], [4], range(4), [0, 2, 3], range(1000, 2999), range(0, 3000, 7)])
def test_other_engines_decode_the_same_positions(table, monkeypatch, positions, inline_bytes):
    monkeypatch.setattr(deletion, "INLINE_BYTES", inline_bytes)
    writer = Writer(table, "run", rewrite_bytes=0)
    file = table.write_file(make_rows({f"p{number}": number for number in range(3000 if max(positions) > 4 else 5)}))
    writer.commit([file], {})
    writer.commit([], {file.path: positions})
    (found,) = pa.table(DeltaTable(table.uri).deletion_vectors()).to_pylist()
    vector = found["selection_vector"]
    assert [number for number, is_kept in enumerate(vector) if not is_kept] == list(positions)


def test_vector_of_another_engine_in_a_folder_is_read():
    name, data = uuid.UUID(int=7), deletion._MAGIC + BitMap64([3, 5]).serialize()
    stored = DeletionVector("u", f"ab{z85_encode(name.bytes)}", len(data), 2, offset=1)
    checksum = zlib.crc32(data).to_bytes(4, "big")
    files = {f"ab/deletion_vector_{name}.bin": b"\x01" + len(data).to_bytes(4, "big") + data + checksum}
    assert decode(stored, files.__getitem__) == BitMap64([3, 5])


def test_damage_is_noticed(table, monkeypatch):
    vector = VectorWriter().encode(BitMap64([3]))
    with pytest.raises(ValueError, match="damaged"):
        decode(DeletionVector("i", "0" * len(vector.place), vector.size, 1), read=None)
    with pytest.raises(ValueError, match="storage type p"):
        decode(DeletionVector("p", "s3://elsewhere/x.bin", 4, 1), read=None)
    monkeypatch.setattr(deletion, "INLINE_BYTES", 0)
    writer = Writer(table, "run", rewrite_bytes=0)
    writer.commit([file := table.write_file(make_rows({"a": 1, "b": 2}))], {})
    writer.commit([], {file.path: [0]})
    (path,) = Path(table.uri).glob("deletion_vector_*.bin")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    (file,) = writer.files
    with pytest.raises(UserError, match=rf"{file.path} cannot be read: damaged deletion vector in {path.name}"):
        table.read_file(file)
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name} is missing"):
        table.read_file(file)
