"""Sessions: what a customer looks at or buys next."""

from collections.abc import Iterator, Sequence
from random import Random

from eshop_ray.data.instructions.material import Session, fold, text_key
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Selection, Subtask, Text

NUM_SHOWN = 6
"""Items of a session that a question shows: the last ones."""
_FEWEST = 3
_NAMES = ("Tent", "Sleeping Bag", "Gas Stove", "Lantern", "Kettle", "Tea Pot", "Mug", "Spoon", "Guitar", "Strings")
_EXAMPLES = tuple(
    Session(id=str(number), titles=tuple(f"{_NAMES[(number + step) % 10]} Mark {number + step}" for step in range(4)))
    for number in range(12)
)


def build_next(session: Session, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for the next item in words."""
    if len(session.titles) >= _FEWEST:
        yield Question({"items": _show(session.titles[:-1])}, Text(session.titles[-1]))


def build_next_choice(session: Session, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of four items comes next."""
    wrong = _draw_others(session, pool, 3, draw)
    if len(session.titles) >= _FEWEST:
        yield Question({"items": _show(session.titles[:-1])}, Choice(session.titles[-1], wrong), keys=_keys(wrong))


def build_rest(session: Session, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which items, up to three, follow in the session."""
    num_right = min(3, len(session.titles) // 2)
    if len(session.titles) >= _FEWEST:
        right = list(dict.fromkeys(session.titles[-num_right:]))
        wrong = _draw_others(session, pool, 10 - len(right), draw)
        yield Question({"items": _show(session.titles[:-num_right])}, Selection(right, wrong), keys=_keys(wrong))


def build_last(session: Session, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask which of ten items comes next."""
    wrong = _draw_others(session, pool, 9, draw)
    if len(session.titles) >= _FEWEST:
        yield Question({"items": _show(session.titles[:-1])}, Selection(session.titles[-1:], wrong), keys=_keys(wrong))


def build_session(session: Session, pool: Pool, draw: Random) -> Iterator[Question]:
    """Ask with which of four sessions an item belongs together."""
    others = pool.draw_near(
        session, _last, 3, draw, lambda one: len(one.titles) >= _FEWEST and _are_apart(one, session)
    )
    if len(session.titles) >= _FEWEST:
        wrong = [_show(one.titles[:-1]) for one in others]
        keys = _keys([title for one in others for title in one.titles])
        yield Question({"item": session.titles[-1]}, Choice(_show(session.titles[:-1]), wrong), keys=keys)


def _show(titles: Sequence[str]) -> str:
    return "; ".join(titles[-NUM_SHOWN:])


def _last(session: Session) -> str:
    return session.titles[-1]


def _are_apart(one: Session, other: Session) -> bool:
    return set(map(fold, one.titles)).isdisjoint(map(fold, other.titles))


def _draw_others(session: Session, pool: Pool, number: int, draw: Random) -> list[str]:
    near = pool.draw_near(session, _last, number, draw, lambda one: _are_apart(one, session))
    return [one.titles[-1] for one in near]


def _keys(titles: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(text_key, titles))


SUBTASKS = (
    Subtask(
        "next_item_generation",
        (Session,),
        build_next,
        {
            "en": (
                "A customer looked at these items in this order: {items}\nWhich item comes next?",
                "Session: {items}\nName the next item.",
                "After {items}, what will the shopper look at?",
                "Continue the list of viewed products with one more: {items}",
                "Viewed so far: {items}\nPredict the next title.",
                "Someone browses {items}. What do they open then?",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "next_item_selection",
        (Session,),
        build_next_choice,
        {
            "en": (
                "A customer looked at these items in this order: {items}\nWhich comes next?\n{options}\nAnswer:",
                "Session: {items}\nChoose the next item.\n{options}",
                "After {items}, what will the shopper open?\n{options}",
                "Viewed so far: {items}\nNext:\n{options}",
                "Pick the item that continues this session: {items}\n{options}",
                "Someone browses {items}. Which of these then?\n{options}",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "session_selection",
        (Session,),
        build_session,
        {
            "en": (
                "In which session was this item viewed last?\nItem: {item}\n{options}\nAnswer:",
                "Item: {item}\nWhich list of viewed items does it continue?\n{options}",
                "A shopper ended on {item}. What had they looked at before?\n{options}",
                "Match {item} with the session that it belongs to.\n{options}",
                "Which history leads to {item}?\n{options}",
                "{item} was the last click. Choose the clicks before it.\n{options}",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "session_retrieval",
        (Session,),
        build_rest,
        {
            "en": (
                "A customer looked at: {items}\nWhich items, three at most, follow?\n{options}\nAnswer:",
                "Session so far: {items}\nGive the numbers of up to three items that come later in it.\n{options}",
                "After {items}, which of these (at most three) does the shopper open?\n{options}",
                "Up to three of these belong to the rest of the session {items}.\n{options}",
                "Find the later items, no more than three, of somebody who viewed {items}.\n{options}",
                "Clicks: {items}\nWhich of these are the later clicks? Three at most.\n{options}",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "sequential_recommendation",
        (Session,),
        build_last,
        {
            "en": (
                "A customer bought or viewed, in this order: {items}\nRecommend one of these.\n{options}\nAnswer:",
                "History: {items}\nGive the number of the item to recommend now.\n{options}",
                "Somebody's history is {items}. Which of the ten comes next?\n{options}",
                "Based on {items}, what should the shop show?\n{options}",
                "History of a shopper: {items}\nNext purchase:\n{options}",
                "Given {items}, choose the one product to put on the start page.\n{options}",
            )
        },
        _EXAMPLES,
    ),
)
