"""Questions in ShopBench's format; the gold answers follow from how the products were made."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eshop_ray.sample_shop.products import Product, join_words, make_product, make_rng
from eshop_ray.sample_shop.vocabulary import CATEGORIES, COLORS, KINDS

Question = dict[str, Any]


def make_questions(seed: int, product: Product) -> Iterator[Question]:
    """Yield the questions about one product: always entities and a choice, the others for most products."""
    for name, (share, build) in _BUILDERS.items():
        rng = make_rng(seed, name, product.number)
        if rng.random() < share and (question := build(rng, seed, product)):
            yield {**question, "task_name": name}


_ENTITY_FRAMES = (
    "Copy the {type} from this product title.\nTitle: {title}\nOutput:",
    "Which words of the title name the {type}? Separate several by commas.\nTitle: {title}\nOutput:",
    "You are reading a listing in an online shop. Extract the entity type '{type}'.\nProduct: {title}\nOutput:",
)


def _entities(rng: random.Random, seed: int, product: Product) -> Question:  # noqa: ARG001
    entity_type, spans = rng.choice(sorted(product.attributes.items()))
    title = product.title
    starts = [title.lower().index(span.lower()) for span in spans]
    gold = [title[start : start + len(span)] for start, span in zip(starts, spans, strict=True)]
    prompt = rng.choice(_ENTITY_FRAMES).format(type=entity_type, title=title)
    return _question(prompt, gold, "named_entity_recognition", "micro f1")


_CATEGORY_FRAMES = (
    "Which category does the product '{text}' belong to?",
    "Where in the shop would you look for '{text}'?",
    "A shop sorts '{text}' into one of these departments. Which one?",
)
_ATTRIBUTE_FRAMES = (
    "What {name} does this product have?\nProduct: {text}",
    "Read the listing and choose its {name}.\nProduct: {text}",
    "A customer asks about the {name}. What is the answer?\nProduct: {text}",
)


def _choice(rng: random.Random, seed: int, product: Product) -> Question:  # noqa: ARG001
    pools: dict[str, tuple[str, Sequence[str]]] = {"category": (product.kind.category, CATEGORIES)}
    if len(product.colors) == 1:
        pools["color"] = (product.colors[0], COLORS)
    if product.material:
        pools["material"] = (product.material, sorted({name for kind in KINDS for name in kind.materials}))
    if product.size:
        pools["size"] = (product.size, sorted({size for kind in KINDS for size in kind.sizes}))
    name = rng.choice(sorted(pools))
    answer, pool = pools[name]
    wrong = [value for value in pool if value not in product.title.lower() and value != answer]
    options = [answer, *rng.sample(wrong, 3)]
    rng.shuffle(options)
    frames = _CATEGORY_FRAMES if name == "category" else _ATTRIBUTE_FRAMES
    question = rng.choice(frames).format(name=name, text=product.title)
    prompt = f"{question}\n{_number(options, 0)}\nAnswer:"
    return _question(prompt, options.index(answer), "multiple-choice", "accuracy")


_RETRIEVAL_FRAMES = (
    "A customer searches for '{query}'. Choose the three products that match.",
    "Select the 3 products from the list that fit the query '{query}'. Answer with their numbers only.",
    "Which three of these products would you show for '{query}'?",
)


def _retrieval(rng: random.Random, seed: int, product: Product) -> Question:
    matching = [product, *(_sibling(seed, product, turn) for turn in (1, 2))]
    others = [_stranger(rng, seed, product) for _ in range(9)]
    options = [*matching, *others]
    rng.shuffle(options)
    gold = sorted(options.index(match) for match in matching)
    question = rng.choice(_RETRIEVAL_FRAMES).format(query=product.kind.name)
    prompt = f"{question}\n{_number([option.title for option in options], 0)}\nOutput:"
    return _question(prompt, gold, "retrieval", "hit rate@3")


_RANKING_FRAMES = (
    "Rank these products by how well they fit the query '{query}', the best first.",
    "The query is '{query}'. Order the five products from most to least relevant. Give the numbers only.",
    "Sort the list for a customer who typed '{query}'.",
)


def _ranking(rng: random.Random, seed: int, product: Product) -> Question | None:
    if not product.colors:
        return None
    siblings = [_sibling(seed, product, turn) for turn in range(1, 6)]
    other_color = [sibling for sibling in siblings if not set(sibling.colors) & set(product.colors)][:2]
    strangers = [_stranger(rng, seed, product) for _ in range(4 - len(other_color))]
    weighted = [
        (product.title, 3),
        *((item.title, 2) for item in other_color),
        *((item.title, 0) for item in strangers),
    ]
    rng.shuffle(weighted)
    query = f"{product.colors[0]} {product.kind.name}"
    question = rng.choice(_RANKING_FRAMES).format(query=query)
    prompt = f"{question}\n{_number([title for title, _ in weighted], 1)}\nOutput:"
    return _question(prompt, [weight for _, weight in weighted], "ranking", "ndcg")


_TITLE_FRAMES = (
    "Write a product title from these attributes.\n{facts}\nTitle:",
    "Create a title for a listing with the following attributes.\n{facts}\nTitle:",
    "Turn the attributes into one product title.\n{facts}\nTitle:",
)


def _title(rng: random.Random, seed: int, product: Product) -> Question:  # noqa: ARG001
    colors = join_words(product.colors) if product.colors else None
    parts = [product.brand, product.modifier, colors, product.material, product.kind.name]
    title = " ".join(part for part in parts if part) + (f", {product.size}" if product.size else "")
    facts = {
        "Product type": product.kind.name,
        "Brand": product.brand,
        "Color": colors,
        "Material": product.material,
        "Size": product.size,
        "Feature": product.modifier,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    rng.shuffle(lines)
    prompt = rng.choice(_TITLE_FRAMES).format(facts="\n".join(lines))
    return _question(prompt, title[0].upper() + title[1:], "generation", "rougel")


_BUILDERS: dict[str, tuple[float, Callable[[random.Random, int, Product], Question | None]]] = {
    "attribute_extraction": (1.0, _entities),
    "attribute_choice": (1.0, _choice),
    "query_retrieval": (0.8, _retrieval),
    "query_product_ranking": (0.9, _ranking),
    "title_generation": (0.8, _title),
}
"""Group -> share of the products that get such a question, and its builder."""


def _question(prompt: str, answer: Any, task_type: str, metric: str) -> Question:
    return {
        "input_field": prompt,
        "output_field": answer,
        "task_type": task_type,
        "metric": metric,
        "is_multiple_choice": task_type == "multiple-choice",
    }


def _number(options: Sequence[str], start: int) -> str:
    return "\n".join(f"{number}. {option}" for number, option in enumerate(options, start))


def _sibling(seed: int, product: Product, turn: int) -> Product:
    """Return another product of the same kind."""
    return make_product(seed, product.number + turn * len(KINDS))


def _stranger(rng: random.Random, seed: int, product: Product) -> Product:
    """Return a product of another category."""
    while True:
        other = make_product(seed, rng.randrange(10 * len(KINDS)))
        if other.kind.category != product.kind.category:
            return other
