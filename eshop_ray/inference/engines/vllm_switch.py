"""Weights of another task into a running vLLM engine, and the proof that they are the ones that answer.

A layer of vLLM may hold several of the base's tensors in one, packed for its kernels, and compiled code and CUDA graphs
hold on to what they saw. vLLM loads and packs anew in place; whether all of its copies follow is proved by answers.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.models.switched import TaskProof, read_proofs, update_dir
from eshop_ray.models.switched_weights import list_changed, read_folded, read_rank

logger = logging.getLogger(__name__)

TOLERANCE, NOISE = 0.1, 0.02
"""How far a token's log probability may be off on average, and how far precisions of 8 bits put it off."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""That vLLM has kernels for."""
LOGGERS = ("vllm.model_executor.model_loader.reload.layerwise", "vllm.v1.worker.gpu_model_runner")
"""They warn of layers that get no new weights, which here is most of them, at every exchange."""


def add_lora_arguments(arguments: dict[str, Any], model_dir: Path) -> dict[str, Any]:
    """Return vLLM's arguments with room for the updates of all tasks, where it is to keep them apart from the base."""
    proofs = read_proofs(model_dir)
    if not proofs or not arguments.get("enable_lora"):
        return arguments
    rank = max(read_rank(update_dir(model_dir, task)) for task in proofs)
    fitting = next((size for size in LORA_RANKS if size >= rank), rank)
    return {"max_loras": len(proofs), "max_lora_rank": fitting, **arguments}


class TaskWeights:
    """The updates of a switched model, of which an engine answers with one at a time.

    An engine that was started with `enable_lora` keeps all of them beside the base and needs no exchange.
    """

    def __init__(self, engine: Any, model_dir: Path) -> None:
        """Prove that the weights of every task can be exchanged and answer as they should.

        Raises:
            UserError: if they cannot, or another task's weights have a part in the answers.
        """
        self._engine = engine
        self._model_dir = model_dir
        self._proofs = read_proofs(model_dir)
        self._changed = list_changed(model_dir, self._proofs)
        self._loras: dict[str, Any] = {}
        self.current: str | None = None
        """The task whose weights are folded in; None: the base as it is."""
        if engine.vllm_config.lora_config:
            from vllm.lora.request import LoRARequest

            paths = {task: str(update_dir(model_dir, task)) for task in self._proofs}
            self._loras = {
                task: LoRARequest(task, number, path) for number, (task, path) in enumerate(paths.items(), 1)
            }
        for task, proof in self._proofs.items():
            self._prove(task, proof)

    def can_answer(self, task: str) -> bool:
        """Return whether rows of a task can be asked now."""
        return not self._proofs or bool(self._loras) or task in ("", self.current)

    def choose_lora(self, task: str) -> Any:
        """Return what vLLM adds to a request of a task; None where its weights are folded in."""
        return self._loras.get(task)

    def has(self, task: str) -> bool:
        """Return whether the model has weights for a task; one that is not switched has the same for all."""
        return not self._proofs or task in ("", *self._proofs)

    def switch(self, task: str) -> None:
        """Fold in the weights of a task. Nothing may be in work."""
        if task == self.current:
            return
        self.current = None  # if it breaks off, nobody knows which weights stand there
        self._engine.collective_rpc(exchange, args=(str(self._model_dir), task, self._changed))
        self._engine.reset_prefix_cache()
        self.current = task

    def _prove(self, task: str, proof: TaskProof) -> None:
        if not self._loras:
            try:
                self.switch(task)
            except Exception as error:
                raise UserError(
                    f"vLLM cannot exchange this model's weights ({type(error).__name__}: {str(error)[:200]}); merge "
                    "the adapters by another `merge.method`, or set `infer.engine_kwargs.enable_lora: true` (for GPUs)"
                ) from error
        found = self._score(proof, self._loras.get(task))
        off = _distance(found, proof.logprobs)
        update = _distance(proof.logprobs, proof.base_logprobs)
        logger.debug("weights of %s: off by %.4f, of an update by %.4f", task, off, update)
        if not off <= max(NOISE, min(TOLERANCE, update / 2)):
            raise UserError(
                f"with the weights of task {task} folded in, the engine does not answer as base plus adapter do: log "
                f"probabilities differ by {off:.3f}, of {update:.3f} by which the adapter changes them; merge the "
                "adapters by another `merge.method`, or set `infer.compile: false`"
            )

    def _score(self, proof: TaskProof, lora: Any) -> list[float]:
        """Return what the engine says to a proof's tokens."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        params = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        prompt = {"type": "token", "prompt_token_ids": list(proof.ids)}
        self._engine.add_request("proof", prompt, params, lora_request=lora)
        outputs = []
        while self._engine.has_unfinished_requests():
            outputs += self._engine.step()
        ((_, *scored),) = [output.prompt_logprobs for output in outputs]
        return [one[token].logprob for one, token in zip(scored, proof.ids[1:], strict=True)]


def _distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return fmean(abs(one - other) for one, other in zip(ours, theirs, strict=True))


def exchange(worker: Any, model_dir: str, task: str, changed: set[str]) -> None:
    """Load a task's weights into a worker's model: all tensors that any task changes, so that none stays behind.

    Args:
        worker: vLLM's.
        model_dir: A switched model.
        task: Whose update.
        changed: Names of these tensors, as the base calls them.
    """
    names = add_fused(changed, worker.get_model())
    with _quiet():
        worker.reload_weights(weights_iterator=read_folded(Path(model_dir), task, names))


def add_fused(names: set[str], model: Any) -> set[str]:
    """Return names of tensors with those that vLLM keeps in one layer with them: it loads layers whole."""
    fused = getattr(model, "packed_modules_mapping", None) or {}
    added = set(names)
    for name in names:
        before, _, last = name.removesuffix(".weight").rpartition(".")
        groups = [parts for parts in fused.values() if last in parts]
        for kind in ("weight", "bias"):
            added |= {f"{before}.{part}.{kind}" for parts in groups for part in parts}
            added.add(f"{before}.{last}.{kind}")
    return added


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in LOGGERS}
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in loggers.items():
            one.setLevel(level)
