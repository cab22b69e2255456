"""What has no sub-task of its own: translations of titles, and instruction rows of other kinds that are passed on."""

from collections.abc import Iterator
from random import Random

from eshop_ray.data.instructions.material import Translation
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Question, Subtask, Text


def build_translation(one: Translation, pool: Pool, draw: Random) -> Iterator[Question]:  # noqa: ARG001
    """Ask for a title in another language."""
    metric = "jp-bleu" if one.target_language == "Japanese" else None  # `bleu` takes an unspaced text for one word
    yield Question({"text": one.text, "language": one.target_language}, Text(one.translated), metric=metric)


SUBTASKS = (
    Subtask(
        "others",
        (Translation,),
        build_translation,
        {
            "en": (
                "Translate the product title into {language}.\nTitle: {text}\nTranslation:",
                'A shop sells "{text}". Give the title for its {language} site.',
                "Product title: {text}\nThe same in {language}:",
                "Write this title in {language}: {text}",
                "How would the {language} page of the shop call {text}?",
                "{text}\nRender that title in {language}.",
            )
        },
        (
            Translation(id="1", text="Stahlflasche", translated="Steel Bottle", target_language="English"),
            Translation(id="2", text="Wool Scarf", translated="Wollschal", target_language="German"),
        ),
        metric="bleu",
    ),
)
