"""How well a product answers a query: one of four labels, or yes and no."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Judgement
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Subtask

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
    yield Question({"query": one.query, "title": one.title}, Choice(MEANINGS[one.label], wrong))


SUBTASKS = (
    Subtask(
        name="multiclass_product_classification",
        takes=(Judgement,),
        build=build_label,
        wordings={
            "en": (
                "How well does the product answer the query?\nQuery: {query}\nProduct: {title}\n{options}",
                "A shopper searched for \"{query}\" and was shown \"{title}\". What is the product to the query?\n{options}",
                "Query: {query}\nProduct: {title}\nChoose the relation of the product to the query.\n{options}\nAnswer:",
                "Judge this search result.\nSearch: {query}\nResult: {title}\n{options}",
                "Which label fits the pair of query and product?\n{query}\n{title}\n{options}",
                "Someone types {query} into a shop's search box. Grade the hit {title}.\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
)
