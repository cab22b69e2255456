"""All that a run of the benchmark found, as `shopbench.json` has it."""

from collections.abc import Sequence
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.shopbench.contenders import Contender, read_answers, read_predictions
from eshop_ray.evaluation.shopbench.questions import Question, QuestionSet
from eshop_ray.evaluation.shopbench.scores import compare_models, count_tasks, describe_scores, judge_types
from eshop_ray.evaluation.significance import add_adjusted

Results = dict[str, Any]


def gather_results(
    config: Config, found: QuestionSet, questions: Sequence[Question], contenders: Sequence[Contender]
) -> Results:
    """Score all contenders, and compare each with the first.

    Args:
        config: Of the run.
        found: All questions of the files: types are judged on all of them.
        questions: Those that were asked.
        contenders: Who answered them.
    """
    results: Results = {
        "file": config.shopbench.path,
        "model": config.infer.models[-1],
        "engine": config.infer.engine,
        "read": {**found.describe(), "num_asked": len(questions)},
        "types": judge_types(found.questions) if found.has_gold else None,
        "contenders": {},
        "examples": _show_examples(questions, contenders),
    }
    reference = None
    for contender in contenders:
        manifest = artifacts.read_complete(contender.folder, job="shopbench")
        entry: Results = {name: manifest.details[name] for name in ("start_seconds", "times", "errors")}
        if found.has_gold:
            scored = count_tasks(questions, read_predictions(contender, questions))
            entry["scores"] = describe_scores(scored, config.seed)
            entry["against_first"] = compare_models(scored, reference, config.seed) if reference else None
            reference = reference or scored
        results["contenders"][contender.name] = entry
    tests = [one["against_first"]["overall"] for one in results["contenders"].values() if one.get("against_first")]
    add_adjusted(tests)
    return results


def _show_examples(questions: Sequence[Question], contenders: Sequence[Contender]) -> list[Results]:
    """Return the first question of each task, with what everybody said."""
    said = {contender.name: read_answers(contender) for contender in contenders}
    first = {question.group: question for question in reversed(questions)}
    return [
        {
            "task": question.group,
            "question": question.prompt,
            "target": question.gold.target if question.gold else None,
            "answers": {name: answers[question.id] for name, answers in said.items()},
        }
        for question in sorted(first.values(), key=lambda one: one.group)
    ]
