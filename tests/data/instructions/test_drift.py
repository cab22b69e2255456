"""In what files of a source differ: what is said of it, and what is no difference."""

from eshop_ray.data.instructions.drift import find_drift, read_columns

ROW = {"id": "1", "title": "Mug", "price": 3.5, "tags": ["tea"]}


def sample(path, rows):
    return read_columns(path, rows)


def make_files(**rows):
    return [sample(path, [row] * 10) for path, row in rows.items()]


def tell(files):
    return [(row["column"], row["difference"], row["files"]) for row in find_drift(files)]


def test_files_of_the_same_columns_do_not_differ():
    assert tell(make_files(a=ROW, b=ROW, c={**ROW, "price": 4})) == []


def test_a_column_that_a_file_lacks_adds_or_has_of_another_type_is_named_with_the_file():
    lacking = {name: value for name, value in ROW.items() if name != "tags"}
    files = make_files(a=ROW, b=ROW, c=lacking, d={**ROW, "ean": "4"}, e={**ROW, "price": "3.50 EUR"})
    assert tell(files) == [
        ("ean", "only there", ["d"]),
        ("tags", "missing", ["c"]),
        ("price", "text, elsewhere number", ["e"]),
    ]
    assert tell(files[::-1]) == tell(files)
    assert {row["of"] for row in find_drift(files)} == {5}


def test_what_is_there_at_times_only_is_no_difference():
    rows = [{**ROW, "note": "new"} if place == 3 else ROW for place in range(50)]
    assert tell([sample("a", rows), sample("b", [ROW] * 10)]) == []
    assert tell([sample("a", [{**ROW, "price": None}] * 10), sample("b", [ROW] * 10)]) == []
    assert sample("c", [ROW] * 2) is None


def test_files_of_another_kind_are_not_compared():
    judgement = {"query": "mug", "product_id": "1", "esci_label": "E", "product_locale": "us"}
    product = {"product_id": "1", "product_title": "Mug", "product_brand": "", "product_color": "", "product_text": ""}
    assert tell(make_files(a=judgement, b=product, c=judgement)) == []
