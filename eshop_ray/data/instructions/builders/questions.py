"""Customers' questions about products: answered, answerable, and what attributes say in a sentence."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Fact, ProductQuestion
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Subtask, Text

_ANSWERS = ("Yes, it does", "No, it does not")
_EXAMPLES = (
    ProductQuestion(
        id="1",
        question="Is it dishwasher safe?",
        product="Nordvik Bottle",
        evidence="All parts may go into the dishwasher, the lid on the top rack.",
        answer="Yes, with the lid on the top rack.",
        is_answerable=True,
    ),
    ProductQuestion(
        id="2",
        question="How heavy is it?",
        product="Nordvik Bottle",
        evidence="It comes in four colours.",
        is_answerable=False,
    ),
)


def build_answer(one: ProductQuestion, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask a question whose evidence is there."""
    if one.evidence and one.answer and one.is_answerable is not False:
        yield Question({"question": one.question, "evidence": one.evidence}, Text(one.answer, is_quotable=True))


def build_answerable(one: ProductQuestion, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask whether evidence answers a question."""
    if one.evidence and one.is_answerable is not None:
        right, wrong = _ANSWERS if one.is_answerable else _ANSWERS[::-1]
        yield Question({"question": one.question, "evidence": one.evidence}, Choice(right, [wrong]))


def build_open(one: ProductQuestion, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask a question about a product of which only the title is known."""
    if one.product and one.answer:
        yield Question({"question": one.question, "title": one.product}, Text(one.answer, is_quotable=True))


def build_sentence(fact: Fact, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for a sentence that says what an attribute says."""
    yield Question({"attribute": fact.attribute}, Text(fact.sentence))


SUBTASKS = (
    Subtask(
        "answer_generation",
        (ProductQuestion,),
        build_answer,
        {
            "en": (
                "Answer the question from the evidence.\nEvidence: {evidence}\nQuestion: {question}\nAnswer:",
                "A shopper asks: {question}\nThe product page says: {evidence}\nReply to the shopper.",
                "Known about the product: {evidence}\nQuestion: {question}\nWrite a short answer.",
                "Question: {question}\nUse only this to answer it: {evidence}",
                "Here is what other customers or the maker say: {evidence}\nNow answer: {question}",
                "You are a shop assistant. You know this: {evidence}\nA customer wants to know: {question}",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "answerability_prediction",
        (ProductQuestion,),
        build_answerable,
        {
            "en": (
                "Does the text answer the question?\nQuestion: {question}\nText: {evidence}\n{options}\nAnswer:",
                "A shopper asks: {question}\nThe page says: {evidence}\nIs the question answered?\n{options}",
                "Question: {question}\nEvidence: {evidence}\nCan the question be answered from that?\n{options}",
                'Is this enough to answer "{question}"?\n{evidence}\n{options}',
                "Decide whether the evidence settles the question.\n{question}\n{evidence}\n{options}",
                "Somebody wants to know: {question}\nWould they be content with this? {evidence}\n{options}",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "product_qa",
        (ProductQuestion,),
        build_open,
        {
            "en": (
                "Answer the customer's question about the product.\nProduct: {title}\nQuestion: {question}\nAnswer:",
                'A shopper asks about "{title}": {question}',
                "Product: {title}\nQ: {question}\nA:",
                "You sell {title}. A customer wants to know: {question}\nReply.",
                "Question about {title}: {question}\nWrite a short, helpful answer.",
                "On the page of {title} somebody has asked: {question}\nWhat do you answer?",
            )
        },
        _EXAMPLES,
    ),
    Subtask(
        "attribute_verbalization",
        (Fact,),
        build_sentence,
        {
            "en": (
                "Say in a sentence what the attribute says.\nAttribute: {attribute}",
                'A data sheet reads "{attribute}". Tell it to a customer in one sentence.',
                "{attribute}\nPut that into a sentence.",
                "Attribute and value: {attribute}\nSentence:",
                "Write one sentence for the product page from this field: {attribute}",
                "How would a shop assistant word this entry? {attribute}",
            )
        },
        (
            Fact(id="1", attribute="brand: Nordvik", sentence="The brand is Nordvik."),
            Fact(id="2", attribute="age range: adult", sentence="It is made for adults."),
        ),
    ),
)
