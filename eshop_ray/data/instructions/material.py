"""Material: what a source knows, typed, before any question is asked about it.

Builders take material and know nothing of files; sources yield material and know nothing of questions.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from eshop_ray.schema import content_id, decode, encode


def fold(text: str) -> str:
    """Return a text as it is compared: one form of each character, without case and superfluous blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> str:
    """Return what a product, by its title, and a query are told apart by where sources share no ids; a query that is a
    product's title is that product.
    """
    return f"t:{content_id(fold(text))}"


def id_key(product_id: str) -> str:
    """Return what a product is told apart by where sources share their ids, as Amazon's do."""
    return f"p:{content_id(fold(product_id))}"


def question_key(question: str) -> str:
    """Return what a customer's question is told apart by."""
    return f"a:{content_id(fold(question))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One thing that a source knows."""

    IS_VOCABULARY: ClassVar[bool] = False
    """Whether it belongs to what all splits share, such as categories: a shop has them once."""

    id: str
    """Unique within its source."""
    language: str = "en"
    """Of its texts."""
    repaired: str = ""
    """What its source had to mend in it, if anything."""

    @property
    def department(self) -> str:
        """What it stands beside: material of one department gives each other's hard negatives."""
        return ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The products and queries that it speaks of, the one by which its split is drawn first."""
        return (f"m:{content_id(type(self).__name__, self.id)}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row that can be read, but is not wanted: it is counted, and is no fault of its file."""

    reason: str
    text: str
    """What the card shows of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Material):
    """A product of a catalogue."""

    title: str
    category: str = ""
    """Its path, `A > B > C`."""
    description: str = ""
    brand: str = ""
    bullets: tuple[str, ...] = ()
    attributes: Mapping[str, str] | None = None

    @property
    def department(self) -> str:
        """Its root category."""
        return self.category.partition(" > ")[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """Its title."""
        return (text_key(self.title),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement(Material):
    """How well a product answers a query."""

    query: str
    title: str = ""
    label: str
    """`Exact`, `Substitute`, `Complement` or `Irrelevant`."""
    product_id: str = ""
    """Of the `ProductTitle` that it needs, where it has no title of its own."""

    @property
    def department(self) -> str:
        """Its query."""
        return fold(self.query)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its query and its product."""
        return (text_key(self.query), text_key(self.title))

    def with_title(self, title: str) -> "Judgement":
        """Return it with the title of its product."""
        return replace(self, title=title)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductTitle(Material):
    """The title of a product that judgements or reviews name by its id."""

    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(Material):
    """A query with all products that were judged for it."""

    query: str
    results: tuple[tuple[str, str], ...]
    """(title, label)."""

    @property
    def department(self) -> str:
        """Its query."""
        return fold(self.query)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its query and its products."""
        return (text_key(self.query), *(text_key(title) for title, _ in self.results))

    def titles(self, label: str) -> list[str]:
        """Return the products of one label."""
        return [title for title, own in self.results if own == label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category(Material):
    """A category of a taxonomy, with its names in several languages."""

    IS_VOCABULARY: ClassVar[bool] = True

    path: Mapping[str, tuple[str, ...]]
    """Language -> the names from the root to this category."""
    attributes: Mapping[str, tuple[str, ...]]
    """Language -> names of the attributes that its products have."""
    is_leaf: bool = True
    google: tuple[str, ...] = ()
    """Paths of Google's categories that it stands for."""

    @property
    def department(self) -> str:
        """Its root."""
        return self.path["en"][0]

    def name(self, language: str = "en") -> str:
        """Return its own name."""
        return self.path[language][-1]

    def full_name(self, language: str = "en") -> str:
        """Return its path as it is written."""
        return " > ".join(self.path[language])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute(Material):
    """An attribute of products, with the values that it may have, in several languages."""

    IS_VOCABULARY: ClassVar[bool] = True

    names: Mapping[str, str]
    values: Mapping[str, tuple[str, ...]]
    """Language -> values, in one order for all languages."""
    description: str = ""

    @property
    def department(self) -> str:
        """All of them."""
        return "attributes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(Material):
    """What a buyer wrote."""

    text: str
    rating: int | None = None
    """Stars, 1 to 5, where they are known."""
    title: str = ""
    product: str = ""
    """Id or title of the product, empty where it is not known."""
    product_title: str = ""
    """Title of the product, where its metadata is in another file of the source."""

    @property
    def department(self) -> str:
        """Its stars."""
        return f"{self.rating} stars"

    @property
    def keys(self) -> tuple[str, ...]:
        """Its product, by its title as the catalogue has it if that is known, and by its id; else its text."""
        named = (text_key(self.product_title),) if self.product_title else ()
        known = (id_key(self.product),) if self.product else ()
        return (*named, *known) or (f"r:{content_id(fold(self.text))}",)

    def with_title(self, title: str) -> "Review":
        """Return it with the title of its product."""
        return replace(self, product_title=title)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSummary(Material):
    """Reviews of one product and what people wrote as their summary."""

    reviews: tuple[str, ...]
    summaries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedText(Material):
    """A query or a title with the spans of its entities or attribute values."""

    text: str
    spans: Mapping[str, tuple[str, ...]]
    """Entity type or attribute -> its spans, in the order of the text."""
    category: str = ""
    is_query: bool = False

    @property
    def department(self) -> str:
        """Its category."""
        return self.category

    @property
    def keys(self) -> tuple[str, ...]:
        """Its text."""
        return (text_key(self.text),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPair(Material):
    """Two offers, and whether they sell one product."""

    first: str
    second: str
    is_same: bool

    @property
    def keys(self) -> tuple[str, ...]:
        """Both offers."""
        return (text_key(self.first), text_key(self.second))


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation(Material):
    """Two products, and how buyers relate them."""

    first: str
    second: str
    relation: str
    """`also_bought`, `also_viewed` or `similar`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Both products."""
        return (text_key(self.first), text_key(self.second))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuestion(Material):
    """A customer's question about a product, with evidence, an answer, or both."""

    question: str
    product: str = ""
    """Title of the product, empty where it is not known."""
    product_id: str = ""
    """Its id, such as Amazon's ASIN, empty where it is not known."""
    evidence: str = ""
    is_answerable: bool | None = None
    """Whether the evidence answers the question; None where nobody said so."""
    answer: str = ""

    @property
    def department(self) -> str:
        """Its question: of one question there may be several pieces of evidence."""
        return fold(self.question)

    @property
    def keys(self) -> tuple[str, ...]:
        """Its product, by id and title as far as they are known, and the question: others may ask it too."""
        known = (id_key(self.product_id),) if self.product_id else ()
        named = (text_key(self.product),) if self.product else ()
        return (*known, *named, question_key(self.question))


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation(Material):
    """A text of a shop and its translation."""

    text: str
    translated: str
    target_language: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Both texts."""
        return (text_key(self.text), text_key(self.translated))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Material):
    """An attribute of a product, and the sentence that a person made of it."""

    attribute: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(Material):
    """What one customer looked at or bought, in its order."""

    titles: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Its products."""
        return tuple(text_key(title) for title in self.titles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction(Material):
    """A row that is an instruction already, passed on under the name of a sub-task."""

    task: str
    prompt: str
    target: Any
    group: str = ""
    metric: str | None = None
    about: tuple[str, ...] = ()
    """Products or queries that its text names, as far as the source's options cut them out."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What it names, else its text."""
        named = tuple(map(text_key, self.about))
        return named or (f"i:{content_id(fold(self.prompt))}",)


KINDS: Mapping[str, type[Material]] = {
    kind.__name__: kind
    for kind in (
        *(
            Product,
            Judgement,
            ProductTitle,
            Search,
            Category,
            Attribute,
            Review,
            ReviewSummary,
            TaggedText,
            OfferPair,
            Relation,
        ),
        *(ProductQuestion, Translation, Fact, Session, Instruction),
    )
}
"""Name of a kind -> the kind."""


def write_material(material: Material) -> str:
    """Return material as JSON text, for a column."""
    return encode(asdict(material))


def read_material(kind: str, text: str) -> Material:
    """Return what `write_material` wrote."""
    values = decode(text)
    return KINDS[kind](**{field.name: _freeze(values[field.name]) for field in fields(KINDS[kind])})


def _freeze(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_freeze(one) for one in value)
    if isinstance(value, dict):
        return {name: _freeze(one) for name, one in value.items()}
    return value
