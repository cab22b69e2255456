"""What autotuning turns: settings of `infer` that change how fast answers come, not what they say."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.config import CONVENTIONAL_ENGINES, InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.engines import vllm
from eshop_ray.inference.engines.simulated import build
from eshop_ray.inference.engines.simulated.engine import SimulatedOptions

BATCHED_TOKENS = 8192
"""Where the search for `max_num_batched_tokens` begins if nothing is stated."""

CALL_KEYS = {"batch_size", "max_concurrent_batches"}
"""Settings that a running engine can be asked with in turn."""

OWNERS = {
    "oracle": "it answers with the gold target",
    "serve": "tune `serve.engine_kwargs` by hand",
    "openai": "`openai.max_concurrent_requests` and its limits are the endpoint's to say",
    **dict.fromkeys(CONVENTIONAL_ENGINES, "its batches are as long as fits"),
}
"""Engine without knobs -> who turns what."""

Setting = int | None


@dataclass(frozen=True)
class Knob:
    """One setting, and how far it can be turned: by factors of two."""

    key: str
    """Below `infer`, e.g. `engine_kwargs.max_num_seqs`."""
    effective: Callable[[InferSection], int]
    """What is in force: the stated value, or what stands for None."""
    lowest: int
    highest: int
    along: str | None = None
    """A setting that turns with it, in the same proportion."""

    @property
    def needs_start(self) -> bool:
        """Whether a change takes an engine of its own."""
        return self.key not in CALL_KEYS

    def turn(self, infer: InferSection, factor: float) -> InferSection | None:
        """Return the settings with this one multiplied; None where that leads too far."""
        value = int(self.effective(infer) * factor)
        if not self.lowest <= value <= self.highest:
            return None
        turned = write_setting(infer, self.key, value)
        if self.along:
            together = int((read_setting(infer, self.along) or 0) * factor)
            turned = write_setting(turned, self.along, max(1, together))
        return turned


def list_knobs(infer: InferSection) -> Sequence[Knob]:
    """Return what can be turned on this engine, first what promises most.

    Calls grow with the sequences that they fill, or the engine would run dry. Threads are left alone where several
    engines share the cores: one is measured, and would take them all.

    Raises:
        UserError: for an engine that has nothing to turn.
    """
    batch_size = Knob("batch_size", lambda one: one.batch_size, 1, 1024)
    calls = Knob("max_concurrent_batches", count_calls, 1, 1024)
    if infer.engine == "simulated":
        return [batch_size, calls]
    if infer.engine != "vllm":
        owner = OWNERS[infer.engine]
        raise UserError(f"infer.engine={infer.engine} has nothing to tune, {owner}; run with infer.engine=vllm")
    knobs = [
        Knob("engine_kwargs.max_num_seqs", _in_force("max_num_seqs", vllm.MAX_NUM_SEQS), 4, 2048, along="batch_size"),
        Knob("engine_kwargs.max_num_batched_tokens", _in_force("max_num_batched_tokens", BATCHED_TOKENS), 512, 65536),
    ]
    cores = os.cpu_count() or 1
    if not infer.use_gpu and infer.concurrency == 1 and cores > 1:
        knobs.append(Knob("cpu_threads", lambda one: one.cpu_threads or cores, 1, cores))
    return [*knobs, batch_size, calls]


def count_calls(infer: InferSection) -> int:
    """Return the calls that the engine has in hand.

    Raises:
        UserError: if the simulated engine refuses its settings.
    """
    if infer.engine != "simulated":
        return vllm.count_calls(infer)
    build.build_simulated(infer)  # checks the settings, and starts nothing
    return build.count_calls(infer, SimulatedOptions(**infer.engine_kwargs))


def read_settings(infer: InferSection) -> dict[str, Setting]:
    """Return the value of every knob by its full key; None where nothing is stated."""
    return {f"infer.{knob.key}": read_setting(infer, knob.key) for knob in list_knobs(infer)}


def find_changes(old: InferSection, new: InferSection) -> dict[str, Setting]:
    """Return the settings of the new one's knobs in which the old one differs, with the new values."""
    keys = [knob.key for knob in list_knobs(new)]
    return {f"infer.{key}": read_setting(new, key) for key in keys if read_setting(new, key) != read_setting(old, key)}


def shares_engine(one: InferSection, other: InferSection) -> bool:
    """Whether one running engine can be asked with both settings."""
    return bool(one.model_dump(exclude=CALL_KEYS) == other.model_dump(exclude=CALL_KEYS))


def read_setting(infer: InferSection, key: str) -> Setting:
    """Return what is stated, None for nothing."""
    section, _, name = key.rpartition(".")
    value: Any = infer.engine_kwargs.get(name) if section else getattr(infer, name)
    return None if value is None else int(value)


def write_setting(infer: InferSection, key: str, value: int) -> InferSection:
    """Return the settings with one changed."""
    section, _, name = key.rpartition(".")
    update = {"engine_kwargs": {**infer.engine_kwargs, name: value}} if section else {name: value}
    return infer.model_copy(update=update)


def _in_force(name: str, otherwise: int) -> Callable[[InferSection], int]:
    return lambda infer: int(vllm.engine_kwargs(infer).get(name) or otherwise)
