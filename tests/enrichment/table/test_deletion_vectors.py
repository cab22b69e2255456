import uuid

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from eshop_ray.enrichment.table import Writer
from eshop_ray.enrichment.table.deletion import DeletionVector, decode, encode, z85_decode, z85_encode
from tests.enrichment.table.engines import make_rows


@given(st.sets(st.integers(0, 2**34)) | st.integers(1, 70_000).map(range), st.booleans())
def test_positions_survive(positions, is_stored):
    vector = encode(BitMap64(positions))
    if is_stored:
        vector = DeletionVector.from_action(vector.to_action())
    assert vector.cardinality == len(positions)
    assert decode(vector, read=None) == BitMap64(positions)


@given(st.binary(max_size=100))
def test_base85_survives(data):
    assert z85_decode(z85_encode(data))[: len(data)] == data


def test_base85_is_zeromqs():
    assert z85_encode(bytes.fromhex("864FD26FB559F75B")) == "HelloWorld"


@pytest.mark.parametrize("positions", [[0], [4], range(4), [0, 2, 3], range(1000, 2999), range(0, 3000, 7)])
def test_other_engines_decode_the_same_positions(table, positions):
    writer = Writer(table, "run", rewrite_bytes=0)
    file = table.write_file(make_rows({f"p{number}": number for number in range(3000 if max(positions) > 4 else 5)}))
    writer.commit([file], {})
    writer.commit([], {file.path: positions})
    (found,) = pa.table(DeltaTable(table.uri).deletion_vectors()).to_pylist()
    vector = found["selection_vector"]
    assert [number for number, is_kept in enumerate(vector) if not is_kept] == list(positions)


def test_vector_in_a_file_of_its_own_is_read():
    name = uuid.UUID(int=7)
    inline = encode(BitMap64([3, 5]))
    data = z85_decode(inline.place)[: inline.size]
    stored = DeletionVector("u", f"ab{z85_encode(name.bytes)}", inline.size, 2, offset=1)
    files = {f"ab/deletion_vector_{name}.bin": b"\x01" + len(data).to_bytes(4, "big") + data + b"crc!"}
    assert decode(stored, files.__getitem__) == BitMap64([3, 5])


def test_damage_is_noticed():
    vector = encode(BitMap64([3]))
    with pytest.raises(ValueError, match="damaged"):
        decode(DeletionVector("i", "0" * len(vector.place), vector.size, 1), read=None)
    with pytest.raises(ValueError, match="storage type p"):
        decode(DeletionVector("p", "s3://elsewhere/x.bin", 4, 1), read=None)
