"""Numbers that tell what they are by a check digit: IBANs, payment cards and the numbers of products."""

import re

_CARDS = (
    *((16, rf"{prefix}") for prefix in ("4", "5[1-5]", "2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", "6011", "65", "35")),
    *((15, "3[47]"), (14, "3(?:0[0-5]|[68])"), (19, "4"), (19, "62")),
)
"""Digits, and how they begin, of the issuers of cards."""


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 7064, modulo 97)."""
    code = text.replace(" ", "")
    return 15 <= len(code) <= 34 and int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether a number is of a payment card: by issuer, length and check digit (Luhn), and no GTIN."""
    digits = read_digits(text)
    if is_gtin(digits) or not any(len(digits) == length and re.match(start, digits) for length, start in _CARDS):
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_gtin(digits: str) -> bool:
    """Whether a number is that of a product: EAN-8, UPC-A, EAN-13 or GTIN-14 with its check digit."""
    if len(digits) not in (8, 12, 13, 14):
        return False
    weighted = (int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(reversed(digits)))
    return sum(weighted) % 10 == 0


def read_digits(text: str) -> str:
    """Return the digits of a number, whatever script they are of and whatever stands between them."""
    return "".join(str(int(sign)) for sign in text if sign.isdecimal())
