"""How well a product answers a query: one of four labels, or yes and no."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Judgement
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Subtask, Text

MEANINGS = {
    "Exact": "Exact: the product is what the query asks for",
    "Substitute": "Substitute: it is not quite what was asked for, but could serve instead",
    "Complement": "Complement: it is not what was asked for, but goes with it",
    "Irrelevant": "Irrelevant: it has nothing to do with the query",
}
_EXAMPLES = (
    Judgement(id="1", query="steel bottle", title="Nordvik Steel Bottle 500 ml", label="Exact"),
    Judgement(id="2", query="steel bottle", title="Glass Bottle 1 l", label="Substitute"),
    Judgement(id="3", query="steel bottle", title="Bottle Brush", label="Complement"),
    Judgement(id="4", query="tent", title="Alva Linen Shirt", label="Irrelevant"),
)


def build_label(one: Judgement, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for one of the four labels."""
    wrong = [meaning for label, meaning in MEANINGS.items() if label != one.label]
    yield Question(_values(one), Choice(MEANINGS[one.label], wrong))


def build_exact(one: Judgement, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask whether a product is just what was searched for."""
    yield Question(_values(one), Text("yes" if one.label == "Exact" else "no", is_quotable=True))


def build_substitute(one: Judgement, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask whether a product could stand in for what was searched for; one that is exact is no question."""
    if one.label != "Exact":
        is_substitute = one.label == "Substitute"
        right, wrong = _ANSWERS if is_substitute else _ANSWERS[::-1]
        yield Question(_values(one), Choice(right, [wrong]))


_ANSWERS = ("Yes, it could serve instead", "No, it could not")


def _values(one: Judgement) -> dict[str, str]:
    return {"query": one.query, "title": one.title}


SUBTASKS = (
    Subtask(
        name="multiclass_product_classification",
        takes=(Judgement,),
        build=build_label,
        wordings={
            "en": (
                "How well does the product answer the query?\nQuery: {query}\nProduct: {title}\n{options}",
                'A shopper searched for "{query}" and was shown "{title}". What is it to the query?\n{options}',
                "Query: {query}\nProduct: {title}\nWhat is the product to the query?\n{options}\nAnswer:",
                "Judge this search result.\nSearch: {query}\nResult: {title}\n{options}",
                "Which label fits the pair of query and product?\n{query}\n{title}\n{options}",
                "Someone types {query} into a shop's search box. Grade the hit {title}.\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="exact_match_judgement",
        takes=(Judgement,),
        build=build_exact,
        wordings={
            "en": (
                "Is the product exactly what the query asks for? Answer yes or no.\nQuery: {query}\nProduct: {title}",
                "Query: {query}\nProduct: {title}\nDoes every wish of the query hold for the product, yes or no?",
                'A shopper wants "{query}". Is "{title}" precisely that? yes or no:',
                "Say yes if {title} matches the search {query} in full, else no.",
                "Search: {query}\nHit: {title}\nExact match (yes/no):",
                "Would {title} satisfy somebody who asked for {query} without any compromise? Reply yes or no.",
            )
        },
        examples=_EXAMPLES,
        metric="accuracy",
    ),
    Subtask(
        name="product_substitute_identification",
        takes=(Judgement,),
        build=build_substitute,
        wordings={
            "en": (
                "Could the product serve as a substitute for what the query asks for?\n"
                "Query: {query}\nProduct: {title}\n{options}",
                'What a shopper wanted, "{query}", is sold out. Would "{title}" do?\n{options}',
                "Query: {query}\nProduct: {title}\nIs it a substitute?\n{options}\nAnswer:",
                "A shop has no {query}. Can it offer {title} in its place?\n{options}",
                "Decide whether {title} can replace {query}.\n{options}",
                "Instead of {query} the search finds {title}. Good enough to stand in?\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
)
