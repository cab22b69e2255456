"""The body of a chat completion request -> messages and vLLM's sampling parameters; what fits neither is refused."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from eshop_ray.schema import Message, is_text

ROLES = ("system", "developer", "user", "assistant")

LABELS = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
"""Fields that change no answer."""

GUIDED = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
"""vLLM's older fields, and what `structured_outputs` calls them."""

CONSTRAINTS: dict[str, tuple[type, ...]] = {
    "json": (dict, str),
    "regex": (str,),
    "choice": (list,),
    "grammar": (str,),
    "json_object": (bool,),
    "structural_tag": (str,),
}
CONSTRAINT_OPTIONS: dict[str, tuple[type, ...]] = {
    "disable_any_whitespace": (bool,),
    "disable_additional_properties": (bool,),
    "whitespace_pattern": (str,),
}
"""Fields of `structured_outputs` and their types: one constraint, and options."""

NOT_SAMPLING = {
    *("model", "messages", "max_completion_tokens", "response_format", "structured_outputs", *GUIDED),
    *("n", "stream", "logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls"),
}


class RefusedError(Exception):
    """A request that is not answered."""

    def __init__(self, code: str, message: str) -> None:
        """Say why, as the error file will.

        Args:
            code: For programs.
            message: For people; names fields and never quotes their values.
        """
        super().__init__(message)
        self.code = code


Text = Annotated[str, Field(min_length=1)]
TokenId = Annotated[int, Field(ge=0)]
Constraint = dict[str, Any]


def _to_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Body(BaseModel):
    """The fields of a request that are understood, under OpenAI's and vLLM's names.

    The last ones are there for their neutral value only: more answers, streams, probabilities and tools are not to be
    had.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    messages: Annotated[list[Any], Field(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[Text], BeforeValidator(_to_list)] | None = None
    stop_token_ids: list[TokenId] | None = None
    bad_words: list[Text] | None = None
    allowed_token_ids: Annotated[list[TokenId], Field(min_length=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    response_format: Constraint | None = None
    structured_outputs: Constraint | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    n: Literal[1] | None = None
    stream: Literal[False] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None


def read_body(values: Any) -> Body:
    """Check a body; a field that is null is one that was left out.

    Raises:
        RefusedError: naming the field.
    """
    if not isinstance(values, dict):
        raise RefusedError("missing_required_parameter", "body: a JSON object is needed")
    stated = {name: value for name, value in values.items() if value is not None and name not in LABELS}
    try:
        return Body.model_validate(stated)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = ".".join(str(part) for part in ("body", *detail["loc"]))[:80]
    field = field if is_text(field) else "body"
    if detail["type"] == "extra_forbidden":
        raise RefusedError("unsupported_parameter", f"{field}: not supported")
    code = "missing_required_parameter" if detail["type"] == "missing" else "invalid_value"
    raise RefusedError(code, f"{field}: {detail['msg']}")


def read_messages(body: Body) -> list[Message]:
    """Return the chat: roles and plain text.

    Raises:
        RefusedError: for what no chat template of text could show.
    """
    return [_read_message(f"body.messages.{index}", message) for index, message in enumerate(body.messages)]


def read_params(body: Body, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's sampling parameters.

    Args:
        body: The request.
        defaults: Parameters where the request is silent; `max_tokens` and `temperature` among them.

    Raises:
        RefusedError: if the parameters contradict one another.
    """
    stated = body.model_dump(exclude_none=True, exclude=NOT_SAMPLING)
    if stated.get("seed") == -1:  # vLLM's word for none
        del stated["seed"]
    params = {**defaults, **stated}
    if body.max_completion_tokens is not None:
        params["max_tokens"] = body.max_completion_tokens
    if params.get("min_tokens", 0) > params["max_tokens"]:
        raise RefusedError("invalid_value", f"body.min_tokens: more than the {params['max_tokens']} of max_tokens")
    constraint = _read_constraint(body)
    if constraint:
        params["structured_outputs"] = constraint
    return params


def _read_message(where: str, message: Any) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise RefusedError("invalid_value", f"{where}: needs a `role`, one of {', '.join(ROLES)}, and `content`")
    if any(value for name, value in message.items() if name not in ("role", "content")):
        raise RefusedError("unsupported_parameter", f"{where}: only `role` and `content` are supported")
    return {"role": message["role"], "content": _read_content(where, message.get("content"))}


def _read_content(where: str, content: Any) -> str:
    """Return the text; that of several parts is joined as vLLM joins it."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if _is_text_part(part)]
        if len(texts) < len(content):
            raise RefusedError("unsupported_parameter", f"{where}.content: only parts of type `text` are supported")
        content = "\n".join(texts)
    if not isinstance(content, str):
        raise RefusedError("invalid_value", f"{where}.content: text is needed")
    if not is_text(content):
        raise RefusedError("invalid_value", f"{where}.content: not Unicode: half of a surrogate pair")
    return content


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _read_constraint(body: Body) -> Constraint:
    """Return what the answer is held to, from whichever field says so; empty: nothing."""
    found = dict(body.structured_outputs or {})
    for field, name in GUIDED.items():
        value = getattr(body, field)
        if value is not None:
            _add_constraint(found, name, value)
    if body.response_format is not None:
        _add_format(found, body.response_format)
    found = {name: value for name, value in found.items() if value is not None}
    _check_constraint(found)
    return found


def _add_format(found: Constraint, response_format: Constraint) -> None:
    match response_format:
        case {"type": "text"}:
            pass
        case {"type": "json_object"}:
            _add_constraint(found, "json_object", True)
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            _add_constraint(found, "json", schema)
        case _:
            raise RefusedError(
                "invalid_value",
                "body.response_format: needs a `type`, one of text, json_object, and json_schema with its "
                "`json_schema.schema`",
            )


def _add_constraint(found: Constraint, name: str, value: Any) -> None:
    if found.get(name) is not None:
        raise RefusedError("invalid_value", f"body: `{name}` is constrained twice")
    found[name] = value


def _check_constraint(found: Constraint) -> None:
    for name, value in found.items():
        types = {**CONSTRAINTS, **CONSTRAINT_OPTIONS}.get(name)
        if types is None:
            raise RefusedError(
                "unsupported_parameter", f"body.structured_outputs: supported are {_list(CONSTRAINTS)}; a field is not"
            )
        if not isinstance(value, types):
            raise RefusedError("invalid_value", f"body.structured_outputs.{name}: of the wrong type")
    num_constraints = sum(name in CONSTRAINTS for name in found)
    if found and num_constraints != 1:
        raise RefusedError("invalid_value", f"body: needs one of {_list(CONSTRAINTS)}, not {num_constraints}")
    choice = found.get("choice", ["one"])
    if not choice or not all(isinstance(text, str) and text for text in choice):
        raise RefusedError("invalid_value", "body.structured_outputs.choice: needs one text or more")
    if found.get("json_object") is False:
        raise RefusedError("invalid_value", "body.structured_outputs.json_object: true, or left out")


def _list(names: Mapping[str, Any] | Sequence[str]) -> str:
    return ", ".join(names)
