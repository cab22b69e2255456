"""Categories of a taxonomy: where they belong, what products in them have, in the languages that it is localised in."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Category
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Subtask


def _category(number: int, *names: str) -> Category:
    path = {"en": names, "de": tuple(f"{name}-de" for name in names)}
    return Category(id=str(number), path=path, attributes={"en": ("Color", "Size"), "de": ("Farbe", "Größe")})


_EXAMPLES = (
    _category(1, "Home", "Kitchen", "Pans"),
    _category(2, "Home", "Kitchen", "Bottles"),
    _category(3, "Home", "Garden", "Rakes"),
    _category(4, "Home", "Bath", "Towels"),
    _category(5, "Home", "Office", "Pens"),
)


def build_parent(category: Category, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask, in each language, below which category one stands; the others are of the same root."""
    if len(category.path["en"]) < 2:
        return
    for language, names in category.path.items():
        parent = names[-2]

        def name_parent(one: Category, language: str = language) -> str:
            return one.path[language][-2] if len(one.path.get(language, ())) > 1 else ""

        near = pool.draw_near(category, name_parent, 3, draw, lambda one: bool(name_parent(one)))
        values = {"category": names[-1], "root": names[0]}
        yield Question(values, Choice(parent, [name_parent(one) for one in near]), language)


SUBTASKS = (
    Subtask(
        name="category_classification",
        takes=(Category,),
        build=build_parent,
        wordings={
            "en": (
                "Below which category does \"{category}\" belong?\n{options}",
                "A shop's tree of categories has \"{category}\" in it. Under which of these does it stand?\n{options}",
                "Category: {category}\nWhich is its parent category?\n{options}\nAnswer:",
                "Where would you look for {category}?\n{options}",
                "Sort the category {category} into the tree: which branch holds it?\n{options}",
                "You maintain a shop's navigation. Hang {category} under the right heading.\n{options}",
            ),
            "de": (
                "Zu welcher Kategorie gehört \"{category}\"?\n{options}",
                "Im Kategoriebaum eines Shops gibt es \"{category}\". Worunter steht das?\n{options}",
                "Kategorie: {category}\nWelche ist die übergeordnete Kategorie?\n{options}\nAntwort:",
                "Wo würden Sie {category} suchen?\n{options}",
                "Ordnen Sie die Kategorie {category} ein: Welcher Zweig enthält sie?\n{options}",
                "Sie pflegen die Navigation eines Shops. Unter welche Überschrift gehört {category}?\n{options}",
            ),
        },
        examples=_EXAMPLES,
    ),
)
