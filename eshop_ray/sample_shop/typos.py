"""Slips of the keyboard."""

import random


def misspell(word: str, rng: random.Random, rate: float) -> str:
    """Return the word, now and then with two letters swapped, one left out or one doubled."""
    if len(word) < 5 or not word.isalpha() or rng.random() >= rate:
        return word
    place = rng.randrange(1, len(word) - 2)
    left, first, second, right = word[:place], word[place], word[place + 1], word[place + 2 :]
    return left + rng.choice((second + first, second, first + first + second)) + right


def misspell_text(text: str, rng: random.Random, rate: float) -> str:
    """Misspell single words of a text."""
    return " ".join(misspell(word, rng, rate) for word in text.split(" "))
