"""Products and their categories, in either direction; the other options are of the same root where there are any."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions import category_wordings as words
from eshop_ray.data.instructions.content_words import find_content
from eshop_ray.data.instructions.material import Product, fold
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Order, Question, Selection, Subtask, Text

_EXAMPLES = tuple(
    Product(id=str(number), title=title, category=category)
    for number, (title, category) in enumerate(
        (
            ("Nordvik Steel Bottle", "Home > Bottles"),
            ("Glass Carafe 1 l", "Home > Bottles"),
            ("Bamboo Chopping Board", "Home > Boards"),
            ("Cast Iron Skillet", "Home > Pans"),
            ("Linen Tea Towel", "Home > Towels"),
            ("Copper Kettle", "Home > Kettles"),
            ("Alva Linen Shirt", "Apparel > Shirts"),
            ("Merino Crew Socks", "Apparel > Socks"),
            ("Rain Jacket", "Apparel > Jackets"),
            ("Wool Scarf", "Apparel > Scarves"),
            ("Running Shoes", "Apparel > Shoes"),
            ("Acoustic Guitar", "Music > Guitars"),
        )
    )
)


def name_category(product: Product) -> str:
    """Return a category as a shopper reads it."""
    return product.category


def name_leaf(product: Product) -> str:
    """Return the last name of the category's path."""
    return product.category.rpartition(" > ")[2]


def _title(product: Product) -> str:
    return product.title


def build_written(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the category in words."""
    if product.category:
        yield Question({"title": product.title}, Text(product.category, is_quotable=True))


def build_choice(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of four categories a product is in."""
    if product.category:
        near = pool.draw_near(product, name_category, 3, draw, lambda one: _is_apart(one, product))
        yield Question({"title": product.title}, Choice(product.category, [one.category for one in near]))


def build_member(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of four products is in a category."""
    if product.category:
        near = pool.draw_near(product, _title, 3, draw, lambda one: _is_apart(one, product))
        yield _about(near, {"category": product.category}, Choice(product.title, [one.title for one in near]))


def build_members(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of ten products are in a category: one to three are."""
    if not product.category:
        return
    same = [one for one in pool.beside(product) if one.category == product.category and one.id != product.id]
    others = draw.sample(same, min(draw.randrange(3), len(same)))
    others = [one for one in others if fold(one.title) != fold(product.title)]
    near = pool.draw_near(product, _title, 10 - 1 - len(others), draw, lambda one: _is_apart(one, product))
    right = list(dict.fromkeys([product.title, *(one.title for one in others)]))
    yield _about([*near, *others], {"category": product.category}, Selection(right, [one.title for one in near]))


def build_ranking(product: Product, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask for an order by nearness to a shopper's wish: of the category, of the department, of neither."""
    leaf = name_leaf(product)
    if " > " not in product.category or fold(leaf) == fold(product.department):
        return
    words = find_content(leaf)

    def is_other(one: Product) -> bool:
        """Whether it is surely not what is searched for: it has another category, and is not called so either."""
        return _is_apart(one, product) and not words <= find_content(f"{one.category} {one.title}")

    same_root = pool.draw_near(
        product, _title, 2, draw, lambda one: one.department == product.department and is_other(one)
    )
    strange = pool.draw_near(
        product, _title, 2, draw, lambda one: one.department != product.department and is_other(one)
    )
    if len(same_root) == 2 and len(strange) == 2:
        graded = [
            (product.title, 1.0),
            *((one.title, 0.1) for one in same_root),
            *((one.title, 0.0) for one in strange),
        ]
        yield _about([*same_root, *strange], {"query": leaf, "department": product.department}, Order(graded))


def _is_apart(one: Product, product: Product) -> bool:
    """Whether a product is surely not of a category: neither of it nor of one above or below it."""
    first, second = fold(one.category), fold(product.category)
    return bool(first) and not first.startswith(second) and not second.startswith(first)


def _about(others: list[Product], values: dict[str, str], answer: Choice | Selection | Order) -> Question:
    return Question(values, answer, keys=tuple(key for one in others for key in one.keys))


SUBTASKS = (
    Subtask(
        name="category_generation",
        takes=(Product,),
        build=build_written,
        wordings={
            "en": (
                "In which category does a shop list this product? Give the path from the department down.\n{title}",
                "Product: {title}\nCategory path:",
                'File the product "{title}" into a shop\'s tree of categories.',
                "Name the category, and what stands above it, for: {title}",
                "A new item has arrived: {title}\nUnder which category should it go online?",
                "Where in the shop would you shelve {title}? Answer with the path of the category.",
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="category_classification",
        takes=(Product,),
        build=build_choice,
        wordings=words.CLASSIFICATION,
        examples=_EXAMPLES,
    ),
    Subtask(
        name="category_identification",
        takes=(Product,),
        build=build_member,
        wordings=words.IDENTIFICATION,
        examples=_EXAMPLES,
    ),
    Subtask(
        name="relevant_item_retrieval",
        takes=(Product,),
        build=build_members,
        wordings={
            "en": (
                "Which of these products are in the category {category}? There are at most three.\n{options}\nAnswer:",
                "Category: {category}\nGive the numbers of the products that belong there, at most three.\n{options}",
                "Find everything for {category}; up to three products fit.\n{options}",
                "A shopper filters by {category}. Which items stay? No more than three do.\n{options}",
                "List the items (three at most) that a shop would show under {category}.\n{options}",
                "Up to three of these should be shelved under {category}. Which ones?\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
    Subtask(
        name="query_product_ranking",
        takes=(Product,),
        build=build_ranking,
        wordings={
            "en": (
                'Rank the products by how well they answer the search "{query}" in {department}.\n{options}\nAnswer:',
                "Query: {query} ({department})\nOrder the products, the best first.\n{options}",
                "A shopper in the department {department} looks for {query}. Sort the results.\n{options}",
                "Search: {query}, department: {department}\nBest match first:\n{options}",
                "Put these products into the order in which {query} from {department} should bring them up.\n{options}",
                "Someone in {department} types {query}. In which order should these be shown?\n{options}",
            )
        },
        examples=_EXAMPLES,
    ),
)
