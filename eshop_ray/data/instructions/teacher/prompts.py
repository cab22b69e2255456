"""How a teacher is asked for new questions, for reasoning and for translations."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from eshop_ray.config.teacher import TeacherSection
from eshop_ray.data.instructions.draw import make_draw
from eshop_ray.data.instructions.plan import Plan
from eshop_ray.data.instructions.teacher.commission import REASONED, TRANSLATED, WRITTEN, Commission, build_prompt
from eshop_ray.data.instructions.teacher.seeds import Seed, SeedKind, Seeds, count_asked
from eshop_ray.schema import Message, Row, decode
from eshop_ray.tasks.multiple_choice import TASK as CHOICE

QUESTION, ANSWER, REASONING = "question", "answer", "reasoning"
"""Fields of the JSON in which a teacher answers."""

WRITE = (
    "You write questions for the assistant of an online shop to learn from, each with its right answer. A question "
    "holds all that is needed to answer it. Answer with one JSON object and nothing else."
)
REASON = (
    "You answer questions of an online shop. First reason step by step, in a few sentences, from what the question "
    "says; then give the answer as briefly as you are asked for it. Answer with one JSON object and nothing else."
)
TRANSLATE = (
    "You translate texts of an online shop as its own staff in that country would write them. Keep brands, model "
    "names, numbers, units, line breaks, words in square brackets and the numbers of options as they are. Answer with "
    "one JSON object and nothing else."
)
NAMES: Mapping[str, str] = {
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "zh": "Chinese",
}
OPEN_TASKS = frozenset({"generation", "ner"})
"""Tasks whose answers are words, which are translated with the question; others answer with numbers."""
_SEEDS = 1 << 31
"""How many seeds engines tell apart."""


def write_prompts(seeds: Seeds, section: TeacherSection, plan: Plan, number: int) -> Iterator[Row]:
    """Yield the prompts for new questions of a round, columns of `PROMPT_SCHEMA`."""
    for group, quota in section.written.items():
        by_kind: defaultdict[SeedKind, list[Seed]] = defaultdict(list)
        first = seeds.take(WRITTEN, group)
        for seed in first:
            by_kind[seed.kind].append(seed)
        for place in list_places(quota, section, number) if first else ():
            draw = make_draw(plan.seed, plan.drawn_by, WRITTEN, group, place)
            kind = draw.choice(first).kind
            shown = draw_shown(by_kind[kind], seeds.own[kind], section.num_shown, draw)
            params = {"temperature": section.temperature, "seed": draw.randrange(_SEEDS)}
            commission = Commission(
                made=WRITTEN,
                **_describe(shown[0]),
                num_options=min(seed.num_options for seed in shown),
                grades=list_grades(by_kind[kind]),
                is_quotable=any(seed.is_quotable for seed in shown),
            )
            yield _ask(commission, WRITE, word_writing(shown), (QUESTION, ANSWER), params, section)


def list_grades(seeds: Iterable[Seed]) -> tuple[int, ...]:
    """Return the answers to questions without options; none where they have options, or are answered in words."""
    found = {decode(seed.row["target"]) for seed in seeds if seed.row["task"] == CHOICE.name and not seed.num_options}
    return tuple(sorted(found))


def list_places(quota: int, section: TeacherSection, number: int) -> range:
    """Return which questions, of all those that a quota asks for, a round asks; a larger quota leaves them as they are
    where there is one round.
    """
    wanted = count_asked(quota, section)
    return range(wanted * number // section.rounds, wanted * (number + 1) // section.rounds)


def draw_shown(given: Sequence[Seed], own: Sequence[Seed], number: int, draw: Random) -> list[Seed]:
    """Return the rows that a teacher is shown: one of them its own, where it has some and more than one is shown."""
    own_part = [draw.choice(own)] if own and number > 1 else []
    left = number - len(own_part)
    return [*draw.sample(given, min(left, len(given))), *own_part]


def reason_prompts(seeds: Seeds, section: TeacherSection, plan: Plan) -> Iterator[Row]:
    """Yield the prompts for reasoning, columns of `PROMPT_SCHEMA`."""
    for group in section.reasoned:
        for seed in seeds.take(REASONED, group):
            draw = make_draw(plan.seed, plan.drawn_by, REASONED, seed.row["id"])
            params = {"temperature": section.temperature, "seed": draw.randrange(_SEEDS)}
            commission = Commission(made=REASONED, **_describe(seed), **_keep(seed))
            wanted_form = show({REASONING: "...", ANSWER: "..."})
            asked = f"{seed.row['messages'][0]['content']}\n\n{seed.question}\n\nAnswer as {wanted_form}"
            yield _ask(commission, REASON, asked, (REASONING, ANSWER), params, section)


def translate_prompts(seeds: Seeds, section: TeacherSection) -> Iterator[Row]:
    """Yield the prompts for translations, columns of `PROMPT_SCHEMA`: a row goes into one language."""
    for group in section.translated:
        for seed, language in zip(seeds.take(TRANSLATED, group), itertools.cycle(section.languages), strict=False):
            described = {**_describe(seed), "language": language}
            commission = Commission(made=TRANSLATED, **described, **_keep(seed))
            names = (QUESTION, ANSWER) if seed.row["task"] in OPEN_TASKS else (QUESTION,)
            text = show({QUESTION: seed.question, ANSWER: seed.answer}, names)
            asked = f"Translate the values of this JSON into {NAMES[language]}:\n{text}"
            yield _ask(commission, TRANSLATE, asked, names, {"temperature": 0.0}, section)


def word_writing(shown: Iterable[Seed]) -> str:
    """Return the user's turn that asks for a new question."""
    examples = [show({QUESTION: seed.question, ANSWER: seed.answer}) for seed in shown]
    one = next(iter(shown))
    language = NAMES.get(one.row["language"], one.row["language"])
    return (
        "Questions of one kind, each with its right answer:\n"
        + "\n".join(examples)
        + f"\n\nWrite one more of this kind in {language}, about something else. Its answer has the same form."
    )


def show(values: Mapping[str, str], names: Sequence[str] | None = None) -> str:
    """Return texts as JSON on a line."""
    return json.dumps({name: values[name] for name in names or values}, ensure_ascii=False)


def _describe(seed: Seed) -> dict[str, Any]:
    return {name: seed.row[name] for name in ("group", "task", "metric", "source", "licence", "language")}


def _keep(seed: Seed) -> dict[str, Any]:
    """Return what a row takes over from the one that it is made from."""
    row = seed.row
    return {
        "num_options": row["num_options"] or 0,
        "is_quotable": seed.is_quotable,
        "question": seed.question,
        "target": decode(row["target"]),
        "keys": tuple(row["keys"] or ()),
    }


def _ask(
    commission: Commission,
    instruction: str,
    asked: str,
    names: Sequence[str],
    params: Mapping[str, Any],
    section: TeacherSection,
) -> Row:
    messages: list[Message] = [{"role": "system", "content": instruction}, {"role": "user", "content": asked}]
    text = {"type": "string"}
    schema = {"type": "object", "properties": dict.fromkeys(names, text), "required": list(names)}
    output = {"json": {**schema, "additionalProperties": False}}
    limits = {"max_tokens": section.max_tokens, "structured_outputs": output}
    return build_prompt(commission, messages, {**params, **limits})
