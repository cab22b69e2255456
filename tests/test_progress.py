from eshop_ray.progress import describe


def test_line_says_rows_rates_time_left_and_failures():
    counts = {"rows": 50, "tokens": 6000, "errors": 2}
    assert describe(counts, 200, 10.0) == "50/200 rows  5.0 rows/s  600 tokens/s  30 s left  2 failed"


def test_before_the_first_row_nothing_is_guessed():
    assert describe({}, 200, 0.0) == "0/200 rows  starting"


def test_finished_work_has_no_time_left():
    assert "left" not in describe({"rows": 200}, 200, 10.0)
