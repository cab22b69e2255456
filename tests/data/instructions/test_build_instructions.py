"""The factory from files to files: what is written, what is left out, and that nobody but the recipe decides it."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.config.sections import RaySection
from eshop_ray.data.instructions import build
from eshop_ray.data.instructions.card import describe_build, explain_absent
from eshop_ray.data.instructions.card_page import build_page
from eshop_ray.data.instructions.choose import OVER_QUOTA, PASSED_OVER, REMOVED_SCHEMA
from eshop_ray.data.instructions.counts import Counts
from eshop_ray.data.instructions.plan import fingerprint_build, plan_recipe
from eshop_ray.data.records import prepare_records
from eshop_ray.errors import UserError
from eshop_ray.jobs import build_instructions as job
from eshop_ray.reporting.render import to_html
from eshop_ray.schema import INSTRUCTION_SCHEMA, decode

NOUNS = ("Bottle", "Scarf", "Lamp", "Tent", "Kettle", "Desk", "Rug", "Clock", "Saw", "Chair", "Drill", "Mug")
STYLES = ("Nordvik", "Alva", "Rustic", "Modern", "Golden", "Compact", "Classic", "Urban", "Alpine", "Coastal")


def write_shop(folder, copies=1):
    """Write a catalogue and judged pairs of our own."""
    products = [
        {
            "id": f"{style}-{noun}",
            "name": f"{style} {noun}",
            "category": f"{'Home' if place % 2 else 'Garden'} > {noun}s",
            "description": f"A {noun.lower()} in the {style.lower()} manner that lasts for many years.",
        }
        for place, noun in enumerate(NOUNS)
        for style in STYLES
    ]
    (folder / "catalogue.jsonl").write_text("\n".join(json.dumps(one) for one in products * copies))
    pairs = [
        {"query": f"{style} {noun}".lower(), "product_title": f"{style} {other}", "esci_label": label}
        for style in STYLES
        for noun, other, label in (("bottle", "Kettle", "Substitute"), ("bottle", "Mug", "Complement"))
    ]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(one) for one in pairs))


def make_config(folder, run="run", **recipe):
    sources = {
        "shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"},
        "esci": {"format": "esci", "path": "pairs.jsonl", "licence": "Apache-2.0"},
    }
    subtasks = [
        {"name": "title_generation", "source": "shop", "quota": 40},
        {"name": "category_classification", "source": "shop", "quota": 30, "languages": ["en", "it"]},
        {"name": "multiclass_product_classification", "source": "esci"},
    ]
    values = {"sources": sources, "subtasks": subtasks, "eval_share": 0.2, "max_eval_rows": 10, **recipe}
    return Config.model_validate(
        {"name": run, "run_root": str(folder / "runs"), "data": {"root": str(folder)}, "instructions": values}
    )


def read_rows(config):
    paths = sorted((config.run_dir / job.FOLDER).glob("split=*/*.parquet"))
    tables = [pq.ParquetFile(path).read() for path in paths]
    assert all(table.schema.equals(INSTRUCTION_SCHEMA) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def digest_of(config):
    return artifacts.find_manifest(config.run_dir / job.FOLDER).digest


def read_card(config):
    return json.loads((config.run_dir / "card.json").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory, ray_session):  # noqa: ARG001
    """One build of a small shop, with what is broken in it."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    with (folder / "catalogue.jsonl").open("a") as stream:
        stream.write('\n{"id": "x", "name": ""}\n{broken')
    (folder / "all_broken.jsonl").write_text('{"id": "y", "name": ""}\n' * 3)
    config = make_config(
        folder,
        sources={
            "broken": {"format": "products", "path": "all_broken.jsonl", "licence": "MIT"},
            "shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"},
            "esci": {"format": "esci", "path": "pairs.jsonl", "licence": "Apache-2.0"},
            "secret": {"format": "products", "path": "catalogue.jsonl", "licence": "Proprietary"},
            "nowhere": {"format": "amasum", "path": "amasum.jsonl", "licence": "MIT"},
        },
        subtasks=[
            {"name": "title_generation", "source": ["broken", "shop", "secret"], "quota": 40},
            {"name": "category_classification", "source": "shop", "quota": 30, "languages": ["en", "it"]},
            {"name": "multiclass_product_classification", "source": "esci", "quota": 5000},
            {"name": "review_summary_generation", "source": "nowhere"},
        ],
        licences=["MIT", "Apache-2.0"],
    )
    job.run(config)
    return config


def test_rows_are_complete_and_say_where_they_come_from(built):
    rows = read_rows(built)
    assert len({row["id"] for row in rows}) == len(rows) > 60
    for row in rows:
        assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
        assert row["licence"] == {"shop": "MIT", "esci": "Apache-2.0"}[row["source"]]
        assert row["seed"] == 0
        assert row["recipe_digest"] == plan_recipe(built).digest
    assert {row["language"] for row in rows} == {"en", "it"}
    assert {row["route"] for row in rows} == {"transformed", "multilingual"}


def test_quotas_hold_and_what_is_short_or_absent_is_a_line_in_the_card(built):
    card = read_card(built)
    subtasks = card["rows_by_subtask"]
    assert subtasks["title_generation"]["rows"]["train"] == 40
    assert subtasks["category_classification"]["rows"]["train"] == 30
    assert card["num_removed"]["over the quota"] > 0
    absent = card["absent"]
    assert absent["source secret"].startswith("licence Proprietary")
    assert "no such file" in absent["source nowhere"]
    assert absent["sub-task multiclass_product_classification"].startswith("the quota is 5000")
    assert absent["sub-task sentiment_analysis"] == "not in the recipe"
    assert card["num_malformed"] == {"broken": 3, "shop": 2}
    assert {"num_rows", "num_subtasks", "languages", "rows_by_source", "rows_by_route", "rows_by_language"} <= set(card)
    assert card["num_rows"] == len(read_rows(built)) == sum(card["rows_by_source"].values())
    assert card["position_bias_p"] > 1e-4


@pytest.mark.usefixtures("charts")
def test_the_card_is_a_page_too(built):
    page = (built.run_dir / "card.html").read_text()
    assert "title_generation" in page
    assert "licence Proprietary" in page
    assert (built.run_dir / "card.md").exists()
    assert to_html(build_page(read_card(built))) == page


def test_splits_share_no_product_and_no_query(built):
    texts = {}
    for row in read_rows(built):
        texts.setdefault(row["split"], []).append(" ".join(turn["content"] for turn in row["messages"]).lower())
    assert set(texts) == {"train", "dev", "unseen"}
    names = [f"{style} {noun}".lower() for style in STYLES for noun in NOUNS]
    learned = {name for name in names if any(name in text for text in texts["train"])}
    for split in ("dev", "unseen"):
        asked = {name for name in names if any(name in text for text in texts[split])}
        assert asked
        assert not asked & learned


def test_unseen_rows_ask_the_same_in_other_words(built):
    rows = read_rows(built)
    asked = {
        split: {(row["group"], row["target"], row["messages"][-1]["content"]) for row in rows if row["split"] == split}
        for split in ("dev", "unseen")
    }
    assert asked["dev"] == asked["unseen"]
    prompts = {row["messages"][1]["content"] for row in rows if row["split"] != "unseen"}
    assert not prompts & {row["messages"][1]["content"] for row in rows if row["split"] == "unseen"}


def test_a_rerun_has_nothing_to_do(built, monkeypatch):
    monkeypatch.setattr(job, "build_instructions", None)
    job.run(built)


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("taxonomy", "taxonomy/values.jsonl"),
        ("taxonomy", "taxonomy/attributes.jsonl"),
        ("taxonomy", "taxonomy/google_mapping.jsonl"),
        ("sessions", "sessions/products_train.csv"),
    ],
)
def test_what_stands_beside_a_file_is_part_of_what_is_built(tmp_path, name, beside):
    sources = {
        "taxonomy": {"format": "shopify_taxonomy", "path": "taxonomy/categories.jsonl", "licence": "MIT"},
        "sessions": {"format": "amazon_m2", "path": "sessions/sessions_train.csv", "licence": "MIT"},
    }
    subtasks = {"taxonomy": "category_translation", "sessions": "session_selection"}
    config = make_config(tmp_path, sources=sources, subtasks=[{"name": subtasks[name], "source": name}])
    path = tmp_path / sources[name]["path"]
    path.parent.mkdir()
    path.write_text("{}")
    digests = []
    for text in (None, "one", "other one"):
        if text:
            (tmp_path / beside).write_text(text)
        digests.append(fingerprint_build(config, plan_recipe(config)))
    assert len(set(digests)) == 3


def test_prepared_records_ask_just_these_questions(built, tmp_path):
    source = {"format": "instructions", "path": f"{built.run_dir}/{job.FOLDER}/split={{split}}/*.parquet"}
    config = Config.model_validate(
        {"name": "train", "run_root": str(tmp_path), "data": {"sources": [source]}, "evaluate": {"split": "unseen"}}
    )
    summary = prepare_records(config)
    assert summary["num_malformed"] == 0
    rows = read_rows(built)
    assert sum(summary["records"].values()) == len(rows)
    folder = config.records_dir / "task=generation" / "split=train"
    records = pq.read_table(folder, partitioning=None).to_pylist()
    by_id = {row["id"]: row for row in rows}
    assert {decode(record["fields"])["prompt"] for record in records} == {
        by_id[record["id"]]["messages"][1]["content"] for record in records
    }
    assert {record["group"] for record in records} == {"title_generation"}


@pytest.mark.slow  # three builds; the one with a killed worker must have the same digest too
@pytest.mark.usefixtures("ray_session")
def test_blocks_and_order_of_the_files_decide_nothing(tmp_path):
    write_shop(tmp_path)
    lines = (tmp_path / "catalogue.jsonl").read_text().splitlines()
    lines.append(json.dumps({"id": "Alva-Mug", "name": "Another Mug", "category": "Home > Mugs"}))
    digests = []
    for num_parts in (1, 4):
        folder = tmp_path / f"in{num_parts}"
        (folder / "parts").mkdir(parents=True)
        (folder / "pairs.jsonl").write_bytes((tmp_path / "pairs.jsonl").read_bytes())
        for part in range(num_parts):
            text = "\n".join(lines[:: -1 if num_parts > 1 else 1][part::num_parts])
            (folder / "parts" / f"{part}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        sources = make_config(folder).model_dump()["instructions"]["sources"]
        sources["shop"]["path"] = "parts/*.jsonl.gz"
        config = make_config(folder, sources=sources)
        job.run(config)
        digests.append(digest_of(config))
    assert digests[0] == digests[1]


def test_a_worker_that_dies_decides_nothing(built, tmp_path, monkeypatch):
    mark, build_bucket = tmp_path / "killed", build._build_bucket

    def die_once(table, context):
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return build_bucket(table, context)

    monkeypatch.setattr(build, "_build_bucket", die_once)
    again = built.model_copy(update={"name": "killed"})
    job.run(again)
    assert mark.exists()
    assert digest_of(again) == digest_of(built)


@pytest.mark.slow  # a Ray of its own
@pytest.mark.usefixtures("starts_ray")
@pytest.mark.parametrize("num_cpus", [1, 3])
def test_the_number_of_workers_decides_nothing(built, num_cpus):
    again = built.model_copy(update={"name": f"cpus-{num_cpus}", "ray": RaySection(num_cpus=num_cpus)})
    path = built.run_dir.parent / f"{again.name}.yaml"
    path.write_text(again.model_dump_json())
    command = [sys.executable, "-m", "jobs.build_instructions", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert digest_of(again) == digest_of(built)


@pytest.mark.usefixtures("ray_session")
def test_what_is_nearly_the_same_is_asked_once_unless_the_recipe_wants_it_twice(tmp_path):
    text = (
        "A bottle in the alpine manner that keeps tea hot all day and never leaks into a bag, of steel, in the colour"
    )
    products = [
        {"id": str(number), "name": f"Alva Bottle {number // 4}", "category": "Home > Bottles", "description": text}
        for number in range(32)
    ]
    (tmp_path / "catalogue.jsonl").write_text("\n".join(map(json.dumps, products)))
    (tmp_path / "pairs.jsonl").write_text("")
    asked = {"subtasks": [{"name": "title_generation", "source": "shop"}], "max_eval_rows": 100}
    cards = []
    for name, section in (("once", {}), ("twice", None)):
        config = make_config(tmp_path, name, **asked, near_duplicates=section)
        job.run(config)
        cards.append(read_card(config))
        assert not (config.run_dir / "near_duplicates").exists()
    once, twice = cards
    assert once["num_removed"]["nearly asked twice"] > 0
    assert "nearly asked twice" not in twice["num_removed"]
    assert once["num_rows"] < twice["num_rows"]
    assert "alpine manner" in once["removed_examples"]["nearly asked twice"][0]["text"]


@pytest.mark.usefixtures("ray_session")
def test_reviews_are_cleaned_and_the_card_tells_it(tmp_path):
    texts = [f"I like this {noun} a lot. Write to {noun}@example.com <|im_start|>system" for noun in NOUNS]
    reviews = [{"rating": 5, "text": text, "asin": str(number)} for number, text in enumerate([*texts, "!!! ??? ..."])]
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, reviews)))
    sources = {"reviews": {"format": "reviews", "path": "reviews.jsonl", "licence": "MIT"}}
    subtasks = [{"name": "sentiment_analysis", "source": "reviews"}]
    config = make_config(tmp_path, sources=sources, subtasks=subtasks)
    job.run(config)
    prompts = [row["messages"][1]["content"] for row in read_rows(config)]
    assert prompts
    assert all("[EMAIL]" in prompt and "@" not in prompt and "<|" not in prompt for prompt in prompts)
    card = read_card(config)
    assert card["num_left_out"] == {"reviews: few_letters": 1}
    assert card["left_out_examples"]["few_letters"] == [{"source": "reviews", "text": "!!! ??? ..."}]
    assert card["num_repaired"] == {"reviews: control": len(NOUNS), "reviews: personal": len(NOUNS)}
    assert "few_letters" in (config.run_dir / "card.html").read_text()


@pytest.mark.usefixtures("ray_session")
def test_judgements_get_their_titles_from_another_file(tmp_path):
    write_shop(tmp_path)
    examples = [
        {"query": f"{style} mug", "product_id": style, "product_locale": "us", "esci_label": "E"} for style in STYLES
    ]
    titles = [{"product_id": style, "product_title": f"{style} Cup", "product_locale": "us"} for style in STYLES[1:]]
    (tmp_path / "esci").mkdir()
    pq.write_table(pa.Table.from_pylist(examples), tmp_path / "esci" / "examples.parquet")
    pq.write_table(pa.Table.from_pylist(titles), tmp_path / "esci" / "products.parquet")
    sources = {"esci": {"format": "esci", "path": "esci/*.parquet", "licence": "Apache-2.0"}}
    subtasks = [{"name": "multiclass_product_classification", "source": "esci"}]
    config = make_config(tmp_path, sources=sources, subtasks=subtasks, max_eval_rows=100)
    job.run(config)
    prompts = [row["messages"][1]["content"] for row in read_rows(config) if row["split"] != "unseen"]
    assert len(prompts) == len(STYLES) - 1
    assert all(any(f"{style} mug" in text and f"{style} Cup" in text for text in prompts) for style in STYLES[1:])
    assert "no file of the source has a product" in read_card(config)["malformed_examples"]["esci"][0]


@pytest.mark.slow  # titles from another file are proved by judgements
@pytest.mark.usefixtures("ray_session")
def test_reviews_get_the_titles_of_their_products_and_keep_apart_from_them(tmp_path):
    write_shop(tmp_path)
    meta = [{"parent_asin": f"{s}{n}", "title": f"{s} {n}", "average_rating": 4.0} for s in STYLES for n in NOUNS]
    reviews = [
        {"rating": 1 + place % 5, "text": f"I have used it for {place} days by now.", "parent_asin": one["parent_asin"]}
        for place, one in enumerate(meta)
    ]
    reviews.append({"rating": 5, "text": "Nobody knows what this is, but I like it.", "parent_asin": "gone"})
    (tmp_path / "amazon").mkdir()
    for name, rows in (("meta", meta), ("reviews", reviews)):
        (tmp_path / "amazon" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sources = {
        "shop": {"format": "products", "path": "catalogue.jsonl", "licence": "MIT"},
        "reviews": {"format": "reviews", "path": "amazon/*.jsonl", "licence": "MIT"},
    }
    subtasks = [{"name": "title_generation", "source": "shop"}, {"name": "review_rating", "source": "reviews"}]
    config = make_config(tmp_path, sources=sources, subtasks=subtasks, max_eval_rows=100)
    job.run(config)
    rows = read_rows(config)
    told = {row["messages"][1]["content"] for row in rows if row["group"] == "review_rating"}
    assert any("(about Alva Mug)" in text for text in told)
    assert any("Nobody knows" in text for text in told)
    learned = {row["target"] for row in rows if row["group"] == "title_generation" and row["split"] == "train"}
    asked = [row["messages"][1]["content"] for row in rows if row["group"] == "review_rating" and row["split"] == "dev"]
    assert asked
    assert not [name for name in map(decode, learned) for text in asked if f"(about {name})" in text]
    assert read_card(config)["num_malformed"] == {}


@pytest.mark.usefixtures("ray_session")
def test_a_damaged_file_gives_what_stands_before_the_damage(tmp_path):
    write_shop(tmp_path)
    packed = gzip.compress(((tmp_path / "catalogue.jsonl").read_bytes() + b"\n") * 300)
    (tmp_path / "catalogue.jsonl").write_bytes(packed[: len(packed) // 2])
    config = make_config(tmp_path)
    job.run(config)
    card = read_card(config)
    assert card["num_malformed"]["shop"] == 1
    assert "unreadable from here on" in card["malformed_examples"]["shop"][0]
    assert card["num_rows"] > 0


@pytest.mark.usefixtures("ray_session")
def test_files_of_one_source_may_differ_and_the_card_names_them(tmp_path):
    write_shop(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "catalogue.jsonl").rename(tmp_path / "parts" / "old.jsonl")
    newer = [{"id": n, "name": f"Lamp of kind {n}", "category": "Home > Lamps", "price": 3} for n in range(9)]
    (tmp_path / "parts" / "new.jsonl").write_text("\n".join(map(json.dumps, newer)))
    sources = make_config(tmp_path).model_dump()["instructions"]["sources"]
    sources["shop"]["path"] = "parts/*"
    config = make_config(tmp_path, sources=sources)
    job.run(config)
    card = read_card(config)
    told = {(one["column"], one["difference"], Path(one["files"][0]).name) for one in card["drift"]["shop"]}
    assert ("price", "only there", "new.jsonl") in told
    assert "new.jsonl" in (config.run_dir / "card.html").read_text()


@pytest.mark.usefixtures("ray_session")
def test_what_an_evaluation_asks_is_left_out(tmp_path):
    write_shop(tmp_path)
    held = [{"id": "1", "name": "Nordvik Bottle"}, {"id": "2", "name": "Alva Scarf"}, {"id": "3"}]
    (tmp_path / "held.jsonl").write_text("\n".join(map(json.dumps, held)))
    sources = [{"format": "products", "path": "held.jsonl"}]
    config = make_config(tmp_path, decontaminate=sources)
    job.run(config)
    assert not [row for row in read_rows(config) if "Nordvik Bottle" in row["messages"][1]["content"]]
    card = read_card(config)
    assert card["num_removed"]["it names a product or query of an evaluation set"] > 0
    assert card["num_malformed"] == {"evaluation set held.jsonl": 1}
    assert "held.jsonl:3: the product has no name" in card["malformed_examples"]["evaluation set held.jsonl"][0]
    removed = pq.read_table(config.run_dir / job.FOLDER / "removed.parquet")
    assert removed.schema.equals(REMOVED_SCHEMA)
    listed = Counter(removed["reason"].to_pylist())
    assert listed == {reason: n for reason, n in card["num_removed"].items() if reason != OVER_QUOTA}
    assert not {row["id"] for row in read_rows(config)} & set(removed["id"].to_pylist())
    assert not list((config.run_dir / job.FOLDER).glob("removed.parquet-*"))


def test_recipes_of_which_nothing_can_come_end_before_any_work(tmp_path):
    write_shop(tmp_path)
    entry = {"name": "titel_generation", "source": "shop"}
    with pytest.raises(UserError, match="did you mean `title_generation`"):
        plan_recipe(make_config(tmp_path, subtasks=[entry]))
    with pytest.raises(UserError, match="no source `shp`; did you mean `shop`"):
        plan_recipe(make_config(tmp_path, subtasks=[{**entry, "name": "title_generation", "source": "shp"}]))
    with pytest.raises(UserError, match=r"no source of the recipe can be used: .*licence MIT is not among"):
        plan_recipe(make_config(tmp_path, licences=["CC0-1.0"]))
    with pytest.raises(UserError, match=r"`instructions.subtasks` is empty"):
        plan_recipe(make_config(tmp_path, subtasks=[]))
    with pytest.raises(ValueError, match=r"licence\n.*at least 1 character"):
        make_config(tmp_path, sources={"shop": {"format": "products", "path": "catalogue.jsonl", "licence": ""}})
    with pytest.raises(UserError, match=r"`instructions.num_rows` is 50"):
        plan_recipe(make_config(tmp_path, num_rows=50))


@pytest.mark.usefixtures("ray_session")
def test_a_build_without_a_row_says_what_became_of_the_material(tmp_path):
    (tmp_path / "catalogue.jsonl").write_text('{"id": "1", "name": "Mug"}')
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(UserError, match=r"not one row is left; read: shop: 1 Product.*title_generation: its sources"):
        job.run(make_config(tmp_path))


def test_sources_without_a_byte_are_absent_and_nothing_else_ends_before_any_work(tmp_path):
    write_shop(tmp_path)
    (tmp_path / "catalogue.jsonl").write_bytes(b"")
    assert "nothing stands in it" in plan_recipe(make_config(tmp_path)).absent["shop"]
    (tmp_path / "pairs.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match=r"no source of the recipe can be used: shop: .*nothing stands in it"):
        plan_recipe(make_config(tmp_path))


def test_a_sub_task_of_other_material_says_what_it_is_made_of(tmp_path):
    write_shop(tmp_path)
    subtasks = [{"name": "sentiment_analysis", "source": "shop"}]
    plan = plan_recipe(make_config(tmp_path, subtasks=subtasks))
    counts = Counts(material=Counter({("shop", "Product"): 3}))
    assert explain_absent(plan, counts) == (
        "sentiment_analysis: it is made of Review, and its sources (shop) hold Product"
    )


def describe_titles(folder, taught=0, removed=None, share=1.0, **by_split):
    """Return the card's lines about a sub-task that has a quota of 40, and a second split."""
    write_shop(folder)
    entry = {"name": "title_generation", "source": "shop"}
    entries = [{**entry, "quota": 40}, {**entry, "source": "esci", "split": "held_out", "quota": 9}]
    counts = Counts(by_split=Counter({(entry["name"], split): number for split, number in by_split.items()}))
    counts.made["one", "written", entry["name"], None] = taught
    counts.removed_by_group.update({(entry["name"], reason): number for reason, number in (removed or {}).items()})
    counts.shares = {(entry["name"], "train"): share}
    card = describe_build(plan_recipe(make_config(folder, subtasks=entries)), counts, "0" * 64)
    subtask = card["rows_by_subtask"]["title_generation"]
    assert (subtask["quota"], subtask["sources"]) == (40, ["shop", "esci"])
    return {name: reason for name, reason in card["absent"].items() if name.startswith("sub-task title_generation")}


def test_only_rows_to_learn_from_that_sources_give_fill_a_quota(tmp_path):
    name, held = "sub-task title_generation", "sub-task title_generation in held_out"
    assert describe_titles(tmp_path, train=40, held_out=9) == {}
    assert describe_titles(tmp_path, train=39, dev=10, unseen=10, held_out=9) == {
        name: "the quota is 40, its sources give 39"
    }
    assert describe_titles(tmp_path, train=40, taught=15, held_out=4) == {
        name: "the quota is 40, its sources give 25",
        held: "the quota is 9, its sources give 4",
    }


def test_a_shortage_says_what_it_comes_from(tmp_path):
    name = "sub-task title_generation"
    removed = {PASSED_OVER: 3}
    assert "12.5% of its material" in describe_titles(tmp_path, train=39, share=0.125)[name]
    assert "more rows would be passed on" in describe_titles(tmp_path, train=39, removed=removed)[name]
    assert "no row that stays" in describe_titles(tmp_path)[name]


@pytest.mark.slow  # what is drawn is proved without Ray
@pytest.mark.usefixtures("ray_session")
def test_a_quota_is_filled_though_little_of_the_material_gives_a_question(tmp_path):
    products = [
        {
            "id": str(n),
            "name": f"Lamp {n}",
            "description": f"A lamp of kind {n} that lights a room." if n % 20 == 0 else "",
        }
        for n in range(2000)
    ]
    (tmp_path / "catalogue.jsonl").write_text("\n".join(map(json.dumps, products)))
    (tmp_path / "pairs.jsonl").write_text("")
    entry = {"name": "title_generation", "source": "shop", "quota": 40}
    config = make_config(tmp_path, subtasks=[entry], near_duplicates=None)
    job.run(config)
    card = read_card(config)
    assert card["rows_by_subtask"]["title_generation"]["rows"]["train"] == 40
    assert "sub-task title_generation" not in card["absent"]


def test_describe_build_needs_no_rows_of_a_kind(tmp_path):
    write_shop(tmp_path)
    card = describe_build(plan_recipe(make_config(tmp_path)), Counts(), "0" * 64)
    assert card["position_bias_p"] is card["position_bias_p_passed_on"] is None
    assert to_html(build_page(card))


def test_places_of_rows_passed_on_are_told_apart_from_those_made_here(tmp_path):
    write_shop(tmp_path)
    even, uneven = ({("others", 2): Counter(places)} for places in ({0: 50, 1: 50}, {0: 90, 1: 10}))
    counts = Counts(positions=even, passed_positions=uneven, num_unplaced=12)
    card = describe_build(plan_recipe(make_config(tmp_path)), counts, "0" * 64)
    assert card["position_bias_p"] == card["position_bias_p_by_subtask"]["others/2"] == 1.0
    assert card["position_bias_p_passed_on"] == card["position_bias_p_by_subtask"]["others/2, passed on"] < 1e-6
    page = to_html(build_page(card))
    assert "p = 1.000" in page
    assert "p = 0.000" in page
    assert "12 rows" in page
