"""The words of a text, folded: what is the same but for case, blanks and punctuation is equal."""

import re
import unicodedata


def fold_words(text: str) -> list[str]:
    """Return the words of a text, folded; of scripts that write no blanks, the characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W_\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+")
