"""Questions in ShopBench's format; the gold answers follow from how the products were made.

Each can be answered from what stands in it: an option's words stand in the product's title, a product fits a query
whose words are in its listing. Right answers take every position equally often, so that no constant answer is a good
guess.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.sample_shop.products import Product, join_words, make_product, make_rng
from eshop_ray.sample_shop.splits import HELD_OUT_EVERY, Wordings, take_turn
from eshop_ray.sample_shop.vocabulary import BRANDS, COLORS, KINDS

Question = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a question is made of."""

    rng: random.Random
    seed: int
    """Of the shop."""
    product: Product
    turn: int
    """Settles the position of the right answer."""

    def choose(self, frames: Wordings) -> str:
        """Draw one of the wordings that are meant for the product."""
        return self.rng.choice(frames[self.product.split])


Builder = Callable[[Topic], Question | None]


def make_questions(seed: int, product: Product) -> Iterator[Question]:
    """Yield the questions about one product, of some groups several, of others perhaps none."""
    for name, (rates, build) in _BUILDERS.items():
        rng = make_rng(seed, name, product.number)
        rate = rates[product.split]
        for number in range(int(rate) + (rng.random() < rate % 1)):
            if question := build(Topic(rng, seed, product, take_turn(product.number) + number)):
                yield {**question, "task_name": name}


_ENTITY_FRAMES: Wordings = {
    "train": (
        "Copy the {type} from this product title.\nTitle: {title}\nOutput:",
        "Which words of the title name the {type}? Separate several by commas.\nTitle: {title}\nOutput:",
    ),
    "dev": (
        "You are reading a listing in an online shop. Extract the entity type '{type}'.\nProduct: {title}\nOutput:",
    ),
}


def _entities(topic: Topic) -> Question:
    rng, product = topic.rng, topic.product
    entity_type, spans = rng.choice(sorted(product.attributes.items()))
    title = product.title
    starts = [title.lower().index(span.lower()) for span in spans]
    gold = [title[start : start + len(span)] for start, span in zip(starts, spans, strict=True)]
    prompt = topic.choose(_ENTITY_FRAMES).format(type=entity_type, title=title)
    return _question(prompt, gold, "named_entity_recognition", "micro f1")


_CHOICE_FRAMES: Wordings = {
    "train": (
        "What {name} does this product have?\nProduct: {text}",
        "Read the listing and choose its {name}.\nProduct: {text}",
        "Which {name} is named here?\nProduct: {text}",
    ),
    "dev": (
        "A customer asks about the {name}. What is the answer?\nProduct: {text}",
        "Pick the {name} that the title states.\nProduct: {text}",
    ),
}
_MATERIALS = sorted({name for kind in KINDS for name in kind.materials})
_SIZES = sorted({size for kind in KINDS for size in kind.sizes})


def _choice(topic: Topic) -> Question | None:
    rng, product = topic.rng, topic.product
    values: dict[str, tuple[str | None, Sequence[str]]] = {
        "brand": (product.brand, BRANDS[product.split]),
        "color": (product.colors[0] if len(product.colors) == 1 else None, COLORS),
        "material": (product.material, _MATERIALS),
        "size": (product.size, _SIZES),
    }
    known = [(name, value, pool) for name, (value, pool) in values.items() if value]
    if not known:
        return None
    name, answer, pool = rng.choice(known)
    options = rng.sample([value for value in pool if value.lower() not in product.title.lower()], NUM_CHOICES - 1)
    position = topic.turn % NUM_CHOICES
    options.insert(position, answer)
    question = topic.choose(_CHOICE_FRAMES).format(name=name, text=product.title)
    prompt = f"{question}\n{_number(options, 0)}\nAnswer:"
    return _question(prompt, position, "multiple-choice", "accuracy")


_RETRIEVAL_FRAMES: Wordings = {
    "train": (
        "Which three of these products would you show for '{query}'?",
        "Select the 3 products from the list that fit the query '{query}'.",
    ),
    "dev": ("A customer searches for '{query}'. Choose the three products that match.",),
}


def _retrieval(topic: Topic) -> Question:
    rng, product = topic.rng, topic.product
    siblings = iterate_siblings(topic.seed, product)
    options = [product, next(siblings), next(siblings)]
    options += _draw_strangers(topic, NUM_LISTED - len(options))
    matching = {option.number for option in options[:3]}
    rng.shuffle(options)
    gold = [number for number, option in enumerate(options) if option.number in matching]
    question = topic.choose(_RETRIEVAL_FRAMES).format(query=product.kind.name)
    prompt = f"{question}\n{_number([option.listing for option in options], 0)}\nOutput:"
    return _question(prompt, gold, "retrieval", "hit rate@3")


_RANKING_FRAMES: Wordings = {
    "train": (
        "Rank these products by how well they fit the query '{query}', the best first.",
        "Sort the list for a customer who typed '{query}'.",
    ),
    "dev": ("The query is '{query}'. Order the five products from most to least relevant.",),
}


def _ranking(topic: Topic) -> Question | None:
    """Ask for the right kind and color before the right kind before anything else."""
    rng, product = topic.rng, topic.product
    if not product.colors:
        return None
    color = product.colors[0]
    siblings = (sibling for sibling in iterate_siblings(topic.seed, product) if color not in sibling.colors)
    weighted = [(next(siblings), 2), (next(siblings), 2)]
    weighted += [(stranger, 0) for stranger in _draw_strangers(topic, NUM_RANKED - 1 - len(weighted))]
    rng.shuffle(weighted)
    weighted.insert(topic.turn % NUM_RANKED, (product, 3))
    question = topic.choose(_RANKING_FRAMES).format(query=f"{color} {product.kind.name}")
    prompt = f"{question}\n{_number([option.listing for option, _ in weighted], 1)}\nOutput:"
    return _question(prompt, [weight for _, weight in weighted], "ranking", "ndcg")


_TITLE_FRAMES: Wordings = {
    "train": (
        "Write a product title from these attributes.\n{facts}\nTitle:",
        "Create a title for a listing with the following attributes.\n{facts}\nTitle:",
    ),
    "dev": ("Turn the attributes into one product title.\n{facts}\nTitle:",),
}


def _title(topic: Topic) -> Question:
    rng, product = topic.rng, topic.product
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
    prompt = topic.choose(_TITLE_FRAMES).format(facts="\n".join(lines))
    return _question(prompt, title[0].upper() + title[1:], "generation", "rougel")


NUM_CHOICES, NUM_RANKED, NUM_LISTED = 4, 5, 7
"""Options of a choice, a ranking and a retrieval question."""

_BUILDERS: dict[str, tuple[Mapping[str, float], Builder]] = {
    "attribute_extraction": ({"train": 1.2, "dev": 1.0}, _entities),
    "attribute_choice": ({"train": 3.4, "dev": 1.0}, _choice),
    "query_retrieval": ({"train": 0.6, "dev": 1.0}, _retrieval),
    "query_product_ranking": ({"train": 1.0, "dev": 1.1}, _ranking),
    "title_generation": ({"train": 0.25, "dev": 1.0}, _title),
}
"""Group -> questions per product of a split, and their builder. What a small model learns late is asked more often."""


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


def iterate_siblings(seed: int, product: Product) -> Iterator[Product]:
    """Yield other products of the same kind and split, without end."""
    number = product.number
    while True:
        number += HELD_OUT_EVERY * len(KINDS)
        yield make_product(seed, number)


def _draw_strangers(topic: Topic, count: int) -> list[Product]:
    """Return products of the same split, of other categories and without any of the product's colors, all different."""
    product, drawn = topic.product, dict[str, Product]()
    while len(drawn) < count:
        place = topic.rng.randrange(10 * len(KINDS)) * HELD_OUT_EVERY
        other = make_product(topic.seed, place + product.number % HELD_OUT_EVERY)
        if other.kind.category != product.kind.category and not set(other.colors) & set(product.colors):
            drawn[other.listing] = other
    return list(drawn.values())
