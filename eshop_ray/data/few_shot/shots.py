"""The examples of every question of a split: chosen in the driver, set into the prompts by workers.

records --read--> questions, pool by task and group --choose--> Shots --add_examples--> prompts with earlier turns
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import Dataset

from eshop_ray.config import Config
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.few_shot.candidates import Barred, Questions, group_rows
from eshop_ray.data.few_shot.choice import Chosen, draw_balanced, draw_random, has_labels, take_first, take_nearest
from eshop_ray.data.few_shot.embeddings import embed_groups
from eshop_ray.data.splits import list_groups, list_splits, read_clusters, read_tasks, take_training
from eshop_ray.errors import UserError
from eshop_ray.reporting.words import count
from eshop_ray.schema import MESSAGES, RECORD_SCHEMA, Message, decode
from eshop_ray.tasks import get_task

logger = logging.getLogger(__name__)

Fits = Callable[[Sequence[Message], Mapping[str, Any]], bool]
"""Messages and sampling parameters -> whether the model's context holds the prompt and its answer."""

FOLDER = "few_shot"
"""In the run directory: embeddings, by task and split."""

EXAMPLES = pa.schema([("question", pa.string()), ("answer", pa.string())])
CHOICES = pa.schema([("key", pa.string()), ("examples", pa.list_(pa.int32()))])


@dataclass(slots=True)
class Shots:
    """The examples of a split's questions."""

    examples: pa.Table
    """Columns `question`, `answer`: each training row that is an example of anything."""
    choices: pa.Table
    """Columns `key`, of task and id, and `examples`, places in the first table, as they are to be shown."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Training rows that would have been taken, by why they were not."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the scores has to know."""


def check_few_shot(config: Config) -> None:
    """See, before anything starts, that there are rows to take examples from.

    Raises:
        UserError: if there are none, or they are what is evaluated.
    """
    if not config.few_shot.num_examples:
        return
    if config.evaluate.split == TRAIN:
        raise UserError(
            f"`few_shot.num_examples`: examples come from the split `{TRAIN}`, which `evaluate.split` names too; "
            "choose another one"
        )
    if TRAIN not in (splits := list_splits(config.records_dir)):
        raise UserError(
            f"`few_shot.num_examples`: {config.records_dir} has no split `{TRAIN}` to take examples from; there are: "
            f"{', '.join(splits)}. Prepare training rows too, or set it to 0"
        )


def choose_shots(config: Config) -> Shots:
    """Choose the examples of every row of `evaluate.split`.

    Raises:
        UserError: if the records, or the encoder for similar examples, cannot be read.
    """
    split, tasks = config.evaluate.split, config.data.tasks
    parts: list[pa.Table] = []
    keys: list[str] = []
    chosen: list[list[int]] = []
    shots = Shots(EXAMPLES.empty_table(), CHOICES.empty_table())
    num_examples = 0
    trained = _list_trained(config.records_dir)
    for name, table in read_tasks(config.records_dir, split, tasks, config.infer.max_rows, config.data.groups):
        if name not in trained:
            shots.notes.append(f"task `{name}` has no training rows: {count(table.num_rows, 'row')} without examples")
            continue
        questions = group_rows(table.to_pylist(), get_task(name), _read_owners(config, name, split))
        for group, rows, pool, picked in _choose_for_task(config, name, questions, shots):
            if not pool:
                shots.notes.append(f"group `{group}` has no training rows: {count(len(rows), 'row')} without examples")
            used = sorted({place for places in picked for place in places})
            moved = {place: num_examples + number for number, place in enumerate(used)}
            parts.append(_write_examples(name, pool, used))
            num_examples += len(used)
            keys += [join_key(name, row_id) for row_id in rows.ids]
            chosen += [[moved[place] for place in places] for places in picked]
    shots.examples = pa.concat_tables([shots.examples, *parts])
    shots.choices = pa.table([pa.array(keys, pa.string()), pa.array(chosen, CHOICES.field(1).type)], schema=CHOICES)
    _tell(shots)
    return shots


def _choose_for_task(
    config: Config, name: str, questions: Mapping[str, Questions], shots: Shots
) -> "list[tuple[str, Questions, Questions, Chosen]]":
    """Return group, questions, training rows and the examples of each question, one group after the other."""
    task, settings = get_task(name), config.few_shot
    pools = group_rows(_read_pool(config, name).to_pylist(), task, _read_owners(config, name, TRAIN))
    pools = {group: pools.get(group, Questions()) for group in questions}
    embed = settings.choice == "similar"
    folder = config.run_dir / FOLDER / f"task={name}"
    asked = embed_groups(folder / f"split={config.evaluate.split}", questions) if embed else {}
    known = embed_groups(folder / f"split={TRAIN}", pools) if embed else {}
    results = []
    for group, rows in questions.items():
        pool = pools[group]
        barred = Barred.of(pool)
        if embed:
            picked, passed = take_nearest(rows, asked[group], known[group], barred, settings.num_examples)
        else:
            if settings.choice == "balanced" and pool and not has_labels(pool):
                shots.notes.append(
                    f"group `{group}`: most training rows have an answer of their own; `balanced` draws at random there"
                )
            draw = draw_balanced if settings.choice == "balanced" else draw_random
            picked, passed = take_first(draw(pool, config.seed), rows, barred, settings.num_examples)
        shots.passed_over += passed
        results.append((group, rows, pool, picked))
    return results


def _read_pool(config: Config, name: str) -> pa.Table:
    """Return a task's training rows, of those groups that are kept and that it has."""
    found = [group for _, group in list_groups(config.records_dir, TRAIN, [name])]
    groups = tuple(group for group in found if group in config.data.groups)
    if config.data.groups and not groups:
        return RECORD_SCHEMA.empty_table()
    data = config.data.model_copy(update={"groups": groups})
    (table,) = take_training(config.model_copy(update={"data": data}), [name])
    return table


def _list_trained(records_dir: Path) -> set[str]:
    return {folder.parent.name.removeprefix("task=") for folder in records_dir.glob(f"task=*/split={TRAIN}")}


def _read_owners(config: Config, task: str, split: str) -> dict[tuple[str, str], str]:
    own = {task, *(group for _, group in list_groups(config.records_dir, split, [task]))}
    fields = {name: field for name, field in config.evaluate.clusters.items() if name in own}
    return read_clusters(config.records_dir, split, fields) if fields else {}


def _write_examples(name: str, pool: Questions, places: Sequence[int]) -> pa.Table:
    task = get_task(name)
    answers = [task.format_target(pool.targets[place]) for place in places]
    return pa.table([[pool.texts[place] for place in places], answers], schema=EXAMPLES)


def _tell(shots: Shots) -> None:
    for note in shots.notes:
        logger.warning("%s", note)
    for reason, number in shots.passed_over.items():
        if number:
            logger.info("examples passed over as %s: %d", reason.replace("_", " "), number)


def join_key(task: str, row_id: str) -> str:
    """Return what a question is found by: ids are unique within a task only."""
    return f"{task}/{row_id}"


def add_examples(prompts: Dataset, shots: Shots, fits: Fits | None) -> Dataset:
    """Set examples before the questions, as earlier turns of the user and the assistant.

    Args:
        prompts: Columns of `PROMPT_SCHEMA`.
        shots: What to set there.
        fits: Decides whether a prompt is short enough; while it is not, the first example goes, which of similar ones
            is the least so. None: nobody knows.

    Returns:
        The same columns.
    """
    examples, choices = ray.put(shots.examples), ray.put(shots.choices)

    def add(block: pa.Table) -> pa.Table:
        return set_examples(block, Shots(ray.get(examples), ray.get(choices)), fits)

    return prompts.map_batches(add, batch_format="pyarrow", batch_size=None)


def set_examples(block: pa.Table, shots: Shots, fits: Fits | None) -> pa.Table:
    """Do what `add_examples` does, for a block."""
    if not block.num_rows:
        return block
    keys = [join_key(*pair) for pair in zip(block["task"].to_pylist(), block["id"].to_pylist(), strict=True)]
    found = pc.index_in(pa.array(keys, pa.string()), shots.choices["key"])
    chosen = shots.choices["examples"].take(found).to_pylist()
    columns = (block["messages"].to_pylist(), block["sampling_params"].to_pylist(), chosen)
    messages = [
        shorten(turns, _read_turns(shots.examples, places), decode(params), fits) if turns and places else turns
        for turns, params, places in zip(*columns, strict=True)
    ]
    index = block.schema.get_field_index("messages")
    return block.set_column(index, block.schema.field(index), pa.array(messages, MESSAGES))


def _read_turns(examples: pa.Table, places: Sequence[int]) -> list[tuple[Message, Message]]:
    return [
        ({"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]})
        for row in examples.take(places).to_pylist()
    ]


def shorten(
    messages: Sequence[Message],
    examples: Sequence[tuple[Message, Message]],
    params: Mapping[str, Any],
    fits: Fits | None,
) -> list[Message]:
    """Return messages with as many of the last examples before the question as fit."""
    *head, question = messages
    for start in range(len(examples) + 1):
        turns = [*head, *(turn for pair in examples[start:] for turn in pair), question]
        if fits is None or start == len(examples) or fits(turns, params):
            return turns
    raise AssertionError("the loop ends with no example left")


def count_examples(messages: pa.Array) -> Counter[int]:
    """Return examples in a prompt -> how many prompts have so many.

    Args:
        messages: A column of `PROMPT_SCHEMA`; rows without messages do not count.
    """
    turns = pc.value_counts(pc.list_value_length(messages.drop_null()))
    return Counter({(row["values"] - 1) // 2: row["counts"] for row in turns.to_pylist()})
