"""What was derived from a user's reviews is found, and removed, when the reviews have left the shop's files already."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.config import Config
from eshop_ray.enrichment.erase_reviewer import count_reviews, erase_reviewer, find_reviewer
from eshop_ray.enrichment.scan import hash_reviewer
from eshop_ray.errors import UserError
from eshop_ray.jobs import erase
from tests.enrichment.shop import Shop, product, review

USER, OTHER = "AHCJ55GMJLEF", "anne"


@pytest.fixture
def shop(tmp_path, ray_session):  # noqa: ARG001 - nights join the session's Ray
    """Of six products three have reviews: p0 by both users, p2 by the other one, p4 by the user."""
    shop = Shop(tmp_path, num_products=6)
    by = {0: (USER, OTHER), 2: (OTHER,), 4: (USER,)}
    shop.reviews = [
        {**review(number, f"number {len(user)} of {number}"), "user_id": user} for number in by for user in by[number]
    ]
    return shop


def forget(shop):
    """What the shop does before it asks for the rest: it deletes the user's reviews and exports again."""
    shop.reviews = [row for row in shop.reviews if row["user_id"] != USER]
    shop.write()


def hashes_in(folder):
    files = [path for path in folder.rglob("part-*.parquet") if "/task=" in str(path)]
    lists = [pq.read_table(path, partitioning=None)["reviewers"].to_pylist() for path in files]
    return {reviewer for column in lists for row in column for reviewer in row or ()}


def reviewers_of(shop):
    return {key[0]: set(row["reviewers"]) for key, row in shop.rows().items() if row["reviewers"]}


def test_what_was_made_of_a_users_reviews_is_gone_in_every_version_and_asked_again(shop):
    shop.night()
    (both, own) = (reviewers_of(shop)[name] for name in ("p0", "p4"))
    (reviewer,) = own
    assert reviewer in both
    assert len(both) == 2
    assert USER not in str(shop.rows())
    shop.products[0] = product(0, name="blue hat")  # leaves old versions behind
    del shop.products[4]  # leaves a tombstone with its prediction
    shop.night()
    others = {key: row for key, row in shop.rows().items() if key[1] != "summarization" or key[0] == "p2"}
    forget(shop)
    erased = erase_reviewer(shop.config(), USER)
    assert (erased.num_rows, erased.num_unknown_rows) == (2, 0)
    assert erased.num_old_files > 0
    left = {key: row for key, row in shop.rows().items() if key[1] != "summarization" or key[0] == "p2"}
    assert left == others
    assert not {("p0", "summarization"), ("p4", "summarization")} & shop.rows().keys()
    assert reviewer not in hashes_in(shop.folder)
    report = shop.folder / "runs" / "shop" / "enrichment.json"
    shown = {(row["product_id"], row["task"]) for row in json.loads(report.read_text())["examples"]}
    assert not {("p0", "summarization"), ("p4", "summarization")} & shown
    night = shop.night()
    assert (night["num_inferred"], night["num_new"]) == (1, 1)
    assert reviewers_of(shop)["p0"] == both - own
    again = erase_reviewer(shop.config(), USER)
    assert (again.num_rows, again.num_old_files) == (0, 0)


@pytest.mark.slow
def test_old_versions_are_searched_after_the_night_that_no_longer_saw_the_reviews(shop):
    shop.night()
    forget(shop)
    shop.night()
    assert len(hashes_in(shop.folder)) == 2
    erased = erase_reviewer(shop.config(), USER)
    assert erased.num_rows == 0
    assert erased.num_old_files > 0
    assert len(hashes_in(shop.folder)) == 1
    assert shop.night()["num_inferred"] == 0


@pytest.mark.slow  # two nights
def test_trouble_with_a_users_reviews_leaves_the_quarantine(shop):
    shop.faults = {"reject_on": "of 4"}
    shop.night()
    assert [(row["product_id"], row["task"]) for row in shop.quarantine()] == [("p4", "summarization")]
    forget(shop)
    erased = erase_reviewer(shop.config(), USER)
    assert (erased.num_rows, erased.num_quarantined, shop.quarantine()) == (2, 1, [])


def test_reviews_that_still_stand_are_counted_and_nothing_is_changed(shop):
    shop.night()
    version = shop.version()
    with pytest.raises(UserError, match=r"2 reviews of this user still stand .* Nothing was changed") as refused:
        erase_reviewer(shop.config(), USER)
    assert USER not in str(refused.value)
    assert shop.version() == version


@pytest.mark.slow  # three nights
def test_reviewers_come_to_rows_from_before_without_a_question(shop):
    named = shop.reviews
    shop.reviews = [{name: value for name, value in row.items() if name != "user_id"} for row in named]
    shop.night()
    assert reviewers_of(shop) == {}
    unknown = erase_reviewer(shop.config(), USER)
    assert (unknown.num_rows, unknown.num_unknown_rows) == (0, 3)
    before = shop.rows()
    shop.reviews = named
    night = shop.night()
    assert (night["num_inferred"], night["num_changed"], night["num_unchanged"]) == (0, 0, 18)
    assert reviewers_of(shop).keys() == {"p0", "p2", "p4"}
    assert {key: row["prediction"] for key, row in shop.rows().items()} == {
        key: row["prediction"] for key, row in before.items()
    }
    version = shop.version()
    assert shop.night()["num_unchanged"] == 18
    after = pl.read_delta(shop.config().table_uri)
    assert set(after["run_id"].to_list()) == {before["p1", "ner_tagging"]["run_id"]}
    assert shop.version() - version <= 2  # the beginning of a run, and no commit of rows


def test_job_says_what_it_removed_and_never_whose(shop, caplog):
    shop.night()
    forget(shop)
    caplog.set_level("INFO")
    erase.run(shop.config(), review_users=[USER])
    assert "erased: num_rows 2, " in caplog.text
    assert "the next night asks about these products again" in caplog.text
    assert USER not in caplog.text
    with pytest.raises(UserError, match="--product ID or --review-user ID"):
        erase.run(shop.config())


def test_users_ids_are_one_however_they_are_written(tmp_path):
    rows = [{"u": 7}, {"u": "7"}, {"u": " 7.0 "}, {"u": 70}, {"u": None}, {}, {"u": [7]}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON")
    (tmp_path / "s.csv").write_text("u,text\n7,x\n8,y\n")
    values = {"name": "n", "data": {"root": str(tmp_path)}}
    config = Config.model_validate({**values, "reviews": {"path": "*.*", "columns": {"user_id": "u"}}})
    assert count_reviews(config, "7") == 4
    assert count_reviews(Config.model_validate(values), "7") == 0


def test_digests_of_two_tables_do_not_compare():
    assert len({hash_reviewer(user, salt) for user in ("a", "b") for salt in ("one table", "another")}) == 4


def test_rows_of_a_reviewer_are_found_among_lists_and_nulls():
    lists = [["a", "b"], None, [], ["b"], ["ab"]]
    for chunks in ([lists], [lists[:2], lists[2:]], [[]]):
        column = pa.chunked_array([pa.array(chunk, pa.list_(pa.string())) for chunk in chunks])
        assert find_reviewer(column, "b").tolist() == [
            row == ["a", "b"] or row == ["b"] for chunk in chunks for row in chunk
        ]


@pytest.mark.parametrize("user", ["", "  ", "x" * 600])
def test_what_is_no_id_is_refused(tmp_path, user):
    with pytest.raises(UserError, match="that is no id of a user"):
        erase_reviewer(Config(name="n", run_root=str(tmp_path)), user)
