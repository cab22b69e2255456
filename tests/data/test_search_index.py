"""Search by words and by meaning, before a table of a few products and an encoder that knows four words."""

import numpy as np
import pytest

from eshop_ray.data.search_index import Attribute, Document, SearchIndex
from eshop_ray.data.search_index.document import DIMENSIONS

MEANINGS = (("pan", "skillet", "cook"), ("spade", "dig"), ("mat", "yoga"), ("it's",))


def encode(texts):
    """Texts of one meaning are near each other, whatever words they have."""
    vectors = np.full((len(texts), DIMENSIONS), 1e-3, np.float32)
    for row, text in enumerate(texts):
        for column, words in enumerate(MEANINGS):
            vectors[row, column] += any(word in text.casefold() for word in words)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def document(number, name, **attributes):
    facets = tuple(Attribute(key, value, "facts") for key, value in attributes.items())
    return Document(f"p{number}", name, "Shop", "", "", facets, ())


DOCUMENTS = [
    document(1, "Steel pan", color="Red", note="it's"),
    document(2, "Garden spade", color="blue"),
    document(3, "Yoga mat", color="red"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    index = SearchIndex(str(tmp_path_factory.mktemp("index")), encode)
    assert not index.exists()
    index.sync([DOCUMENTS], "encoder")
    return index


def search(index, query, *filters, limit=10):
    return [hit.document.id for hit in index.search(query, filters, limit)]


def test_words_and_meaning_find(index):
    assert search(index, "steel")[0] == "p1"
    assert search(index, "something to cook in") == ["p1"]
    assert search(index, "pan yoga", limit=1) in (["p1"], ["p3"])
    assert search(index, "p2") == ["p2"]
    assert index.search("spade", (), 1)[0].cosine > 0.9


def test_nothing_is_found_where_nothing_is_meant(index):
    assert search(index, "xyzzy") == []


def test_filters_all_hold_and_case_does_not_count(index):
    assert set(search(index, "", ("Color", "RED"))) == {"p1", "p3"}
    assert search(index, "pan spade mat", ("color", "red"), ("note", "it's")) == ["p1"]
    assert search(index, "", ("color", "green")) == []
    assert set(search(index, "")) == {"p1", "p2", "p3"}


@pytest.mark.parametrize("query", ["pan' OR '1'='1", '"', "a AND (", "*", "pan\x00", "🧘", "x" * 5000, "\\", "- +"])
def test_nothing_in_a_query_is_syntax(index, query):
    search(index, query, (query, query))
    search(index, query)
    index.find([query])


def test_a_form_of_another_version_is_made_anew(tmp_path):
    import lancedb

    lancedb.connect(tmp_path).create_table("products", [{"id": "p9"}])
    index = SearchIndex(str(tmp_path), encode)
    assert index.sync([DOCUMENTS], "encoder").num_new == 3
    assert index.sync([DOCUMENTS], "other encoder").num_changed == 3
