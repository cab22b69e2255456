"""The words of a text, also in languages that put no blanks between them: Japanese, Chinese and Thai."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

_HAN = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = r"\u3041-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_THAI = r"\u0e01-\u0e3a\u0e40-\u0e4e"
_UNSPACED = re.compile(f"[{_HAN}{_KANA}{_THAI}]")
_KANA_LETTER = re.compile(f"[{_KANA}]")
_RUN = re.compile(f"(?P<thai>[{_THAI}]+)|(?P<eastern>[{_HAN}{_KANA}]+)|[^{_HAN}{_KANA}{_THAI}]+")
_BLANK = re.compile(f"(?<=[{_HAN}{_KANA}{_THAI}]) (?=[{_HAN}{_KANA}{_THAI}])")


def split_words(text: str) -> list[str]:
    """Return the words of a text: what stands between blanks, and of what is written without any, the words in it.

    Japanese is split by MeCab, Chinese by jieba, Thai by PyThaiNLP. A text with kana is Japanese, in others Chinese
    characters are Chinese.
    """
    words = text.split()
    if not _UNSPACED.search(text):
        return words
    is_japanese = _KANA_LETTER.search(text) is not None
    return [part for word in words for part in _split_unspaced(word, is_japanese)]


def join_words(text: str) -> str:
    """Return words that `split_words` took apart, separated by blanks, as they were written."""
    return _BLANK.sub("", text)


def fold_words(text: str) -> list[str]:
    """Return the words of a text without case, signs and forms of characters, as texts are compared; of scripts that
    write no blanks, the characters.
    """
    return _COMPARED.findall(unicodedata.normalize("NFKC", text).casefold())


def list_runs(words: Sequence[str], num_words: int) -> Iterator[str]:
    """Yield the runs of so many words, or shingles; none of a text that has fewer."""
    return (" ".join(words[start : start + num_words]) for start in range(len(words) - num_words + 1))


SPACED_LETTER = r"[^\W_\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]"
"""Pattern of a letter or digit of scripts that write blanks between words."""
_COMPARED = re.compile(rf"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|{SPACED_LETTER}+")


def _split_unspaced(word: str, is_japanese: bool) -> list[str]:
    parts: list[str] = []
    for run in _RUN.finditer(word):
        if run["thai"]:
            parts += _thai(run["thai"])
        elif run["eastern"] and is_japanese:
            parts += _mecab().parse(run["eastern"]).split()
        elif run["eastern"]:
            parts += _jieba().cut(run["eastern"])
        else:
            parts.append(run[0])
    return [part for part in parts if part.strip()]


# Loaded when the first such text comes: dictionaries take seconds and memory that most shops need not spend.
@cache
def _mecab() -> Any:
    import ipadic
    import MeCab

    return MeCab.Tagger(f"-Owakati {ipadic.MECAB_ARGS}")


@cache
def _jieba() -> Any:
    import rjieba

    return rjieba


def _thai(text: str) -> list[str]:
    from pythainlp.tokenize import word_tokenize

    words: list[str] = word_tokenize(text, engine="newmm", keep_whitespace=False)
    return words
