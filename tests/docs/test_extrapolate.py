"""The arithmetic behind `docs/scale.md`: lines through made-up nights, counts by the code's constants, what bites."""

import json
from pathlib import Path

import pytest

from eshop_ray.config.nightly import TableSection
from tests.bench import extrapolate

SIZES = extrapolate.RECORDED_BYTES
PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def night(scan, plan, infer=0.0):
    return {"phases": {"scan": scan, "plan": plan, "infer": infer, "maintain": 0.0}}


ENRICH = {
    "machine": {"cores": 4},
    "runs": {
        "1000": {"unchanged": [night(1, 4), night(2, 4), night(90, 4)], "first": [night(1, 2, 3)]},
        "2000": {"unchanged": [night(2, 8)], "first": [night(1, 4, 6)]},
        "4000": {"unchanged": [night(4, 14)], "first": [night(1, 8, 12)]},
    },
}


def test_a_line_goes_through_two_sizes_and_never_begins_below_zero():
    assert extrapolate.fit({1000: 6.0, 3000: 10.0}) == extrapolate.Fit(4.0, 0.002)
    assert extrapolate.fit({1000: 5.0}) == extrapolate.Fit(0.0, 0.005)
    assert extrapolate.fit({1000: 1.0, 2000: 4.0}).fixed == 0.0


def test_points_are_medians_of_the_phases_together():
    points = extrapolate.read_points(ENRICH, "unchanged", ("scan", "plan"))
    assert points == {1000: 6, 2000: 10, 4000: 18}


def test_a_recorded_sum_of_phases_counts_as_such():
    assert extrapolate.read_points(extrapolate.RECORDED_ENRICH, "unchanged", ("scan", "plan")) == {
        100_000: 6.5,
        1_000_000: 27.2,
    }
    assert extrapolate.read_points(extrapolate.RECORDED_ENRICH, "unchanged", ("scan",)) == {}


def test_every_size_is_predicted_by_the_others_only():
    assert extrapolate.check({1000: 6.0, 2000: 10.0, 4000: 18.0}) == {
        1000: (pytest.approx(6.0), 6.0),
        2000: (pytest.approx(10.0), 10.0),
        4000: (pytest.approx(18.0), 18.0),
    }
    assert extrapolate.check({1000: 6.0, 2000: 10.0}) == {1000: (5.0, 6.0), 2000: (12.0, 10.0)}
    assert extrapolate.check({1000: 6.0}) == {}


def test_core_seconds_grow_with_products_and_cores_and_fixed_seconds_do_not():
    fixed, spent = extrapolate.reckon_seconds(ENRICH, "unchanged", 10**6)["read and compare"]
    assert (fixed, spent) == (pytest.approx(2.0), pytest.approx(4 * 4000.0))


def test_shards_commits_and_files_are_those_of_a_counted_night():
    counted = extrapolate.count(100_000, "first", SIZES, TableSection(rows_per_file=2048))
    assert (counted.buckets, counted.live_files, counted.shards, counted.commits) == (8, 24, 192, 12)
    assert (counted.scan_parts, counted.asked_parts, counted.question_parts) == (3, 8, 12)


def test_a_night_without_a_change_asks_and_commits_nothing():
    counted = extrapolate.count(10**9, "unchanged", SIZES)
    assert (counted.questions, counted.shards, counted.commits, counted.added_files) == (0, 0, 0, 0)
    assert (counted.buckets, counted.live_files) == (4096, 12_288)
    assert counted.requests == counted.scan_parts * 4096


def test_known_answers_are_looked_for_in_all_rows_once_many_questions_are_asked():
    assert extrapolate.count(10**7, "changed", SIZES).keys_per_task == 0
    assert extrapolate.count(10**8, "changed", SIZES).keys_per_task == 3 * 10**8 / 120
    assert extrapolate.count(10**9, "first", SIZES).keys_per_task == 0


def test_the_driver_holds_a_list_of_buckets_for_every_shard_that_is_not_committed():
    counted = extrapolate.count(10**8, "first", SIZES)
    assert extrapolate.weigh_driver(counted)["parts of answers"] == 32 * 4097 * 8


def test_what_is_too_much_is_marked():
    limits = extrapolate.list_limits(SIZES, "first", extrapolate.LIMITS)
    assert [bites for _, bites in limits["driver's memory, parts of answers"]] == [False, False, False]
    assert [bites for _, bites in limits["input of one bucket"]] == [False, False, True]
    assert "**" in extrapolate.render_limits(SIZES, "first")


def test_gpus_add_up_until_the_cores_are_used_up():
    runs = [(1, 9.0, 8.0, 0.1), (8, 79.0, 50.0, 0.5), (16, 101.0, 100.0, 1.0)]
    scaling = [
        {
            "num_replicas": number,
            "ideal_rows_per_second": 10.0 * number,
            "steady_rows_per_second": steady,
            "rows_per_second": whole,
            "control_plane_cores": cores,
        }
        for number, steady, whole, cores in runs
    ]
    scale = {"machine": {"cores": 1}, "scaling": scaling}
    assert extrapolate.core_seconds_per_answer(scale) == pytest.approx(0.01)
    assert extrapolate.check_scale(scale) == {1: (10.0, 9.0), 8: (80.0, 79.0), 16: (pytest.approx(100.0), 101.0)}


def test_a_run_is_read_from_its_file_and_prints_all_tables(tmp_path, capsys):
    path = tmp_path / "enrich.json"
    path.write_text(json.dumps(ENRICH))
    extrapolate.main(["--enrich", str(path), "--scale", str(tmp_path / "none"), "--gpu-rows-per-second", "1000"])
    printed = capsys.readouterr().out
    assert f"Nights: {path}." in printed
    assert "| unchanged: read and compare | 1,000: 6.0 s, 2,000: 10.0 s, 4,000: 18.0 s | 2.0 | 16,000 |" in printed
    assert "GPU hours at 1000/s" in printed


def test_the_page_has_the_tables_of_what_is_recorded(tmp_path, capsys):
    extrapolate.main(["--enrich", str(tmp_path / "none"), "--scale", str(tmp_path / "none")])
    tables = [part for part in capsys.readouterr().out.split("\n\n") if part.startswith("|")]
    missing = [table.partition("\n")[0] for table in tables if table.strip() not in PAGE.read_text()]
    assert not missing, f"docs/scale.md: run `python -m tests.bench.extrapolate` and take over: {missing}"
