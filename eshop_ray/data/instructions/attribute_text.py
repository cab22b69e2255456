"""Attributes of products as semiPQA, ePQA and hetPQA write them, in braces without quotes around names -> text."""

import json
import re
from typing import Any

_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<name>\w+)\s*:|(?P<next>;)|(?P<bare>[^\s{}\[\],:;"][^{}\[\],;]*)', re.DOTALL
)
_ATTRIBUTE = re.compile(r"\w+:\s*\{")
_NOTHING = frozenset({"", "na", "n/a", "n.a.", "null", "null.int", "unknown", "not applicable"})
"""Values that say that there is none: of a body of NA a person wrote "The body is made of material."."""
_OWN = ("value", "decimal_value", "string_value", "total", "content")
"""Names of what an object says itself, the first that it has; only others are told by their names."""
_LABELS = ("quantity", "nutrient", "type", "role", "name")
"""Names that go without saying: `{ quantity:2, type:aaa }` is 2 aaa, `{ nutrient:sodium, value:20 }` is sodium 20."""
_UNTOLD = frozenset(
    {"unit", "normalized_value", "standardized_values", "brand_seq_id", "approved", "notTombstoned", "approvedNoValue"}
)
"""A value in other units or words, or what a data base notes for itself."""


def write_evidence(text: str) -> str:
    """Return evidence as text: an attribute as `write_attribute` does, a sentence as it is.

    Raises:
        ValueError: as it does, and for an attribute without a value.
    """
    if not _ATTRIBUTE.match(text):
        return text
    if told := write_attribute(text):
        return told
    raise ValueError("no attribute with a value")


def write_attribute(text: str) -> str:
    """Turn `age_range:  { value:"little kid" }` into `age range: little kid`; empty where there is no value.

    A number stands with its unit, parts of an attribute with their names: `width 9 inches, length 12 inches`.

    Raises:
        ValueError: if the braces do not close, or what stands in them is no list of names and values.
    """
    name, _, rest = text.partition(":")
    if not name.strip() or not rest.strip():
        return ""
    try:
        objects = json.loads(f"[{_TOKEN.sub(_quote, rest)}]", strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the attribute {name.strip()[:40]!r} is not whole: {error}") from error
    told = _write_list(objects, "")
    if re.search(r"[{}\[\]]", told):
        raise ValueError(f"the attribute {name.strip()[:40]!r} holds a brace in a value")
    return f"{_to_words(name)}: {told}" if told else ""


def _quote(found: re.Match[str]) -> str:
    """Return a token as JSON has it."""
    if found["quoted"]:
        return found["quoted"]
    if found["next"]:
        return ","
    return f"{json.dumps(found['name'])}:" if found["name"] else json.dumps(_read_bare(found["bare"].strip()))


def _read_bare(text: str) -> str:
    """Return a number without empty decimals, or the words of a constant such as `lithium_ion` or `'802_11_b'`."""
    if re.fullmatch(r"-?\d+\.0*", text):
        return text.partition(".")[0]
    return _to_words(re.sub(r"(?<=\d)_(?=\d)", ".", text.strip("'")))


def _to_words(text: str) -> str:
    return " ".join(text.replace("_", " ").split())


def _write_list(values: list[Any], unit: str) -> str:
    """Return several values, each once."""
    told = [one for value in values if (one := _write_value(value, unit))]
    distinct = list({one.casefold(): one for one in reversed(told)}.values())[::-1]
    return ("; " if any(", " in one for one in distinct) else ", ").join(distinct)


def _write_value(value: Any, unit: str) -> str:
    if isinstance(value, dict):
        return _write_object(value)
    if isinstance(value, list):
        return _write_list(value, unit)
    text = " ".join(str(value).split())
    text = text if " " in text else _to_words(text)
    if text.casefold() in _NOTHING:
        return ""
    return f"{text} {unit}" if unit and re.fullmatch(r"-?[\d.,/ ]+", text) else text


def _write_object(values: dict[str, Any]) -> str:
    """Return what an object says itself, and each of its parts with its name."""
    unit = _read_unit(values.get("unit"))
    own = next((name for name in _OWN if name in values), "")
    said = _write_value(values[own], unit) if own else ""
    if own and not said:
        return ""
    labels = [name for name in _LABELS if isinstance(values.get(name), str)]
    head = " ".join(filter(None, (*(_write_value(values[name].removesuffix(" string"), "") for name in labels), said)))
    parts = [_write_part(name, values) for name in values if name not in (*_OWN, *labels) and name not in _UNTOLD]
    return ", ".join(filter(None, (head, *parts)))


def _read_unit(value: Any) -> str:
    unit = _to_words(str(value or ""))
    return "" if unit.startswith("unknown") else unit


def _write_part(name: str, values: dict[str, Any]) -> str:
    """Return a part with its name; what is told as a number is not told again as a text, nor a unit on its own."""
    subject, _, kind = name.rpartition("_")
    is_told = kind == "string" and (subject in values or subject == "total")
    if is_told or kind == "unit":
        return ""
    own_unit = values.get(f"{subject}_unit" if kind == "quantity" else "unit")
    told = _write_value(values[name], _read_unit(own_unit))
    return f"{_to_words(name)} {told}" if told else ""
