"""Embeddings of questions and training rows, computed once for a run and kept in it."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray.data

from eshop_ray.artifacts import digest_dir, fetch, fingerprint, is_current, read_complete, stage_dir, write_manifest
from eshop_ray.data.few_shot.candidates import Questions
from eshop_ray.data.few_shot.choice import Embeddings
from eshop_ray.datasets import user_errors
from eshop_ray.tasks.metrics.similarity import MINILM, find_encoder, load_encoder

logger = logging.getLogger(__name__)

ROWS_PER_BLOCK = 500
"""A process that encodes starts in ten seconds, and encodes so many texts of average length in as many."""
FILE = "embeddings.npy"


@cache
def digest_encoder() -> str:
    """Return what the embedding model is known by: the digest of its files, or its id where the hub has them."""
    place = find_encoder(MINILM)
    return digest_dir(Path(place)) if Path(place).is_dir() else fingerprint(place)


def embed_groups(folder: Path, groups: Mapping[str, Questions]) -> dict[str, Embeddings]:
    """Return the embeddings of each group's texts, from an earlier run where texts and model are the same.

    Args:
        folder: Where they are kept.
        groups: Rows by group.

    Raises:
        UserError: if the encoder cannot be loaded.
    """
    texts = [text for _, group in sorted(groups.items()) for text in group.texts]
    if not texts:
        return {name: np.empty((0, 0), np.float32) for name in groups}
    inputs = fingerprint([digest_encoder(), _digest_texts(texts)])
    if not is_current(folder, inputs):
        logger.info("embedding %d texts for %s", len(texts), "/".join(folder.parts[-2:]))
        with stage_dir(folder) as staged:
            np.save(staged / FILE, _embed(texts))
            write_manifest(staged, "embeddings", inputs, {"encoder": digest_encoder()}, {"num_rows": len(texts)})
    fetch(folder, read_complete(folder, job="batch_infer"))
    embeddings: Embeddings = np.load(folder / FILE)
    ends = np.cumsum([len(group) for _, group in sorted(groups.items())])
    return dict(zip(sorted(groups), np.split(embeddings, ends[:-1]), strict=True))


def encode_texts(texts: Sequence[str]) -> Embeddings:
    """Return the embedding of each text, of length 1: a product of two is their cosine."""
    vectors = load_encoder(MINILM).encode(
        list(texts), batch_size=64, show_progress_bar=False, normalize_embeddings=True
    )
    return np.asarray(vectors, dtype=np.float32)


def _embed(texts: Sequence[str]) -> Embeddings:
    """Encode on all nodes: equal texts once, in blocks of similar length, for short ones wait for the longest."""
    unique = sorted(set(texts), key=lambda text: (len(text), text))
    table = pa.table({"number": pa.array(range(len(unique)), pa.int64()), "text": pa.array(unique, pa.string())})
    blocks = [table.slice(start, ROWS_PER_BLOCK) for start in range(0, len(unique), ROWS_PER_BLOCK)]
    places = {text: number for number, text in enumerate(unique)}
    with user_errors():
        encoded = ray.data.from_arrow(blocks).map_batches(_encode_block, batch_format="pyarrow", batch_size=None)
        parts = [ray.get(block) for block in encoded.to_arrow_refs()]
    whole = pa.concat_tables(parts).sort_by("number")
    vectors = whole["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(unique), -1)
    in_order: Embeddings = vectors[[places[text] for text in texts]]
    return in_order


def _encode_block(block: pa.Table) -> pa.Table:
    vectors = encode_texts(block["text"].to_pylist())
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table({"number": block["number"], "vector": column})


def _digest_texts(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
