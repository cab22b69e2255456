"""Reviews: how content a buyer is, what the review is called, what several say together."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from eshop_ray.data.instructions.material import Review, ReviewSummary
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Grade, Question, Subtask, Text
from eshop_ray.data.instructions.text_keys import PART

MOODS = ("very negative", "negative", "neutral", "positive", "very positive")
"""What one star to five stars mean."""
MAX_CHARACTERS = 1_500
"""Of one review."""
MAX_TOTAL_CHARACTERS = 3_000
"""Of several that are summed up together."""
_FEWEST_WORDS = 3
_SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f](?=\s|$)|[\u3002\uff01\uff1f]")
_REVIEWS = (
    Review(id="1", text="Keeps tea hot all day, I am delighted with it.", rating=5, title="Great bottle"),
    Review(id="2", text="The lid leaks and nobody answers my mails.", rating=1, title="Leaks"),
    Review(id="3", text="It does what it should, nothing more than that.", rating=3, title="Fine"),
)
_SUMMARIES = (
    ReviewSummary(
        id="1",
        reviews=("Keeps tea hot all day.", "Great, but the lid leaks a little."),
        summaries=("Keeps drinks hot; the lid may leak.", "Hot drinks stay hot, but mind the lid."),
    ),
)


def show(review: Review) -> str:
    """Return a review's text, and of which product it is where that is known."""
    text = cut(review.text, MAX_CHARACTERS)
    return f"(about {review.product_title}) {text}" if review.product_title else text


def build_mood(review: Review, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the mood of a review."""
    if review.rating and len(review.text.split()) >= _FEWEST_WORDS:
        right = MOODS[review.rating - 1]
        yield Question({"review": show(review)}, Choice(right, [one for one in MOODS if one != right]))


def build_stars(review: Review, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the stars of a review."""
    if review.rating and len(review.text.split()) >= _FEWEST_WORDS:
        yield Question({"review": show(review)}, Grade(review.rating))


def build_title(review: Review, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for a title of a review."""
    if review.title and len(review.text.split()) > len(review.title.split()):
        yield Question({"review": show(review)}, Text(review.title))


def build_summary(one: ReviewSummary, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask what several reviews say together."""
    limit = _share_out(list(map(len, one.reviews)), MAX_TOTAL_CHARACTERS - len(PART) * len(one.reviews))
    shown = PART.join(cut(text, limit) for text in one.reviews)
    yield Question({"reviews": shown}, Text(one.summaries[0], one.summaries[1:]))


def cut(text: str, limit: int) -> str:
    """Return a text, one that is too long up to its last whole sentence, or to a blank where that would halve it."""
    if len(text) <= limit:
        return text
    head = text[:limit]
    ends = [match.end() for match in _SENTENCE_END.finditer(head) if match.end() >= limit // 2]
    return head[: ends[-1]] if ends else f"{head[: limit - 3].rpartition(' ')[0] or head[: limit - 3]}..."


def _share_out(lengths: Sequence[int], total: int) -> int:
    """Return how long each text may be so that all have room: what short ones leave goes to the others."""
    left = total
    for place, length in enumerate(sorted(lengths)):
        limit = left // (len(lengths) - place)
        if length > limit:
            return limit
        left -= length
    return total


SUBTASKS = (
    Subtask(
        "sentiment_analysis",
        (Review,),
        build_mood,
        {
            "en": (
                "How does the reviewer feel about the product?\nReview: {review}\n{options}\nAnswer:",
                "Review: {review}\nChoose its mood.\n{options}",
                "Read what a buyer wrote: {review}\nWhich of these describes it?\n{options}",
                "Is this review negative or positive, and how much?\n{review}\n{options}",
                "Classify the opinion.\n{review}\n{options}",
                "A customer says: {review}\nHow happy are they?\n{options}",
            )
        },
        _REVIEWS,
    ),
    Subtask(
        "review_rating",
        (Review,),
        build_stars,
        {
            "en": (
                "How many stars, from 1 to 5, does the reviewer give?\nReview: {review}\nStars:",
                "Review: {review}\nRate it on a scale from 1 (very bad) to 5 (very good).",
                "Guess the star rating (1 to 5) of this review: {review}",
                "On a scale of 1 to 5, how content is the buyer who wrote this?\n{review}",
                "{review}\nStars out of 5:",
                "Somebody left this review; with 1 to 5 stars, how many were they?\n{review}",
            )
        },
        _REVIEWS,
    ),
    Subtask(
        "review_title_generation",
        (Review,),
        build_title,
        {
            "en": (
                "Give this review a short title.\nReview: {review}\nTitle:",
                "Sum the review up in a few words: {review}",
                "What headline would the buyer put over this?\n{review}",
                "Review: {review}\nHeadline:",
                "Write the title line of the following review.\n{review}",
                "Boil this review down to its title: {review}",
            )
        },
        _REVIEWS,
    ),
    Subtask(
        "review_summary_generation",
        (ReviewSummary,),
        build_summary,
        {
            "en": (
                "Summarize what the reviews say about the product.\nReviews: {reviews}\nSummary:",
                "Several buyers wrote: {reviews}\nWhat do they agree on?",
                "Write a short text for shoppers that sums up these reviews.\n{reviews}",
                "Reviews: {reviews}\nIn a few sentences, what is good and what is bad?",
                "Read these opinions and condense them.\n{reviews}",
                "A shopper has no time for all of this: {reviews}\nTell them the gist.",
            )
        },
        _SUMMARIES,
        metric="rougel",
    ),
)
