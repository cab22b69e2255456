"""The words that say what a text is about, in singular or plural: what a right and a wrong answer must not share."""

import re
from functools import lru_cache

from eshop_ray.data.instructions.material import fold
from eshop_ray.words import split_words

_WORD = re.compile(r"[^\W_]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SINGLES = (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ss", "ss"), ("s", ""))
"""Endings of plurals, and what stands there in the singular."""
_FEWEST_LETTERS = 3
"""Of a word before its ending."""
_GRAMMAR = """
a an and are as at be but by can do does for from had has have how if in into is it its me my no not of off on or
our out over so than that the their them these they this those to up very was we were what when where which who
will with without would yes you your
als am an auf aus bei das dem den der des die ein eine einem einen einer eines für ich im ist ja mit nein nicht
ohne und vom von wie zu zum zur
au aux avec ce ces cette dans de des du elle en est et il je la le les non ou oui par pas plus pour que qui sans
sur un une
al che con da dal de del della di e el en es gli i il in la las le lo los ma nel no non o para per por que se si
sin su sí un una uno y
から した して する です など まで ます より
"""
_STOP = frozenset(_GRAMMAR.split())
"""Words that stand in texts about anything, of six languages."""


@lru_cache(maxsize=1 << 15)
def find_content(text: str) -> frozenset[str]:
    """Return the words of a text that are no mere grammar, each in its singular as far as its ending tells."""
    words = (word for part in split_words(fold(text)) for word in _WORD.findall(part))
    return frozenset(_to_single(word) for word in words if word not in _STOP and (len(word) > 1 or _HAN.match(word)))


def _to_single(word: str) -> str:
    for ending, single in _SINGLES:
        if word.endswith(ending) and len(word) - len(ending) >= _FEWEST_LETTERS:
            return word[: len(word) - len(ending)] + single
    return word
