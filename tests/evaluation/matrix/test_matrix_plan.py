"""Which runs fill a matrix."""

import pytest

from eshop_ray.config import MatrixSection
from eshop_ray.errors import UserError
from eshop_ray.evaluation.matrix.plan import find_rung, list_rungs, plan_runs
from eshop_ray.evaluation.matrix.units import Unit

PAIRS = Unit("classification/esci_pairs", "classification", "esci_pairs", 1200)
TITLES = Unit("generation", "generation", "RTS", 9000)
ALL = ("zero-shot", "few-shot", "single", "mixed", "merged", "switched", "distilled", "wise-ft")


def plan(units=(PAIRS, TITLES), **matrix):
    return plan_runs(MatrixSection(**{"sizes": (500, 2000, 8000), "models": ("llm",), **matrix}), units, seed=7)


def names(runs):
    return [run.name.removeprefix("llm.") for run in runs]


def test_sizes_that_take_the_same_rows_are_one():
    assert list_rungs(PAIRS, (8000, 500, 2000)) == [500, 2000]
    assert list_rungs(TITLES, (500, 2000, 8000)) == [500, 2000, 8000]
    assert find_rung(PAIRS, 8000, (500, 2000, 8000)) == 2000
    assert list_rungs(Unit("a", "a", "a", 500), (500, 2000)) == [500]
    assert list_rungs(Unit("a", "a", "a", 9), (500, 2000)) == [500]


def test_a_run_for_each_cell_that_needs_one():
    runs = plan(strategies=ALL)
    assert names(runs) == [
        *("zero-shot", "few-shot"),
        *(f"single.classification.esci_pairs.{size}.seed7" for size in (500, 2000)),
        *(f"single.generation.{size}.seed7" for size in (500, 2000, 8000)),
        *(f"mixed.{size}.seed7" for size in (500, 2000, 8000)),
        *(f"merged.{size}.seed7" for size in (500, 2000, 8000)),
        *(f"switched.{size}.seed7" for size in (500, 2000, 8000)),
        *(f"distilled.{size}.seed7" for size in (500, 2000, 8000)),
        *(f"wise-ft.classification.esci_pairs.{size}.seed7" for size in (500, 2000)),
        *(f"wise-ft.generation.{size}.seed7" for size in (500, 2000, 8000)),
    ]
    by_name = dict(zip(names(runs), runs, strict=True))
    zero, few, mixed, merged = (
        by_name[name] for name in ("zero-shot", "few-shot", "mixed.500.seed7", "merged.8000.seed7")
    )
    assert [run.units for run in (zero, few, mixed, merged)] == [(PAIRS, TITLES)] * 4
    assert (zero.size, few.size) == (0, 8000)
    assert (zero.settings["few_shot"], few.settings["few_shot"]) == ({"num_examples": 0}, {"num_examples": 4})
    assert mixed.settings["data"] == {"max_train_rows": 500}
    assert [command[-1] for command in mixed.commands] == ["train-lora", "merge-lora", "batch-infer"]
    assert [command[-1] for command in merged.commands] == ["merge-lora", "batch-infer"]
    assert merged.adapters_of == ("llm.single.classification.esci_pairs.2000.seed7", "llm.single.generation.8000.seed7")
    wise = by_name["wise-ft.generation.2000.seed7"]
    assert (wise.adapters_of, wise.settings["merge"]) == (("llm.single.generation.2000.seed7",), {"wise_ft": 0.5})
    planned = {run.name for run in runs}
    assert len(planned) == len(runs)
    assert {name for run in runs for name in run.needs} <= planned


def test_a_distilled_adapter_goes_on_from_the_mixed_one_of_its_size_and_seed_and_learns_from_the_switched_one():
    runs = {run.name: run for run in plan(strategies=ALL, seeds=(1, 2))}
    run = runs["llm.distilled.8000.seed2"]
    assert run.needs == ("llm.mixed.8000.seed2", "llm.switched.8000.seed2")
    assert (run.units, run.settings, run.commands) == (
        *(runs["llm.mixed.8000.seed2"].units, runs["llm.mixed.8000.seed2"].settings),
        runs["llm.mixed.8000.seed2"].commands,
    )
    assert run.learned_in == (
        *("llm.distilled.8000.seed2", "llm.mixed.8000.seed2"),
        *("llm.single.classification.esci_pairs.2000.seed2", "llm.single.generation.8000.seed2"),
    )
    assert runs["llm.merged.8000.seed2"].learned_in == run.learned_in[2:]


def test_numbers_and_choices_of_examples_are_cells_of_their_own():
    few = plan(strategies=("few-shot",), num_examples=[4, 1], example_choices=["random", "similar"])
    assert {run.name: (run.num_examples, run.choice) for run in few} == {
        "llm.few-shot": (4, "random"),
        "llm.few-shot.k1": (1, "random"),
        "llm.few-shot.similar": (4, "similar"),
        "llm.few-shot.k1.similar": (1, "similar"),
    }
    assert few[-1].settings["few_shot"] == {"num_examples": 1, "choice": "similar"}
    assert plan(strategies=("few-shot",), num_examples=2)[0].settings["few_shot"] == {"num_examples": 2}


@pytest.mark.parametrize("numbers", [0, [], 65, [4, 4], "four"])
def test_numbers_of_examples_that_make_no_sense_are_refused(numbers):
    with pytest.raises(ValueError, match="num_examples"):
        MatrixSection(num_examples=numbers)


def test_nobody_but_few_shot_is_shown_examples():
    runs = plan(models=("llm", "encoder"), strategies=ALL)
    shown = {run.name for run in runs if run.settings["few_shot"]["num_examples"]}
    assert shown == {"llm.few-shot"} == {run.name for run in runs if run.num_examples}


def test_seeds_train_anew_and_the_base_answers_once():
    runs = plan(strategies=("zero-shot", "single"), sizes=(500,), seeds=(1, 2))
    assert [(run.strategy, run.seed) for run in runs] == [
        ("zero-shot", 1),
        *[("single", 1)] * 2,
        *[("single", 2)] * 2,
    ]


def test_a_soup_is_the_mean_of_the_adapters_of_all_seeds():
    runs = plan(strategies=("single", "soup"), sizes=(500,), seeds=(1, 2), wise_ft=0.7)
    soups = [run for run in runs if run.strategy == "soup"]
    assert names(soups) == ["soup.classification.esci_pairs.500.seed1", "soup.generation.500.seed1"]
    assert soups[1].adapters_of == ("llm.single.generation.500.seed1", "llm.single.generation.500.seed2")
    assert soups[1].settings["merge"] == {"method": "cat", "weights": (), "wise_ft": 0.7}
    assert [command[-1] for command in soups[0].commands] == ["merge-lora", "batch-infer"]
    assert len(runs) == 4 + 2


def test_shards_of_a_soup_divide_the_rows_of_a_size_and_fill_no_cell():
    runs = plan(units=(PAIRS,), strategies=("soup",), sizes=(500, 2000), soup_shards=3, seeds=(4,))
    stem = "soup.classification.esci_pairs"
    assert names(runs) == [
        f"{stem}.{size}.seed4{part}" for size in (500, 2000) for part in (".1of3", ".2of3", ".3of3", "")
    ]
    shard, soup = runs[1], runs[3]
    assert (shard.settings["train"]["shard"], shard.settings["data"]) == ((2, 3), {"max_train_rows": 167})
    assert [command[-1] for command in shard.commands] == ["train-lora"]
    assert (shard.is_answering, soup.is_answering) == (False, True)
    assert soup.adapters_of == tuple(run.name for run in runs[:3])


def test_conventional_models_learn_single_tasks_and_an_encoder_does_not_write():
    runs = plan(models=("encoder", "seq2seq"), sizes=(500,), sources={"seq2seq": "t5"})
    assert [(run.model, run.units) for run in runs] == [
        ("encoder", (PAIRS,)),
        ("seq2seq", (PAIRS,)),
        ("seq2seq", (TITLES,)),
    ]
    assert [command[-1] for command in runs[0].commands] == ["train-encoder", "batch-infer"]
    assert runs[0].settings["conventional"] == {"architecture": "encoder"}
    assert runs[1].settings["conventional"] == {"architecture": "seq2seq", "source": "t5"}


@pytest.mark.parametrize(
    ("matrix", "units", "message"),
    [
        ({"strategies": ("merged", "mixed")}, (PAIRS, TITLES), r"`merged` takes the adapters of `single`; name both"),
        (
            {"strategies": ("single", "switched", "distilled")},
            (PAIRS, TITLES),
            r"`distilled` goes on from the adapter of `mixed` and learns from `switched`; name both",
        ),
        ({"strategies": ("wise-ft",)}, (PAIRS,), r"`wise-ft` takes the adapters of `single`; name both"),
        (
            {"strategies": ("single", "merged")},
            (TITLES,),
            r"`merged` takes several groups, and there is generation alone",
        ),
        ({"strategies": ("soup",), "seeds": (1, 2)}, (PAIRS,), r"`soup` takes the adapters of `single`; name both"),
        (
            {"strategies": ("single", "soup"), "seeds": (1,)},
            (PAIRS,),
            r"name two seeds .* or set `matrix\.soup_shards`",
        ),
        ({"models": ("encoder",), "strategies": ("mixed",)}, (PAIRS,), r"conventional models know `single` only"),
        ({"models": ()}, (PAIRS,), r"name nothing to compare|know `single` only"),
        ({"strategies": ()}, (PAIRS,), r"name nothing to compare"),
    ],
)
def test_what_cannot_be_planned(matrix, units, message):
    with pytest.raises(UserError, match=message):
        plan(units, **matrix)


def test_a_value_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="something stands there twice"):
        MatrixSection(sizes=(5, 5))
