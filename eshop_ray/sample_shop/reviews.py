"""Reviews whose stars follow from what they say, and summaries that follow from the reviews."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.sample_shop.aspects import BY_CATEGORY, SHARED, Aspect
from eshop_ray.sample_shop.products import Product, is_plural, join_words, make_rng
from eshop_ray.sample_shop.typos import misspell_text

NUM_REVIEWS = 8
"""Reviews behind a summary."""

_TYPO_RATE = 0.01
_AGREEMENT = 0.88
"""Chance that a reviewer shares the general opinion of an aspect."""


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


_OPENINGS = (
    "Bought this for {use}.",
    "I have had this {kind} for {time} now.",
    "Ordered the {kind} {time} ago.",
    "My {person} got me this.",
    "Got it as a gift for my {person}.",
    "This is my second {kind} by the same maker.",
    "",
    "",
    "",
)
_PLURAL_OPENINGS = ("Bought these for {use}.", "I have had these {kind} for {time} now.", "A gift for my {person}.", "")
_TIMES = ("a month", "two weeks", "half a year", "almost a year", "a few days")
_PEOPLE = ("sister", "husband", "wife", "father", "neighbor", "daughter", "roommate", "boss")
_JOINS = (("It {0}. It also {1}.", "It {0} and {1}."), ("It {0}, but it {1}.", "It {0}. Sadly, it {1}."))
_CLOSINGS = {
    1: ("Sent it back.", "Do not buy.", "Total waste of money.", "I want a refund."),
    2: ("I would not buy it again.", "Expected more.", "Rather disappointed."),
    3: ("It is okay.", "Neither great nor terrible.", "Does the job, no more.", "Mixed feelings."),
    4: ("All in all happy with it.", "Would still recommend it.", "A solid choice.", "Good overall."),
    5: ("Love it!", "Could not be happier.", "I will buy it again.", "Highly recommended!", "Five stars from me."),
}
_TITLES = {
    1: ("Stay away", "Terrible", "Waste of money", "Broken promises"),
    2: ("Disappointed", "Not for me", "Expected better", "Meh"),
    3: ("It's okay", "Average", "Good and bad", "So so"),
    4: ("Pretty good", "Happy with it", "Good buy", "Nearly perfect"),
    5: ("Perfect", "Love it", "Best purchase this year", "Excellent", "Wow"),
}


def describe(product: Product) -> Subject:
    """Return what reviewers know about a product of the sample shop."""
    return Subject(product.id, str(product.number), product.kind.name, product.kind.category, product.kind.uses)


def make_reviews(seed: int, subject: Subject, count: int) -> list[Review]:
    """Make the first `count` reviews of a product; all of its reviewers lean towards the same opinions."""
    rng = make_rng(seed, "reviews", subject.key)
    appeal = rng.choice((0.15, 0.5, 0.8, 0.9))
    shared = rng.sample(SHARED, 3)
    aspects = [*shared, *BY_CATEGORY.get(subject.category, ())]
    verdicts = [(aspect, rng.random() < appeal) for aspect in aspects]
    return [_make_review(rng, subject, verdicts) for _ in range(count)]


def _make_review(rng: random.Random, subject: Subject, verdicts: Sequence[tuple[Aspect, bool]]) -> Review:
    chosen = rng.sample(verdicts, rng.choice((1, 2, 2, 3)))
    opinions = [(aspect, good if rng.random() < _AGREEMENT else not good) for aspect, good in chosen]
    opinions.sort(key=lambda opinion: not opinion[1])
    praised = sum(good for _, good in opinions)
    rating = _rate(praised, len(opinions) - praised)
    openings = _PLURAL_OPENINGS if is_plural(subject.noun) else _OPENINGS
    opening = rng.choice(openings).format(
        use=rng.choice(subject.uses),
        kind=subject.noun,
        time=rng.choice(_TIMES),
        person=rng.choice(_PEOPLE),
    )
    closing = rng.choice(_CLOSINGS[rating]) if rng.random() < 0.7 else ""
    sentences = [opening, *_word_opinions(rng, opinions), closing]
    text = misspell_text(" ".join(sentence for sentence in sentences if sentence), rng, _TYPO_RATE)
    return Review(rng.choice(_TITLES[rating]), text, rating, tuple(opinions))


def _rate(num_praised: int, num_criticized: int) -> int:
    if num_criticized == 0:
        return 5
    if num_praised == 0:
        return 1
    return 3 + (num_praised > num_criticized) - (num_praised < num_criticized)


def _word_opinions(rng: random.Random, opinions: Sequence[tuple[Aspect, bool]]) -> list[str]:
    phrases = [rng.choice(aspect.praise if good else aspect.complaints) for aspect, good in opinions]
    if len(phrases) == 1:
        return [f"It {phrases[0]}."]
    turns = opinions[0][1] != opinions[1][1]
    sentences = [rng.choice(_JOINS[turns]).format(phrases[0], phrases[1])]
    return [*sentences, *(f"It {phrase}." for phrase in phrases[2:])]


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
