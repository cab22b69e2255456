"""A query with its judged products: choosing, retrieving, ordering and naming them."""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from eshop_ray.data.instructions.builders.titles import hide_title
from eshop_ray.data.instructions.material import Product, Relation, Search, text_key
from eshop_ray.data.instructions.pool import Pool, likeness
from eshop_ray.data.instructions.question import Build, Choice, Order, Question, Selection, Subtask, Text
from eshop_ray.data.instructions.wrong_products import draw_wrong_products, name_of

GAINS = {"Exact": 1.0, "Substitute": 0.1, "Complement": 0.01, "Irrelevant": 0.0}
"""Of ESCI's first task."""
NUM_OPTIONS = 10


def _search(number: int, query: str, *results: tuple[str, str]) -> Search:
    return Search(id=str(number), query=query, results=results)


_EXAMPLES = (
    _search(
        1,
        "bottle for tea",
        ("Nordvik Steel Bottle 500 ml", "Exact"),
        ("Glass Bottle 1 l", "Substitute"),
        ("Bottle Brush", "Complement"),
        ("Alva Linen Shirt", "Irrelevant"),
    ),
    *(
        _search(number, query, (f"{query} Deluxe", "Exact"), (f"Spare part for {query}", "Complement"))
        for number, query in enumerate(
            ("Tent", "Lamp", "Kettle", "Guitar", "Scarf", "Desk", "Drill", "Rug", "Clock", "Saw", "Oven"), start=2
        )
    ),
)
VARIANT = 0.8
"""Likeness of titles from which on two products are sizes or colours of one: bought together, but no complement."""
_RELATIONS = tuple(
    Relation(id=f"r{number}", first=first, second=second, relation=relation)
    for number, (first, second, relation) in enumerate(
        (("Camera", "Tripod", "also_bought"), ("Printer", "Ink", "also_bought"), ("Red Mug", "Blue Cup", "similar"))
    )
)
_PRODUCTS = tuple(
    Product(id=f"p{number}", title=f"{name} Classic", description=f"A {name.lower()} that lasts for years and years.")
    for number, name in enumerate(("Tent", "Lamp", "Kettle", "Guitar", "Scarf", "Desk", "Drill", "Rug", "Clock", "Saw"))
)


def choose_label(label: str) -> Build:
    """Return a builder that asks for the one product of a label; the others have another label or another query."""

    def build(one: Search | Relation, pool: Pool, draw: Random) -> Iterator[Question]:
        for title, wrong in _list_right(one, label):
            others = draw_wrong_products(one, pool, 3 - len(wrong[:3]), draw, [title, *wrong])
            yield _about(one, Choice(title, [*wrong[:3], *others]), [title, *wrong[:3], *others])

    return build


def retrieve_label(label: str) -> Build:
    """Return a builder that asks for all products of a label among ten."""

    def build(one: Search | Relation, pool: Pool, draw: Random) -> Iterator[Question]:
        found = _list_right(one, label)
        if found:
            right, wrong = [title for title, _ in found][:3], found[0][1][: NUM_OPTIONS - 3]
            others = draw_wrong_products(one, pool, NUM_OPTIONS - len(right) - len(wrong), draw, [*right, *wrong])
            yield _about(one, Selection(right, [*wrong, *others]), [*right, *wrong, *others])

    return build


def _list_right(one: Search | Relation, label: str) -> list[tuple[str, list[str]]]:
    """Return the products of a label, each with those that surely have another."""
    if isinstance(one, Relation):
        is_own_size = label == "Complement" and likeness(one.first, one.second) >= VARIANT
        return [(one.second, [])] if _LABELS.get(one.relation) == label and not is_own_size else []
    wrong = [title for title, own in one.results if own != label and {own, label} != {"Exact", "Substitute"}]
    return [(title, wrong) for title in one.titles(label)]


_LABELS = {"also_bought": "Complement", "similar": "Substitute"}
"""What buyers make of two products -> what the second is to who looks for the first."""


def build_product(one: Search | Product, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of ten products a shopper looks for, by a query or by a description."""
    if isinstance(one, Search):
        for question in retrieve_label("Exact")(one, pool, draw):
            yield Question({"need": one.query}, question.answer, keys=question.keys)
    elif len(one.description.split()) > 5:
        near = pool.draw_near(one, _title, NUM_OPTIONS - 1, draw, lambda other: not _is_variant(one, other))
        wrong = [other.title for other in near]
        keys = tuple(map(text_key, wrong))
        yield Question({"need": hide_title(one)}, Selection([one.title], wrong), keys=keys)


def _title(product: Product) -> str:
    return product.title


def _is_variant(one: Product, other: Product) -> bool:
    """Whether what describes a product describes another as well."""
    is_same = one.id == other.id or one.description == other.description
    return is_same or likeness(one.title, other.title) >= VARIANT


def build_order(search: Search, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask for an order of products with labels, filled up with those of other queries."""
    graded = [(title, GAINS[label]) for title, label in search.results][:5]
    if any(gain > 0 for _, gain in graded):
        others = draw_wrong_products(search, pool, 5 - len(graded), draw, [])
        yield _about(search, Order([*graded, *((title, 0.0) for title in others)]), others)


def build_query(search: Search, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the query that finds a product."""
    for title in search.titles("Exact"):
        yield Question({"title": title}, Text(search.query))


def build_complement(one: Search | Relation, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for a product that goes with what was searched for."""
    titles = [title for title, _ in _list_right(one, "Complement")]
    if titles:
        yield Question({"query": name_of(one)}, Text(titles[0], titles[1:]))


def _about(one: Search | Relation, answer: Choice | Selection | Order, others: Sequence[str]) -> Question:
    return Question({"query": name_of(one)}, answer, keys=tuple(map(text_key, others)))


def _subtask(name: str, build: Callable[..., Iterator[Question]], *wordings: str) -> Subtask:
    is_of_both = name.startswith(("complements", "substitutes"))
    takes, examples = ((Search, Relation), (*_EXAMPLES, *_RELATIONS)) if is_of_both else ((Search,), _EXAMPLES)
    return Subtask(name, takes, build, {"en": wordings}, examples)


SUBTASKS = (
    _subtask(
        "query_generation",
        build_query,
        "Which search would lead a shopper to this product?\nProduct: {title}\nQuery:",
        "Write a search query for {title}.",
        'A customer wants to find "{title}". What do they type?',
        "Product: {title}\nGive a short query that it answers.",
        "Guess the words somebody put into the search box before buying {title}.",
        "{title}\nBy which search is this found?",
    ),
    _subtask(
        "complements_matching",
        build_complement,
        "Name a product that goes with what the shopper looks for.\nSearch: {query}",
        'A customer buys "{query}". What else might they need? Name one product.',
        "Query: {query}\nSuggest a complementary product.",
        "What would you offer to somebody who has just ordered {query}?",
        "Someone shops for {query}. Recommend one thing to go with it.",
        "Complete the basket: it holds {query}. Add one product.",
    ),
    _subtask(
        "complements_selection",
        choose_label("Complement"),
        "Which product goes with what the query asks for?\nQuery: {query}\n{options}\nAnswer:",
        'A shopper has chosen "{query}". Which of these complements it?\n{options}',
        "Query: {query}\nPick the complementary product.\n{options}",
        "What is used together with {query}?\n{options}",
        "Somebody buys {query}. Which of these should the shop recommend beside it?\n{options}",
        "Find the accessory or companion for {query}.\n{options}",
    ),
    _subtask(
        "substitutes_selection",
        choose_label("Substitute"),
        "Which product could stand in for what the query asks for?\nQuery: {query}\n{options}\nAnswer:",
        '"{query}" is sold out. Which of these is the nearest replacement?\n{options}',
        "Query: {query}\nPick the substitute.\n{options}",
        "What could a shopper take instead of {query}?\n{options}",
        "There is no {query} in stock. Which of these should be offered in its place?\n{options}",
        "Choose an alternative to {query}.\n{options}",
    ),
    _subtask(
        "complements_retrieval",
        retrieve_label("Complement"),
        "Which products go with what the query asks for? There are at most three.\nQuery: {query}\n{options}\nAnswer:",
        'A shopper has chosen "{query}". Give the numbers of up to three products that complement it.\n{options}',
        "Query: {query}\nList the complementary products, three at most.\n{options}",
        "What is used together with {query}? At most three of these are.\n{options}",
        "Up to three of these belong beside {query} in a basket. Which ones?\n{options}",
        "Find the accessories or companions (no more than three) for {query}.\n{options}",
    ),
    _subtask(
        "substitutes_retrieval",
        retrieve_label("Substitute"),
        "Which products could stand in for what the query asks for? At most three can.\nQuery: {query}\n{options}",
        '"{query}" is sold out. Give the numbers of up to three replacements.\n{options}',
        "Query: {query}\nList the substitutes, three at most.\n{options}",
        "What could a shopper take instead of {query}? Up to three of these would do.\n{options}",
        "No {query} in stock: which of these (at most three) should be offered in its place?\n{options}",
        "Choose the alternatives to {query}, no more than three.\n{options}",
    ),
    Subtask(
        "product_retrieval",
        (Search, Product),
        build_product,
        {
            "en": (
                "Which products are what the shopper looks for? At most three are.\nWanted: {need}\n{options}\nAnswer:",
                "A customer asks: {need}\nGive the numbers of the products (up to three) to show.\n{options}",
                "Need: {need}\nFind the fitting products, three at most.\n{options}",
                '"{need}"\nWhich of these does that speak of? No more than three.\n{options}',
                "Search the shelf for this: {need}\nUp to three hits:\n{options}",
                "Somebody wants this: {need}\nWhich of these, at most three, would please them?\n{options}",
            )
        },
        (*_EXAMPLES, *_PRODUCTS),
    ),
    _subtask(
        "query_product_rank",
        build_order,
        "Rank the products by how well they answer the query.\nQuery: {query}\n{options}\nAnswer:",
        'Order these search results for "{query}", the best first.\n{options}',
        "Query: {query}\nSort the products by relevance.\n{options}",
        "A shopper searched for {query}. In which order should these be shown?\n{options}",
        "Best match for {query} first:\n{options}",
        "Re-rank what the search engine found for {query}.\n{options}",
    ),
)
