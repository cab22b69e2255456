"""Reviews whose stars follow from what they say, and summaries that follow from the reviews."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.sample_shop.aspects import BY_CATEGORY, SHARED, Aspect
from eshop_ray.sample_shop.products import Product, is_plural, join_words, make_rng
from eshop_ray.sample_shop.splits import Wordings
from eshop_ray.sample_shop.typos import misspell_text

NUM_REVIEWS = 8
"""Reviews behind a summary."""

_TYPO_RATE = 0.01
_AGREEMENT = 0.88
"""Chance that a reviewer shares the general opinion of a product."""


@dataclass(frozen=True, slots=True)
class Review:
    """One review; `opinions` holds (aspect, whether it is praised) in the order of the text."""

    title: str
    text: str
    rating: int
    opinions: tuple[tuple[Aspect, bool], ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """What reviewers have to know about a product, of this shop or of any other."""

    product_id: str
    key: str
    """What the reviews are drawn from, together with the seed."""
    noun: str
    """What the product is, e.g. `frying pan`."""
    category: str
    """One that has aspects of its own, or any other."""
    uses: tuple[str, ...]
    split: str
    """Whose wordings its reviewers use: `train`, or `dev` for a product that training never sees."""


_OPENINGS: Wordings = {
    "train": (
        "Bought this for {use}.",
        "I have had this {kind} for {time} now.",
        "Ordered the {kind} {time} ago.",
        "My {person} got me this.",
        "Got it as a gift for my {person}.",
        *("",) * 3,
    ),
    "dev": ("This is my second {kind} by the same maker.", "After {time}, here is what I think.", ""),
}
_PLURAL_OPENINGS: Wordings = {
    "train": ("Bought these for {use}.", "I have had these {kind} for {time} now.", "A gift for my {person}.", ""),
    "dev": ("After {time}, here is what I think.", "Our second pair of these.", ""),
}
_TIMES = ("a month", "two weeks", "half a year", "almost a year", "a few days")
_PEOPLE = ("sister", "husband", "wife", "father", "neighbor", "daughter", "roommate", "boss")
_JOINS = (("It {0}. It also {1}.", "It {0} and {1}."), ("It {0}, but it {1}.", "It {0}. Sadly, it {1}."))
_CLOSINGS: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "train": {
        1: ("Sent it back.", "Do not buy.", "Total waste of money.", "I want a refund.", "The worst I ever had."),
        2: ("I would not buy it again.", "Expected more.", "Rather disappointed.", "Not what I hoped for."),
        3: (
            "It is okay.",
            "Neither great nor terrible.",
            "Does the job, no more.",
            "Mixed feelings.",
            "Half and half.",
        ),
        4: ("All in all happy with it.", "Would still recommend it.", "A solid choice.", "Quite good, nearly perfect."),
        5: ("Love it!", "Could not be happier.", "I will buy it again.", "Highly recommended!", "Simply the best."),
    },
    "dev": {
        1: ("Stay away from it.", "I threw it away.", "Terrible."),
        2: ("A disappointment.", "I had hoped for more."),
        3: ("Just average.", "It has good and bad sides."),
        4: ("Pretty good overall.", "A good buy, nearly everything is right."),
        5: ("Absolutely perfect!", "Five stars from me."),
    },
}
_TITLES: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "train": {
        1: ("Stay clear", "Awful", "Waste of money", "Broken promises", "Never again"),
        2: ("Disappointed", "Not for me", "Expected better", "Below average"),
        3: ("It's okay", "Mixed", "Has its ups and downs", "So so"),
        4: ("Quite good", "Happy with it", "Good buy", "Small flaws only"),
        5: ("Flawless", "Love it", "Best purchase this year", "Excellent", "Wow"),
    },
    "dev": {
        1: ("Terrible", "Do not bother"),
        2: ("A letdown", "Meh"),
        3: ("Average", "Good and bad"),
        4: ("Pretty good", "Nearly perfect"),
        5: ("Perfect", "Amazing"),
    },
}
_MOODS = ((5, 5, 4, 4, 3), (5, 4, 3, 2, 1), (3, 2, 2, 1, 1))
"""Stars that the buyers of a product give: of one that most love, one that divides them, one that most dislike.
Taken together every number of stars is as frequent, so that no single answer is a good guess."""
_OPINIONS = {1: ((0, 1), (0, 2)), 2: ((1, 2),), 3: ((1, 1),), 4: ((2, 1),), 5: ((1, 0), (2, 0))}
"""Stars -> how many aspects are praised, and how many complained about."""


def describe(product: Product) -> Subject:
    """Return what reviewers know about a product of the sample shop."""
    kind = product.kind
    return Subject(product.id, str(product.number), kind.name, kind.category, kind.uses, product.split)


def make_reviews(seed: int, subject: Subject, count: int) -> list[Review]:
    """Make the first `count` reviews of a product; all of its reviewers lean towards the same opinions."""
    rng = make_rng(seed, "reviews", subject.key)
    mood = rng.choice(_MOODS)
    aspects = [*rng.sample(SHARED, 4), *BY_CATEGORY.get(subject.category, ())]
    rng.shuffle(aspects)
    return [_make_review(rng, subject, aspects, rng.choice(mood)) for _ in range(count)]


def _make_review(rng: random.Random, subject: Subject, aspects: Sequence[Aspect], rating: int) -> Review:
    opinions = _form_opinions(rng, aspects, rating)
    openings = (_PLURAL_OPENINGS if is_plural(subject.noun) else _OPENINGS)[subject.split]
    opening = rng.choice(openings).format(
        use=rng.choice(subject.uses),
        kind=subject.noun,
        time=rng.choice(_TIMES),
        person=rng.choice(_PEOPLE),
    )
    closing = rng.choice(_CLOSINGS[subject.split][rating]) if rng.random() < 0.7 else ""
    sentences = [opening, *_word_opinions(rng, opinions, subject.split), closing]
    text = misspell_text(" ".join(sentence for sentence in sentences if sentence), rng, _TYPO_RATE)
    return Review(rng.choice(_TITLES[subject.split][rating]), text, rating, tuple(opinions))


def _form_opinions(rng: random.Random, aspects: Sequence[Aspect], rating: int) -> list[tuple[Aspect, bool]]:
    """Draw what a review of so many stars says, praise first.

    The product's first two aspects are its strengths, the last two its weaknesses; most reviewers notice.
    """
    num_praised, num_criticized = rng.choice(_OPINIONS[rating])
    order = list(aspects)
    if rng.random() >= _AGREEMENT:
        rng.shuffle(order)
    praised = [(aspect, True) for aspect in rng.sample(order[:2], num_praised)]
    return praised + [(aspect, False) for aspect in rng.sample(order[-2:], num_criticized)]


def _word_opinions(rng: random.Random, opinions: Sequence[tuple[Aspect, bool]], split: str) -> list[str]:
    phrases = [rng.choice(aspect.word(good, split)) for aspect, good in opinions]
    if len(phrases) == 1:
        return [f"It {phrases[0]}."]
    turns = opinions[0][1] != opinions[1][1]
    sentences = [rng.choice(_JOINS[turns]).format(phrases[0], phrases[1])]
    turns = opinions[-1][1] != opinions[-2][1]
    return [*sentences, *(f"{'Sadly, it' if turns else 'It'} {phrase}." for phrase in phrases[2:])]


_SUMMARIES = (
    ("Buyers say that it {good}.", "Some complain that it {bad}.", 3),
    ("According to most reviewers it {good}.", "On the downside, it {bad}.", 2),
    ("Customers like that it {good}.", "They criticize that it {bad}.", 1),
)
"""Three summaries of the same opinions, each in its own words, with at most so many opinions of a kind."""


def summarize(reviews: Sequence[Review]) -> list[str]:
    """Return three summaries of what several reviewers agree on, the most frequent opinion first."""
    counted = Counter(opinion for review in reviews for opinion in review.opinions)
    agreed = [opinion for opinion, _ in counted.most_common()]
    good = [aspect.good for aspect, praised in agreed if praised and counted[aspect, True] > counted[aspect, False]]
    bad = [aspect.bad for aspect, praised in agreed if not praised and counted[aspect, False] >= counted[aspect, True]]
    summaries = []
    for praise, complaint, limit in _SUMMARIES:
        sentences = [praise.format(good=join_words(good[:limit]))] if good else []
        sentences += [complaint.format(bad=join_words(bad[:limit]))] if bad else []
        summaries.append(" ".join(sentences))
    return summaries


def to_rating_row(seed: int, subject: Subject, position: int, review: Review) -> dict[str, Any]:
    """Return the review as a row of Amazon Reviews 2023; a few have no title."""
    rng = make_rng(seed, "reviewer", subject.key, position)
    return {
        "rating": float(review.rating),
        "title": review.title if rng.random() < 0.85 else "",
        "text": review.text,
        "asin": subject.product_id,
        "parent_asin": subject.product_id,
        "user_id": f"U{rng.randrange(10**9):09d}",
        "timestamp": 1_672_531_200_000 + rng.randrange(63_072_000) * 1000,
        "helpful_vote": max(0, int(rng.gauss(0, 3))),
        "verified_purchase": rng.random() < 0.9,
    }
