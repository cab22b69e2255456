"""The report of an experiment: tables, sentences and charts, in Markdown, as one HTML page and on the terminal."""

import base64
import random
import re
import xml.etree.ElementTree as ElementTree
from statistics import fmean

import pytest

from eshop_ray.config.experiment import METHODS, WITH_DENSITY
from eshop_ray.evaluation.experiments.charts import draw_pareto, draw_scores, draw_similarity, rate_references
from eshop_ray.evaluation.experiments.pareto import compare, rank
from eshop_ray.evaluation.experiments.report import build_page, print_scores, write_report
from eshop_ray.evaluation.experiments.words import word_weights, write_weights

TASKS = ("ner", "retrieval", "ranking", "sentiment", "titles", "esci")
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BAD = "<b>a|b</b> [x](y) `c` *d*"
"""A name that would break Markdown and HTML."""


BEHIND = {"difference": 0.0772, "low": 0.018, "high": 0.136, "num_better": 1027, "num_worse": 10}
BEHIND |= {"p_value": 0.0001, "p_adjusted": 0.0004, "detectable": 0.0752}


def make_experiment(tasks=TASKS, strategies=("base", "single", "mixed", "merged"), **values):
    """The content of an `experiment.json`: the later a strategy comes, the better it is."""

    def score(strategy, task):
        middle = 0.3 + 0.1 * strategies.index(strategy) + 0.02 * tasks.index(task)
        values = {"score": middle, "low": middle - 0.04, "high": middle + 0.03, "num_errors": 0}
        return values if strategy == strategies[-1] else {**values, "behind": BEHIND}

    rated = {
        task: {
            "metric": "accuracy",
            "num_rows": 1871,
            "strategies": {strategy: score(strategy, task) for strategy in strategies},
            "best": strategies[-1],
            "is_clear": place % 2 == 0,
        }
        for place, task in enumerate(tasks)
    }
    scores = {name: [task["strategies"][name]["score"] for task in rated.values()] for name in strategies}
    mean = {name: fmean(values) for name, values in scores.items() if values}
    cost = {"num_adapters": len(tasks), "num_rows": 12_000, "seconds": 754.2, "search_seconds": 0}
    budget = {name: {**cost, "search_seconds": 640.0 * (name == "merged")} for name in strategies}
    experiment = {"split": "dev", "tasks": rated, "mean": mean, "budget": budget, "promoted": True}
    return {**experiment, "verdict": "The merge wins on all tasks.", **values}


def make_search(num=240, tasks=TASKS, methods=METHODS, seed=0, **values):
    """The content of a `search.json`: candidates around their method's own place, some of them poor."""
    chance = random.Random(seed)
    own = {task: 0.4 + 0.3 * place for place, task in enumerate(tasks)}
    candidates = []
    for number in range(num):
        method = methods[number % len(methods)]
        place = 1.02 + 0.05 * METHODS.index(method) * chance.random()
        losses = {task: own[task] * place * (1 + 0.3 * chance.random() ** 2) for task in tasks}
        weights = [0.7] * len(tasks)
        if number % 3:
            weights[number % len(tasks)] = 1.05
        settings = {"weights": weights, "density": 0.3 if method in WITH_DENSITY else 1.0, "wise_ft": 1.0}
        candidate = {"id": f"{method}-{number:08x}", "method": method, **settings, "losses": losses}
        candidates.append({**candidate, **compare(losses, own), "num_rows": 192, "seconds": 2.1, "scores": None})
    ranked = rank(candidates)
    for candidate in ranked[:3]:
        candidate["scores"] = dict.fromkeys(tasks, 0.5 + 0.1 * candidate["mean"])
    confirmed = [candidate["id"] for candidate in ranked[:3]]
    references = {"base": {task: 2 * own[task] for task in tasks}, "mixed": {task: 1.15 * own[task] for task in tasks}}
    search = {"split": "validation", "seed": seed, "rows": dict.fromkeys(tasks, 32), "references": references}
    search |= {"adapters": [{"name": task, "tasks": [task]} for task in tasks], "candidates": ranked}
    search |= {"confirmed": confirmed, "single_scores": dict.fromkeys(tasks, 0.65), "num_candidates": num}
    search |= {"chosen": confirmed[0], "promoted": True, "verdict": "It costs at most 2.1%."}
    return {**search, "num_workers": 2, "seconds": 640.0, "confirm_seconds": 95.0, **values}


def make_similarity(num=6, names=None, seed=0):
    """The content of a `similarity.json`."""
    chance = random.Random(seed)
    names = names or [f"{TASKS[place % 6]}.{place // 6 + 1}of4" for place in range(num)]

    def draw():
        table = [[1.0] * len(names) for _ in names]
        for row in range(len(names)):
            for column in range(row):
                table[row][column] = table[column][row] = chance.uniform(-0.05, 0.2) + 0.3 * ((row - column) % 6 == 0)
        return table

    modules = {f"model.layers.{layer}.self_attn.{name}": draw() for layer in range(2) for name in MODULES}
    return {"adapters": list(names), "overall": draw(), "modules": modules}


@pytest.fixture
def write(tmp_path):
    """Write a report and return its two texts."""

    def write(experiment=None, search=None, similarity=None):
        page = write_report(tmp_path, experiment or make_experiment(), search, similarity)
        return (tmp_path / "experiment.md").read_text(), page.read_text()

    return write


def read_labels(svg):
    """The texts of a chart, which is drawn from paths: matplotlib leaves each as a comment."""
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    return re.findall(r"<!-- (.*?) -->", svg.decode())


def test_every_strategy_stands_beside_the_others_with_its_interval(write):
    markdown, page = write()
    assert "| task | metric | best | lead | rows | base | single | mixed | merged |" in markdown
    assert (
        "| ner | accuracy | merged | clear | 1,871 | 0.300 (0.26-0.33) | 0.400 (0.36-0.43) | "
        "0.500 (0.46-0.53) | 0.600 (0.56-0.63) |"
    ) in markdown
    assert "| retrieval | accuracy | merged | noise |" in markdown
    assert "| mean |  |  |  |  | 0.350 | 0.450 | 0.550 | 0.650 |" in markdown
    assert "<td>merged</td><td>clear</td>" in page


def test_tests_of_the_best_stand_under_the_scores_and_few_rows_are_marked(write):
    experiment = make_experiment(tasks=("a", "b"), strategies=("base", "single"))
    experiment["tasks"]["b"]["num_rows"] = 29
    markdown, page = write(experiment)
    assert "| a | single | base | 0.077 (0.02-0.14) | 1,027 against 10 | below 0.001 | 0.075 |" in markdown
    assert ">29*</td>" in page
    assert "A number of rows with an asterisk is below 30" in page
    markdown, page = write(make_experiment(strategies=("base",)))
    assert "could show" not in markdown
    assert "asterisk" not in page


def test_a_strategy_that_was_not_tried_has_no_column_and_a_gap_no_score(write):
    experiment = make_experiment(tasks=("a", "b"), strategies=("base", "single"))
    del experiment["tasks"]["b"]["strategies"]["base"]
    markdown, page = write(experiment)
    assert "| rows | base | single |" in markdown
    assert "| b | accuracy | single | - | 1,871 | - | 0.420 (0.38-0.45) |" in markdown
    assert "Candidates" not in page
    assert "mixed" not in read_labels(draw_scores(experiment))


def test_budget_names_rows_and_seconds(write):
    markdown, _ = write()
    assert "| single | 6 | 12,000 | 12 min 34 s | - |" in markdown
    assert "| merged | 6 | 12,000 | 12 min 34 s | 10 min 40 s |" in markdown


@pytest.mark.parametrize(
    ("promoted", "num_errors", "level"), [(True, 0, "well"), (False, 0, "attention"), (True, 2, "attention")]
)
def test_a_refused_merge_and_failed_rows_call_for_attention(write, promoted, num_errors, level):
    experiment = make_experiment(promoted=promoted)
    experiment["tasks"]["ner"]["strategies"]["base"]["num_errors"] = num_errors
    markdown, page = write(experiment, make_search(promoted=promoted))
    assert f'<p class="verdict {level}">The merge wins on all tasks.</p>' in page
    assert ("Not promoted" in page) is not promoted
    assert ("Failed rows count as wrong: `ner` base 2." in markdown) == bool(num_errors)


def test_recipe_is_told_in_words_beside_confirmed_scores(write):
    search = make_search(num=6, tasks=("ner", "titles"), methods=("ties",))
    recipe = search["chosen"]
    chosen = next(candidate for candidate in search["candidates"] if candidate["id"] == recipe)
    chosen |= {"weights": [0.7, 1.05], "wise_ft": 0.8}
    markdown, _ = write(search=search)
    told = f"Promoted: `{recipe}`, method `ties`, density 0.3, weights `ner` 0.7, `titles` 1.05; 80% of the update"
    assert told in markdown
    assert "The gate: It costs at most 2.1%." in markdown
    assert f"| task | own adapter | {' | '.join(search['confirmed'])} |" in markdown
    assert "| titles | 0.650 | 0." in markdown


def test_ten_best_candidates_are_listed_in_order(write):
    search = make_search()
    markdown, _ = write(search=search)
    listed = re.findall(r"^\| (\w+-[0-9a-f]{8}) \| ([a-z, ]*) \|", markdown, flags=re.M)
    assert [name for name, _ in listed] == [candidate["id"] for candidate in search["candidates"][:10]]
    assert all(
        ("front" in mark) == row["is_pareto"] for (_, mark), row in zip(listed, search["candidates"], strict=False)
    )
    assert "240 candidates in 10 min 40 s, 2 workers: all by 192 rows of split `validation`;" in markdown
    assert "For comparison: base 2.00, at worst 2.00; mixed 1.15, at worst 1.15." in markdown


def test_broken_candidates_are_counted_and_not_drawn(write):
    search = make_search(num=4)
    broken = {"mean": None, "worst": None, "ratios": dict.fromkeys(TASKS), "is_pareto": False}
    search["candidates"][-1] |= broken
    assert "1 candidate without a finite loss left out." in write(search=search)[0]
    search["candidates"] = [{**candidate, **broken} for candidate in search["candidates"]]
    markdown, _ = write(search=search)
    assert "pareto.svg" not in markdown
    assert rate_references(search) == {}


def test_kinds_of_modules_are_means_over_layers(write):
    similarity = make_similarity(names=["one", "two"])
    places = [f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)]
    for module, cosine in zip(places, (0.1, 0.4), strict=True):
        similarity["modules"][module] = [[1, cosine], [cosine, 1]]
    similarity["modules"]["model.layers.0.self_attn.k_proj"] = [[1, None], [None, 1]]
    markdown, _ = write(similarity=similarity)
    assert f"| adapters | overall | {' | '.join(MODULES)} |" in markdown
    k_proj = similarity["modules"]["model.layers.1.self_attn.k_proj"][0][1]
    assert f"| one - two | {similarity['overall'][0][1]:.3f} | 0.250 | {k_proj:.3f} |" in markdown


def test_many_adapters_have_a_heat_map_only(write):
    markdown, _ = write(similarity=make_similarity(24))
    assert "](similarity.svg)" in markdown
    assert "q_proj" not in markdown


def test_one_adapter_is_like_no_other(write):
    assert "Similarity" not in write(similarity=make_similarity(1))[0]
    assert draw_similarity(make_similarity(1)) is None


def test_both_forms_show_the_same_pictures_and_need_no_other_file(write, tmp_path):
    markdown, page = write(search=make_search(), similarity=make_similarity())
    for name in ("scores.svg", "pareto.svg", "similarity.svg"):
        assert f"]({name})" in markdown
        assert base64.b64encode((tmp_path / name).read_bytes()).decode() in page
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)
    write()
    assert [path.name for path in tmp_path.glob("*.svg")] == ["scores.svg"]


def test_names_do_not_break_the_page(tmp_path, capsys):
    tasks = (BAD, "ner")
    experiment = make_experiment(tasks, split=BAD, verdict=f"The merge loses on {BAD}.\n# Really")
    experiment["tasks"][BAD]["strategies"]["base"]["num_errors"] = 1
    search = make_search(tasks=tasks, split=BAD, verdict=f"It costs most on {BAD}.")
    similarity = make_similarity(names=[BAD, "[red]"])
    similarity["modules"] = {f"model.{BAD}": similarity["overall"]}
    page = write_report(tmp_path / BAD.replace("/", ""), experiment, search, similarity).read_text()
    markdown = (tmp_path / BAD.replace("/", "") / "experiment.md").read_text()
    assert not re.search(r"<b>|</b>", page)
    plain = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", markdown))
    assert not re.search(r"<|\]\(y\)|\*d\*|^# Really", plain, flags=re.M)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in table if "accuracy" in line} == {10}
    print_scores(experiment)
    assert BAD[:9] in capsys.readouterr().out


def test_terminal_shows_names_as_they_are(capsys):
    print_scores(make_experiment(("[red]ner[/red]",)))
    out = capsys.readouterr().out
    assert "[red]ner[/red]" in out
    assert "0.600 (0.56-0.63)" in out
    assert "The merge wins on all tasks." in out


def test_all_methods_are_named_and_the_chosen_one_is_marked():
    labels = read_labels(draw_pareto(make_search()))
    for words in (*METHODS, "front", "chosen", "base", "mixed", "mean of the tasks", "worst task"):
        assert words in labels


@pytest.mark.parametrize(("worst", "num_beyond"), [(1.4, 0), (30.0, 2)])
def test_candidates_that_broke_the_model_do_not_squeeze_the_others(worst, num_beyond):
    search = make_search(num=20)
    for candidate in search["candidates"][-2:]:
        candidate |= {"mean": worst, "worst": worst}
    labels = read_labels(draw_pareto(search))
    assert "1.1" in labels
    assert any(label.endswith(f", {num_beyond} candidates") for label in labels) == bool(num_beyond)


def test_what_is_drawn_on_the_edge_is_named():
    assert "farther out, drawn on the edge: base" in read_labels(draw_pareto(make_search()))
    near = make_search(references={})
    assert not any("edge" in label for label in read_labels(draw_pareto(near)))


def test_one_candidate_is_a_picture_too():
    assert "front" in read_labels(draw_pareto(make_search(num=1)))


def test_heat_map_writes_every_pair():
    similarity = make_similarity(3)
    labels = read_labels(draw_similarity(similarity))
    for row, column in ((0, 1), (0, 2), (1, 2)):
        assert labels.count(f"{similarity['overall'][row][column]:.2f}") >= 2
    assert all(name in labels for name in similarity["adapters"])
    assert len(read_labels(draw_similarity(make_similarity(24)))) >= 24 * 23 + 48


def test_every_task_and_strategy_is_in_the_chart_of_scores():
    labels = read_labels(draw_scores(make_experiment()))
    for words in (*TASKS, "base", "single", "mixed", "merged", "score"):
        assert words in labels
    assert draw_scores(make_experiment(tasks=())) is None


def test_same_numbers_same_bytes():
    assert draw_pareto(make_search()) == draw_pareto(make_search())
    assert draw_similarity(make_similarity()) == draw_similarity(make_similarity())
    assert draw_scores(make_experiment()) == draw_scores(make_experiment())


def test_page_is_built_without_writing(tmp_path):
    page = build_page("demo", make_experiment(), make_search(), make_similarity())
    assert [section.title for section in page.sections] == [
        *("Scores", "Budget", "The merge", "Candidates", "Best candidates"),
        *("Similarity", "Similarity by kind of module"),
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weights", "words", "cell"),
    [
        ([0.7, 0.7, 0.7], "0.7 each", "0.7"),
        ([0.7, 1.05, 0.7], "`b` 1.05, the others 0.7", "0.7, b 1.05"),
        ([0.2, 0.3, 0.5], "`a` 0.2, `b` 0.3, `c` 0.5", "0.2, 0.3, 0.5"),
        ([1.0], "1 each", "1"),
    ],
)
def test_weights_in_words(weights, words, cell):
    assert word_weights("abc"[: len(weights)], weights) == words
    assert write_weights("abc"[: len(weights)], weights) == cell
