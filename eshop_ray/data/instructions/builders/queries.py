"""Queries with tagged parts: their entities, and how one query relates to another."""

from collections.abc import Callable, Iterator
from random import Random

from eshop_ray.data.instructions.content_words import find_content
from eshop_ray.data.instructions.material import TaggedText, fold, text_key
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Spans, Subtask

CORE = "core product type"
_RELATIONS = {
    "broader": "The second asks for more kinds of products than the first",
    "narrower": "The second asks for fewer kinds of products than the first",
    "other": "The second asks for another kind of product",
}


def _query(number: int, text: str, **spans: str) -> TaggedText:
    named = {name.replace("_", " "): (span,) for name, span in spans.items()}
    return TaggedText(id=str(number), text=text, spans=named, is_query=True)


_EXAMPLES = (
    _query(1, "red wool scarf for women", color="red", material="wool", core_product_type="scarf", department="women"),
    _query(2, "canopy tent 10 ft", modifier="canopy", core_product_type="tent", UoM="10 ft"),
    _query(3, "nordvik steel bottle", creator="nordvik", material="steel", core_product_type="bottle"),
    _query(4, "cheap desk lamp", price="cheap", core_product_type="desk lamp"),
)
_TITLES = (
    TaggedText(id="5", text="Nordvik Bottle, Steel, 500 ml", spans={"Material": ("Steel",), "Capacity": ("500 ml",)}),
    TaggedText(id="6", text="Alva Shirt Linen Sand M", spans={"Material": ("Linen",), "Color": ("Sand",)}),
)


def build_entity(one: TaggedText, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the parts of one type, once for each type that there is."""
    for name, spans in one.spans.items():
        yield Question({"text": one.text, "type": name}, Spans(spans))


def build_relation(one: TaggedText, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask how a query relates to it with a part left out, to it from there, or to it with another product in it."""
    core = one.spans.get(CORE, ())
    parts = [span for name, spans in one.spans.items() if name != CORE for span in spans]
    parts = [part for part in parts if one.text.count(part) == 1 and fold(part) not in _NAMING]
    if not one.is_query or len(core) != 1 or one.text.count(core[0]) != 1 or not parts:
        return
    kind = draw.choice(list(_RELATIONS))
    first, second = one.text, " ".join(one.text.replace(draw.choice(parts), " ").split())
    if second.rpartition(" ")[2] in _DANGLING:
        return
    if kind == "narrower":
        first, second = second, first
    elif kind == "other":
        others = pool.draw_near(one, _name_core, 1, draw, _is_of_another_kind(one))
        if not others:
            return
        second = one.text.replace(core[0], others[0].spans[CORE][0])
    wrong = [text for name, text in _RELATIONS.items() if name != kind]
    keys = (text_key(first), text_key(second))
    yield Question({"first": first, "second": second}, Choice(_RELATIONS[kind], wrong), keys=keys)


_NAMING = frozenset({"not", "without", "no"})
"""Left out, they would turn a query into its opposite."""
_DANGLING = frozenset({"for", "with", "of", "in", "and", "to", "from", "by"})
"""A query that ends on them has lost a part of a phrase."""


def _name_core(one: TaggedText) -> str:
    return " ".join(one.spans.get(CORE, ()))


def _is_of_another_kind(one: TaggedText) -> Callable[[TaggedText], bool]:
    """Return what allows only queries for products of which no word stands in this one: jogger pants are pants."""
    words = find_content(one.text)
    return lambda other: len(other.spans.get(CORE, ())) == 1 and words.isdisjoint(find_content(_name_core(other)))


SUBTASKS = (
    Subtask(
        name="attribute_extraction",
        takes=(TaggedText,),
        build=build_entity,
        wordings={
            "en": (
                "Give the parts of the query that name its {type}, separated by commas.\nQuery: {text}",
                "Query: {text}\nWhat in it is the {type}? Copy it, with commas between several parts.",
                'Extract every phrase of the type "{type}" from the search.\nSearch: {text}',
                "A shopper typed: {text}\nWhich words are the {type}?",
                "Copy the {type} out of this query, nothing else: {text}",
                'Mark the {type} in "{text}" and write it down.',
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="attribute_value_extraction",
        takes=(TaggedText,),
        build=build_entity,
        wordings={
            "en": (
                'What value of the attribute "{type}" does the title give? Copy it.\nTitle: {text}',
                "Title: {text}\nAttribute: {type}\nValue:",
                "Read the product title and copy its {type}; commas between several values.\n{text}",
                "Fill in the field {type} for this listing: {text}",
                "Product: {text}\nExtract the {type} from it.",
                "A catalogue lacks the {type} of this product. Take it from its title: {text}",
            )
        },
        examples=_TITLES,
    ),
    Subtask(
        name="query_relation",
        takes=(TaggedText,),
        build=build_relation,
        wordings={
            "en": (
                "How do the two searches relate?\nFirst: {first}\nSecond: {second}\n{options}\nAnswer:",
                'A shopper searched for "{first}", then for "{second}". What has changed?\n{options}',
                "First query: {first}\nSecond query: {second}\nChoose what is true.\n{options}",
                'Compare the queries "{first}" and "{second}".\n{options}',
                "After {first} came the search {second}. Which sentence describes the step?\n{options}",
                "Somebody changes the query {first} into {second}. What do they do?\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
)
