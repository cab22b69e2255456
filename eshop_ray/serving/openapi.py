"""The documentation of the endpoint as OpenAPI 3.1, for people and for programs that try it out."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.serving.batches.files import MIN_LIFETIME
from eshop_ray.serving.calls import MAX_ANSWERS
from eshop_ray.serving.catalogue import MAX_COMPARED, MAX_FILTERS, MAX_QUERY_CHARACTERS, MAX_SHOWN
from eshop_ray.serving.grounding import MAX_MESSAGES
from eshop_ray.serving.task_answers import COLUMNS, MAX_RECORDS
from eshop_ray.tasks import get_task, list_tasks

Schema = dict[str, Any]

JSON_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    tuple: "array",
}
REFUSALS = {
    400: "The request is none: no JSON, a wrong type, too long for the context.",
    401: "No API key, or none that holds.",
    403: "Asked by a web page, or for another host.",
    404: "No such model, task, product, file or batch.",
    405: "The address does not take the method; `Allow` says which ones it takes.",
    413: "The body is too long.",
    415: "The body is not declared as JSON, or a file as a form.",
    422: "The record makes no prompt, or its answer cannot be read.",
    429: "A limit of the key is reached; `Retry-After` says when to come back.",
    503: "The model cannot answer now; `Retry-After` says when to come back.",
}
COUNT: Schema = {"type": "integer", "minimum": 1}
GENERATION: Schema = {
    "max_tokens": COUNT,
    "n": {**COUNT, "maximum": MAX_ANSWERS},
    "stream": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": 0},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "seed": {"type": "integer"},
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
"""Fields of both addresses; what else vLLM's server knows is understood too."""


@functools.cache
def describe_api(model_id: str, adapters: tuple[str, ...] = ()) -> Schema:
    """Return the documentation.

    Args:
        model_id: What clients send as `model`.
        adapters: What they may send in its place.
    """
    model = {"type": "string", **({"enum": [model_id, *adapters]} if adapters else {"const": model_id})}
    message = _object({"role": {"type": "string"}, "content": {"type": "string"}}, ["role", "content"])
    chat = {"model": model, "messages": {"type": "array", "minItems": 1, "items": message}, **GENERATION}
    text = {"model": model, "prompt": {"type": "string"}, **GENERATION}
    paths = {
        "/health": {"get": _operation("Whether the endpoint runs", is_open=True)},
        "/ready": {"get": _operation("Whether the model answers", is_open=True)},
        "/v1/models": {"get": _operation("The models")},
        "/v1/models/{model}": {"get": {**_operation("One model"), "parameters": [_path_parameter("model")]}},
        "/v1/chat/completions": {"post": _streaming("A chat", _object(chat, ["model", "messages"]))},
        "/v1/completions": {"post": _streaming("A text to go on with", _object(text, ["model", "prompt"]))},
    }
    paths |= _describe_shop(message)
    paths |= _describe_batches()
    for name in list_tasks():
        paths |= _describe_task(name)
    return {
        "openapi": "3.1.0",
        "info": {"title": "eshop_ray", "version": "1"},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _describe_error()},
        },
    }


def _describe_shop(message: Schema) -> Schema:
    turn = {**message, "additionalProperties": False}
    turn["properties"] = {**message["properties"], "role": {"type": "string", "enum": ["user", "assistant"]}}
    turns = {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": turn}
    question = {"messages": turns, "stream": {"type": "boolean"}}
    question["products"] = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_COMPARED}
    asked = {**_object(question, ["messages"]), "additionalProperties": False}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_SHOWN}
    filters = {"type": "array", "items": {"type": "string", "pattern": "^[^:]*:"}, "maxItems": MAX_FILTERS}
    query = {"type": "string", "maxLength": MAX_QUERY_CHARACTERS}
    searched = [_query("q", query), _query("filter", filters), _query("limit", limit)]
    ids = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_COMPARED}
    product = {**_operation("One product"), "parameters": [_path_parameter("id")]}
    search = {**_operation("Products for a question"), "parameters": searched}
    search["responses"]["200"]["content"]["application/json"] = {"schema": _describe_found()}
    return {
        "/v1/catalogue/search": {"get": search},
        "/v1/catalogue/products/{id}": {"get": product},
        "/v1/catalogue/compare": {
            "get": {**_operation("Products side by side"), "parameters": [{**_query("ids", ids), "required": True}]}
        },
        "/v1/assistant": {"post": _streaming("An answer that cites its sources", asked)},
    }


def _describe_found() -> Schema:
    def pair(*parts: Schema) -> Schema:
        return {"type": "array", "items": {"anyOf": list(parts)}, "minItems": 2, "maxItems": 2}

    text: Schema = {"type": "string"}
    facet = pair(text, {"type": "array", "items": pair(text, COUNT)})
    facets = {"type": "array", "items": facet, "description": "Attributes and their values, the most frequent first."}
    data = {"type": "array", "items": {"type": "object"}}
    return _object({"object": {"const": "list"}, "data": data, "facets": facets}, ["object", "data", "facets"])


def _describe_batches() -> Schema:
    text: Schema = {"type": "string"}
    file = {"type": "string", "format": "binary"}
    form = _object({"file": file, "purpose": {"const": "batch"}}, ["file", "purpose"])
    upload = {**_operation("Upload a file"), "requestBody": _describe_body(form, "multipart/form-data")}
    wanted = ["input_file_id", "endpoint", "completion_window"]
    lifetime: Schema = {"anchor": {"const": "created_at"}, "seconds": {**COUNT, "minimum": MIN_LIFETIME}}
    lifetime = {**_object(lifetime, list(lifetime)), "additionalProperties": False}
    options = {"metadata": {"type": "object"}, "output_expires_after": lifetime}
    batch = _object({**dict.fromkeys(wanted, text), **options}, wanted)
    page = [_query("limit", COUNT), _query("after", text), _query("order", {"enum": ["asc", "desc"]})]
    one = {"parameters": [_path_parameter("id")]}
    download = {**_operation("What is in a file"), **one}
    download["responses"]["200"]["content"] = {"application/octet-stream": {}}
    return {
        "/v1/files": {
            "post": upload,
            "get": {**_operation("The files"), "parameters": [*page, _query("purpose", text)]},
        },
        "/v1/files/{id}": {"get": {**_operation("One file"), **one}, "delete": {**_operation("Delete a file"), **one}},
        "/v1/files/{id}/content": {"get": download},
        "/v1/batches": {
            "post": _operation("Create a batch", batch),
            "get": {**_operation("The batches"), "parameters": page[:2]},
        },
        "/v1/batches/{id}": {"get": {**_operation("One batch"), **one}},
        "/v1/batches/{id}/cancel": {"post": {**_operation("Have nothing more of a batch asked"), **one}},
    }


def _query(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _describe_task(name: str) -> Schema:
    task = get_task(name)
    examples = [{key: value for key, value in one.items() if key not in COLUMNS} for one in task.examples]
    record: Schema = {"anyOf": [_describe_record(example) for example in examples]}
    records = _object(
        {"records": {"type": "array", "minItems": 1, "maxItems": MAX_RECORDS, "items": record}}, ["records"]
    )
    return {
        f"/v1/tasks/{name}": {"post": _operation(task.instruction, record)},
        f"/v1/tasks/{name}:batch": {"post": _operation(f"Several records of `{name}`", records)},
    }


def _describe_record(example: Mapping[str, Any]) -> Schema:
    fields = {name: _describe_value(value) for name, value in example.items() if type(value) in JSON_TYPES}
    return {**_object(fields, list(fields)), "examples": [dict(example)]}


def _describe_value(value: Any) -> Schema:
    described: Schema = {"type": JSON_TYPES[type(value)]}
    if isinstance(value, list | tuple) and {type(part) for part in value} == {str}:
        described["items"] = {"type": "string"}
    return described


def _operation(summary: str, body: Schema | None = None, is_open: bool = False) -> Schema:
    error = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    operation: Schema = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {}}},
            **{str(status): {"description": text, **error} for status, text in REFUSALS.items()},
        },
    }
    if body is not None:
        operation["requestBody"] = _describe_body(body)
    return {**operation, "security": []} if is_open else operation


def _streaming(summary: str, body: Schema) -> Schema:
    operation = _operation(summary, body)
    operation["responses"]["200"]["content"]["text/event-stream"] = {}
    return operation


def _describe_body(schema: Schema, kind: str = "application/json") -> Schema:
    return {"required": True, "content": {kind: {"schema": schema}}}


def _object(properties: Schema, required: Sequence[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _describe_error() -> Schema:
    text = {"type": ["string", "null"]}
    fields = {"message": {"type": "string"}, "type": {"type": "string"}, "param": text, "code": text}
    return _object({"error": _object(fields, list(fields))}, ["error"])
