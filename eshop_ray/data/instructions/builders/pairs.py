"""Two products: whether they are one, and how buyers relate them."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import OfferPair, Relation
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Subtask

_SAME = ("Yes, both offers are of the same product", "No, they are of different products")
_RELATIONS = {
    "also_bought": "Customers who buy the first also buy the second",
    "also_viewed": "Customers who view the first also view the second",
    "similar": "The two are similar products",
}


def build_same(pair: OfferPair, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask whether two offers sell one product."""
    right, wrong = _SAME if pair.is_same else _SAME[::-1]
    yield Question({"first": pair.first, "second": pair.second}, Choice(right, [wrong]))


def build_relation(pair: Relation, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask how buyers relate two products."""
    wrong = [text for name, text in _RELATIONS.items() if name != pair.relation]
    yield Question({"first": pair.first, "second": pair.second}, Choice(_RELATIONS[pair.relation], wrong))


SUBTASKS = (
    Subtask(
        "product_matching",
        (OfferPair,),
        build_same,
        {
            "en": (
                "Are the two offers of the same product?\nFirst: {first}\nSecond: {second}\n{options}\nAnswer:",
                "Shop A sells: {first}\nShop B sells: {second}\nIs it one product?\n{options}",
                "Offer 1: {first}\nOffer 2: {second}\nSame product?\n{options}",
                "A price comparison has these two listings.\n{first}\n{second}\nShould it merge them?\n{options}",
                "Compare the listings and decide.\nA: {first}\nB: {second}\n{options}",
                "Two sellers describe an article.\n{first}\n{second}\nIs it the very same one?\n{options}",
            )
        },
        (
            OfferPair(id="1", first="nordvik bottle 500 ml steel", second="Nordvik 0.5 l bottle", is_same=True),
            OfferPair(id="2", first="nordvik bottle 500 ml steel", second="Nordvik 1 l bottle", is_same=False),
        ),
    ),
    Subtask(
        "product_relation_prediction",
        (Relation,),
        build_relation,
        {
            "en": (
                "How are the two products related?\nFirst: {first}\nSecond: {second}\n{options}\nAnswer:",
                "First product: {first}\nSecond product: {second}\nChoose what holds.\n{options}",
                "A shop knows how its customers move from {first} to {second}. Which is it?\n{options}",
                'Predict the relation of "{first}" and "{second}".\n{options}',
                "1st: {first}\n2nd: {second}\nWhat connects them?\n{options}",
                "Think of shoppers of {first}. What does {second} have to do with it?\n{options}",
            )
        },
        (
            Relation(id="1", first="Tent", second="Tent Pegs", relation="also_bought"),
            Relation(id="2", first="Tent", second="Other Tent", relation="also_viewed"),
            Relation(id="3", first="Red Mug", second="Blue Mug", relation="similar"),
        ),
    ),
)
