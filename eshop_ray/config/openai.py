"""The section of a remote endpoint that answers instead of a model of this cluster."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from eshop_ray.config.base import PositiveInt, Section

Price = Annotated[float, Field(ge=0)]

FIXED_FIELDS = ("messages", "model", "n", "stream")
"""Of a request; what an answer is read from, and counted by."""


class OpenaiSection(Section):
    """The engine `openai`: any endpoint that speaks OpenAI's chat completions."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^@?#\s]*)?$")] | None = None
    """Address up to `/chat/completions`, e.g. `https://api.openai.com/v1` or `http://127.0.0.1:8000/v1`; never with a
    key in it."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """What the endpoint calls the model."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of the environment variable of the job that holds the key; null: the endpoint wants none. The key itself
    stands nowhere."""
    constrained_decoding: Literal["structured_outputs", "response_format"] | None = None
    """How the endpoint is told of a task's declared output, where `infer.constrained` is true: `structured_outputs`, as
    vLLM has it, or `response_format`, OpenAI's JSON schema; null: it is not told."""
    extra_body: dict[str, JsonValue] = {}
    """Fields of every request beside ours, or in their place; null takes one out, e.g. `{temperature: null}` for a
    model that allows none."""
    max_model_len: PositiveInt | None = None
    """Tokens of the model's context, by which examples are left out; one for three bytes of text are counted. Null:
    what does not fit is refused by the endpoint."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=1000)] = 32
    """Requests under way, for each of `infer.concurrency`."""
    requests_per_minute: PositiveInt | None = None
    """Of the whole run, tries again included; null: no limit."""
    tokens_per_minute: PositiveInt | None = None
    """Of the whole run, read and written; null: no limit."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    """A request that is not answered in full by then is asked again, `infer.max_retries` times."""
    input_price: Price | None = None
    """Price of a million tokens that are read, in any currency."""
    cached_input_price: Price | None = None
    """The same of those that the endpoint had in its cache; null: as `openai.input_price`."""
    output_price: Price | None = None
    """Price of a million tokens that are written."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """What the answers of a split, those of a night, or those of a teacher in a run directory may cost. Before that is
    passed the job ends, exit status 3, and keeps what was answered; with a higher value it goes on."""

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if fixed := [name for name in FIXED_FIELDS if name in fields]:
            raise ValueError(f"`{fixed[0]}` is set by the engine; leave it out")
        return fields
