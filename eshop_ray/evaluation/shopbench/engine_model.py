"""The model of a run, as a KDD Cup submission offers its own; in a submission's `user_config.py`:

from functools import partial
from eshop_ray.evaluation.shopbench.engine_model import ShopBenchModel

UserModel = partial(ShopBenchModel, "config.yaml", "plain")
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from eshop_ray.config import Config, PromptStrategy, load_config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.prompts import Examples, Prompt, build_prompt, collect_examples
from eshop_ray.evaluation.shopbench.questions import Question
from eshop_ray.inference.build import build_engine, find_answering_model, start_engine
from eshop_ray.inference.dispatch.stage import StageEngine
from eshop_ray.parsing import drop_thought
from eshop_ray.schema import PROMPT_SCHEMA, Message, encode
from eshop_ray.tasks import get_task

ASKABLE = ("vllm", "serve", "simulated")
"""Engines of models that follow instructions, without a limit on what they may cost."""
PLAIN = "plain"
"""The strategy without anything to it."""

_WARM_UP = Prompt("generation", [{"role": "user", "content": "Hello"}], {"temperature": 0.0, "max_tokens": 1})


class EngineModel:
    """Asks an engine, one batch at a time."""

    def __init__(
        self,
        engine: StageEngine,
        strategy: PromptStrategy,
        examples: Examples,
        temperature: float = 0.0,
        batch_size: int = 16,
    ) -> None:
        self.errors: dict[str, str] = {}
        """Questions that have no answer, and why; their text is empty."""
        self._strategy = strategy
        self._examples = examples
        self._temperature = temperature
        self._batch_size = batch_size
        self._runner = asyncio.Runner()
        self._stage = engine.open()
        self._ask([_WARM_UP.messages], [_WARM_UP.sampling_params], [None])  # the engine is up when this returns

    def get_batch_size(self) -> int:
        """Return how many questions a batch may hold."""
        return self._batch_size

    def batch_predict(self, batch: Mapping[str, Any], is_multiple_choice: bool) -> list[str]:  # noqa: ARG002
        """Return one answer per question; types are inferred from the questions alone.

        Args:
            batch: `prompt`, the questions.
            is_multiple_choice: As the competition's interface has it; without effect.
        """
        texts = [str(text) for text in batch["prompt"]]
        prompts = [build_prompt(text, self._strategy, self._examples, self._temperature) for text in texts]
        messages: list[list[Message]] = [prompt.messages for prompt in prompts]
        errors: list[str | None] = [None] * len(prompts)
        thinking = [place for place, prompt in enumerate(prompts) if prompt.thought]
        thoughts = self._ask(
            [prompts[place].ask_thought() for place in thinking],
            [prompts[place].thought or {} for place in thinking],
            [None] * len(thinking),
        )
        for place, (thought, error) in zip(thinking, thoughts, strict=True):
            messages[place], errors[place] = prompts[place].conclude(thought), error
        replies = self._ask(messages, [prompt.sampling_params for prompt in prompts], errors)
        self.errors.update({text: error for text, (_, error) in zip(texts, replies, strict=True) if error})
        return [answer for answer, _ in replies]

    def close(self) -> None:
        """End the engine."""
        self._runner.run(self._stage.close())
        self._runner.close()

    def _ask(
        self, messages: Sequence[list[Message]], params: Sequence[Mapping[str, Any]], errors: Sequence[str | None]
    ) -> list[tuple[str, str | None]]:
        """Return the answer to each conversation, and why there is none."""
        if not messages:
            return []
        empty = dict.fromkeys(PROMPT_SCHEMA.names)
        rows = [
            {**empty, "messages": one, "sampling_params": encode(options), "error": error}
            for one, options, error in zip(messages, params, errors, strict=True)
        ]
        answered = self._runner.run(self._stage(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA)))
        return [_read(row) for row in answered.select(["generated_text", "error"]).to_pylist()]


class ShopBenchModel(EngineModel):
    """The model of a config, complete: it finds the model, starts Ray and the engine."""

    def __init__(self, config: str | Config, strategy: str = PLAIN, asked: Sequence[Question] = ()) -> None:
        """Start.

        Args:
            config: A YAML file, or what was read from one. The last model of `infer.models` answers.
            strategy: One of `shopbench.strategies`.
            asked: Questions that are never examples.

        Raises:
            UserError: if there is no such strategy, or the model or its engine cannot be had.
        """
        settings = load_config(config) if isinstance(config, str) else config
        chosen = find_strategies(settings).get(strategy)
        if chosen is None:
            raise UserError(
                f"`shopbench.strategies` has no `{strategy}`; it has {', '.join(find_strategies(settings))}"
            )
        if settings.infer.engine not in ASKABLE:
            raise UserError(
                f"infer.engine={settings.infer.engine} does not answer ShopBench's batches; use {', '.join(ASKABLE)}"
            )
        examples = collect_examples(settings, chosen, asked)
        model = find_answering_model(settings, settings.infer.models[-1])
        start_engine(settings, model)
        infer = settings.infer.model_copy(update={"batch_size": settings.shopbench.batch_size})
        engine = build_engine(infer, model.share(settings.run_dir))
        assert isinstance(engine, StageEngine)
        super().__init__(engine, chosen, examples, infer.temperature, settings.shopbench.batch_size)


class OracleModel:
    """Knows the answers: with it every score is 1, which tests all that is not the model."""

    def __init__(self, questions: Sequence[Question], batch_size: int) -> None:
        self._answers = {
            question.prompt: get_task(question.gold.task).format_target(question.gold.target)
            for question in questions
            if question.gold
        }
        self._batch_size = batch_size

    def get_batch_size(self) -> int:
        """Return how many questions a batch may hold."""
        return self._batch_size

    def batch_predict(self, batch: Mapping[str, Any], is_multiple_choice: bool) -> list[str]:  # noqa: ARG002
        """Return the true answers."""
        return [self._answers[prompt] for prompt in batch["prompt"]]


def find_strategies(config: Config) -> dict[str, PromptStrategy]:
    """Return the strategies of a config: the plain one where it names none."""
    return dict(config.shopbench.strategies) or {PLAIN: PromptStrategy()}


def _read(row: Mapping[str, Any]) -> tuple[str, str | None]:
    if row["error"] is not None or row["generated_text"] is None:
        return "", row["error"] or "engine: no answer"
    answer = drop_thought(row["generated_text"])
    return ("", "reasoning: the answer ended before its reasoning did") if answer is None else (answer, None)
