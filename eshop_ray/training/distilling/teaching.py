"""Asking the teacher about every row, block by block, before training starts; a run that was cut off goes on there."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy

from eshop_ray.artifacts import AnyFolder, fetch, find_complete, share_folder, share_stored, stage_dir, write_manifest
from eshop_ray.cluster import cpu_environment
from eshop_ray.config import Config, TrainSection
from eshop_ray.datasets import user_errors
from eshop_ray.places import place_of
from eshop_ray.progress import watch
from eshop_ray.storage import Storage
from eshop_ray.training.distilling.target_store import Block, pack_targets, plan_blocks, write_places
from eshop_ray.training.distilling.teacher import Teacher, find_teacher, list_taught
from eshop_ray.training.merging.adapters import is_adapter
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.packing.pack import build_pack
from eshop_ray.training.precision import choose_precision
from eshop_ray.training.sampler import BatchSampler
from eshop_ray.training.tokens import TOKENS, TokenStore

logger = logging.getLogger(__name__)

TARGETS = "targets"
"""Beside the token store."""
PARTS = "targets-parts"
"""What is there of them already."""

_QUESTION = pa.schema([("number", pa.int64()), ("update", pa.string()), ("rows", pa.list_(pa.int64()))])
_ANSWER = pa.schema([("number", pa.int64()), ("content", pa.large_binary())])


def ask_teacher(config: Config, model_dir: Path, folder: Path, store: TokenStore, sampler: BatchSampler) -> AnyFolder:
    """Leave what the teacher says of all rows beside the token store, and return that folder for `TargetStore.open`.

    Args:
        config: Of the run.
        model_dir: The base.
        folder: The run's working folder.
        store: The rows.
        sampler: How rows share a pass.

    Raises:
        UserError: if the teacher cannot be had, or a pack of it cannot be computed.
    """
    targets, manifest = folder / TARGETS, find_complete(folder / TARGETS)
    if manifest is not None:
        fetch(targets, manifest)
        return share_stored(targets)
    teacher = find_teacher(config)
    blocks = plan_blocks(store, () if is_adapter(teacher) else list_taught(teacher))
    parts = Storage(place_of(folder)).below(PARTS)
    lesson = Lesson(
        share_folder(teacher, config.run_dir),
        share_folder(model_dir, config.run_dir),
        choose_precision(config.train),
        share_stored(store.folder),
        ray.put(sampler),
    )
    _fill(lesson, blocks, parts)
    with stage_dir(targets) as staged:
        for block in blocks:
            (staged / block.file).write_bytes(parts.read(block.file) or b"")
        write_places(blocks, store.num_answer, staged)
        write_manifest(staged, TOKENS, "", {})
    Storage(place_of(folder)).remove_folder(PARTS)
    return share_stored(targets)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an actor needs to ask the teacher; small enough to be sent to it."""

    teacher: AnyFolder
    model_dir: AnyFolder
    train: TrainSection
    store: AnyFolder
    sampler: "ray.ObjectRef[BatchSampler]"


def _fill(lesson: Lesson, blocks: Sequence[Block], parts: Storage) -> None:
    """Add the blocks that are not there yet; as many actors as training will have workers, each with as much."""
    parts.make_folder()
    there = {file.path for file in parts.list()}
    left = [block for block in blocks if block.file not in there]
    if len(left) < len(blocks):
        logger.info("%d of %d blocks of soft targets are there already", len(blocks) - len(left), len(blocks))
    if not left:
        return
    questions = ray.data.from_arrow([_to_table(block) for block in left])
    questions.context.raise_original_map_exception = True
    train = lesson.train
    answers = questions.map_batches(
        TeacherStage,
        fn_constructor_args=(lesson,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=min(train.min_workers, len(left))),
        num_cpus=train.cpus_per_worker,
        num_gpus=1 if train.use_gpu else 0,
        runtime_env={} if train.use_gpu else {"env_vars": cpu_environment()},
    )
    files = {block.number: block for block in left}
    with user_errors(), watch("asking the teacher", sum(len(block.rows) for block in left)) as board:
        for row in answers.iter_rows():
            block = files[row["number"]]
            parts.write(block.file, row["content"])
            board.add(rows=len(block.rows))


def _to_table(block: Block) -> pa.Table:
    question = {"number": block.number, "update": block.update, "rows": block.rows.tolist()}
    return pa.Table.from_pylist([question], schema=_QUESTION)


class TeacherStage:
    """An actor with the teacher in memory."""

    def __init__(self, lesson: Lesson) -> None:
        """Note what is taught.

        Args:
            lesson: What is taught.
        """
        self._lesson = lesson
        self._store = TokenStore.open(lesson.store)
        self._sampler: BatchSampler = ray.get(lesson.sampler)

    def __call__(self, questions: pa.Table) -> pa.Table:
        """Return the targets of blocks, columns `number` and `content`."""
        answers = [
            {"number": one["number"], "content": self._answer(one["update"], np.array(one["rows"]))}
            for one in questions.to_pylist()
        ]
        return pa.Table.from_pylist(answers, schema=_ANSWER)

    def _answer(self, update: str | None, rows: Ints) -> bytes:
        self._teacher.switch(update)
        return answer_block(self._teacher, self._store, self._sampler, rows, self._lesson.train.teacher_top_k)

    @cached_property
    def _teacher(self) -> Teacher:
        """Loaded with the first block: what is wrong with it is then told as it was raised."""
        train = self._lesson.train
        if not train.use_gpu:
            torch.set_num_threads(train.torch_threads or max(1, (os.cpu_count() or 1) // train.min_workers))
        device = torch.device("cuda" if train.use_gpu else "cpu")
        return Teacher.load(Path(self._lesson.teacher), Path(self._lesson.model_dir), train, device)


def answer_block(teacher: Teacher, store: TokenStore, sampler: BatchSampler, rows: Ints, top_k: int) -> bytes:
    """Return what a teacher says of some rows, as the bytes of a file of targets.

    Args:
        teacher: With the weights for these rows.
        store: Of all rows.
        sampler: How rows share a pass.
        rows: Numbers of those that are asked about.
        top_k: Words to keep.
    """
    found: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for numbers in sampler.divide(rows, sampler.pack_length):
        named = [replace(row, id=str(number)) for number, row in zip(numbers, store.read(numbers), strict=True)]
        pack = build_pack(named, sampler.prefixes.groups[numbers].tolist())
        for part in [pack] if teacher.execution.is_packed else pack.split():
            words, logprobs, own = teacher.ask(part, top_k)
            for place, name in enumerate(part.ids):
                found[int(name)] = words[own == place], logprobs[own == place]
    words, logprobs = (torch.cat([found[int(row)][part] for row in rows]) for part in (0, 1))
    return pack_targets(words.int().numpy(), logprobs.half().numpy())
