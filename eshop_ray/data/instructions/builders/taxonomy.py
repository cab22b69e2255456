"""Categories of a taxonomy and their attributes, in the languages in which their names are known."""

from collections.abc import Callable, Collection, Iterator
from random import Random

from eshop_ray.data.instructions import taxonomy_wordings as words
from eshop_ray.data.instructions.material import Attribute, Category, fold
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Selection, Subtask, Text

MAX_ATTRIBUTES = 12
"""Of one category that a question asks for."""
_NUM_OPTIONS = 8


def _category(number: int, *names: str, google: tuple[str, ...] = ()) -> Category:
    path = {language: tuple(f"{name}{ending}" for name in names) for language, ending in _ENDINGS.items()}
    attributes = {language: (f"Color{ending}", f"Size{ending}") for language, ending in _ENDINGS.items()}
    return Category(id=str(number), path=path, attributes=attributes, google=google)


_ENDINGS = {"en": "", "de": " auf Deutsch", "fr": " en français", "es": " en español", "ja": "の日本語"}
_EXAMPLES = (
    _category(1, "Home", "Kitchen", google=("Home & Garden > Kitchen & Dining",)),
    *(_category(number, "Home", "Kitchen", name) for number, name in enumerate(("Pans", "Bottles", "Knives"), start=2)),
    *(
        _category(number, "Home", room, name)
        for number, (room, name) in enumerate(
            (
                *(
                    ("Garden", "Rakes"),
                    ("Garden", "Hoses"),
                    ("Bath", "Towels"),
                    ("Office", "Pens"),
                    ("Office", "Files"),
                ),
                *(("Hall", "Racks"), ("Bedroom", "Sheets"), ("Bedroom", "Quilts"), ("Cellar", "Shelves")),
            ),
            start=5,
        )
    ),
)
_ATTRIBUTES = tuple(
    Attribute(
        id=name,
        names={language: f"{name}{ending}" for language, ending in _ENDINGS.items()},
        values={language: tuple(f"{value}{ending}" for value in values) for language, ending in _ENDINGS.items()},
    )
    for name, values in {
        "Color": ("Red", "Blue"),
        "Fabric": ("Wool", "Linen"),
        "Shape": ("Round", "Oval"),
        "Scent": ("Rose", "Pine"),
        "Season": ("Winter", "Summer"),
    }.items()
)


def build_parent(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask, in each language, below which category one stands; the others are of the same root where they can be.

    Names such as "Accessories" stand below many categories: none of these is a wrong answer.
    """
    if len(category.path["en"]) < 2:
        return
    for language, names in category.path.items():
        parent_of = _name_parent(language)
        namesakes = pool.of_text(Category, f"name in {language}", names[-1], _name_in(language))
        right = {fold(parent_of(one)) for one in namesakes}
        near = pool.draw_near(category, parent_of, 3, draw, _is_apart(category, parent_of, right))
        wrong = [parent_of(one) for one in near]
        yield Question({"category": names[-1]}, Choice(names[-2], wrong), language)


def _name_parent(language: str) -> Callable[[Category], str]:
    return lambda one: one.path[language][-2] if len(one.path.get(language, ())) > 1 else ""


def _name_in(language: str) -> Callable[[Category], str]:
    return lambda one: one.path[language][-1] if language in one.path else ""


def _is_apart(
    category: Category, parent_of: Callable[[Category], str], right: Collection[str]
) -> Callable[[Category], bool]:
    """Return what allows only categories whose parent is neither on the way from the root to this one nor right."""
    own = set(category.path["en"])
    return lambda one: len(one.path["en"]) > 1 and one.path["en"][-2] not in own and fold(parent_of(one)) not in right


def build_children(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask, in each language, which of eight categories stand right below one: one to three do."""
    own = category.path["en"]
    children = [one for one in pool.beside(category) if one.path["en"][:-1] == own]
    if not children:
        return
    right = draw.sample(children, min(draw.randrange(1, 4), len(children)))
    names = {fold(one.name()) for one in children}

    def is_elsewhere(one: Category) -> bool:
        path = one.path["en"]
        is_apart = path[: len(own)] != own and own[: len(path)] != path
        is_namesakes_child = len(path) > 1 and fold(path[-2]) == fold(own[-1])
        return is_apart and not is_namesakes_child and fold(path[-1]) not in names

    near = pool.draw_near(right[0], Category.name, _NUM_OPTIONS - len(right), draw, is_elsewhere)
    for language in category.path:
        if not all(language in one.path for one in (*right, *near)):
            continue
        options = [[one.name(language) for one in part] for part in (right, near)]
        yield Question({"category": category.name(language)}, Selection(*options), language)


def build_attributes(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask, in each language, which attributes tell products of a category apart."""
    for language, names in category.attributes.items():
        if 2 <= len(names) <= MAX_ATTRIBUTES:
            values = {"category": " > ".join(category.path[language][-2:])}
            yield Question(values, Text(", ".join(names)), language)


def build_google(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the category of Google's taxonomy that one stands for."""
    if category.google and fold(category.google[0]) != fold(category.full_name()):
        yield Question(
            {"category": category.full_name()}, Text(category.google[0], category.google[1:], is_quotable=True)
        )


def build_translation(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the name in another language, in the words of that language."""
    for language in category.path:
        if language != "en":
            yield Question({"category": category.name()}, Text(category.name(language)), language)


def build_value(attribute: Attribute, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask, in each language, which of four is a value of an attribute; the others are values of other attributes."""
    own = {fold(value) for value in attribute.values["en"]}
    named = set(fold(attribute.names["en"]).split())
    if not own:
        return

    def is_apart(other: Attribute) -> bool:
        is_named_so = named & set(fold(other.names["en"]).split())
        return bool(other.values["en"]) and not is_named_so and own.isdisjoint(map(fold, other.values["en"]))

    for place in draw.sample(range(len(attribute.values["en"])), min(4, len(attribute.values["en"]))):
        near = pool.draw_near(attribute, lambda one: one.names["en"], 3, draw, is_apart)
        places = [draw.randrange(len(one.values["en"])) for one in near]
        for language, name in attribute.names.items():
            wrong = [one.values[language][other] for one, other in zip(near, places, strict=True)]
            yield Question({"attribute": name}, Choice(attribute.values[language][place], wrong), language)


SUBTASKS = (
    Subtask("parent_category_selection", (Category,), build_parent, words.PARENT, _EXAMPLES),
    Subtask("subcategory_retrieval", (Category,), build_children, words.CHILDREN, _EXAMPLES),
    Subtask("attribute_generation", (Category,), build_attributes, words.ATTRIBUTES, _EXAMPLES),
    Subtask("category_translation", (Category,), build_translation, words.TRANSLATION, _EXAMPLES),
    Subtask("attribute_value_selection", (Attribute,), build_value, words.VALUE, _ATTRIBUTES),
    Subtask("category_matching", (Category,), build_google, words.GOOGLE, _EXAMPLES),
)
