"""Personal data in texts -> marks such as `[EMAIL]`; numbers of products, sizes and GTINs stay.

What has a check digit is checked (Luhn for cards, ISO 7064 for IBANs). A number without one is masked only where its
form or the word before it says that it is a phone's or an order's. Names of people are not looked for.
"""

import ipaddress
import re
from collections.abc import Callable

from eshop_ray.data.text_cleaning.check_digits import is_card, is_iban
from eshop_ray.data.text_cleaning.phones import FORMED, LETTERS, NUMBERS, Span, find_called, find_formed

_BLANKS, _HYPHENS = "\u00a0\u202f\u3000", "\u2010\u2011\u2013\uff0d"
_WIDE = "\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19\uff0b\uff08\uff09\uff0e\uff0f"
_PLAIN = str.maketrans(_BLANKS + _HYPHENS + _WIDE, " " * len(_BLANKS) + "-" * len(_HYPHENS) + "0123456789+()./")
"""A sign that stands in numbers -> the usual one; so no sign changes its place."""
_DIGIT = "[0-9\uff10-\uff19]"
_NUMBER = rf"(?:{_DIGIT}[ ()./{_BLANKS}{_HYPHENS}{_WIDE[-4:]}-]{{0,3}}){{6}}{_DIGIT}"
_MAIL = r"@|(?i:[(\[]\s?at\s?[)\]])"
HINT = rf"{_MAIL}|://|(?i:www\.)|{_NUMBER}|\d\.\d+\.\d+\.\d|::|:[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f]{{1,4}}:"
"""What a text has in which there is anything to mask: seven digits in a row, or a sign."""

_UNSPACED = "\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
"""Letters and signs of scripts that put no blank after an address."""
_URL = re.compile(
    rf"(?<![{LETTERS}])(?:https?://|www\.)[^\s<>\"'\])}}{_UNSPACED}]+[^\s<>\"'\])}}.,;:!?{_UNSPACED}]", re.IGNORECASE
)
_EMAIL = re.compile(
    rf"(?<![{LETTERS}.+-])[{LETTERS}.%+-]{{1,64}}\s?(?:@|[(\[]\s?at\s?[)\]])\s?(?:[{LETTERS}-]{{1,63}}\.){{1,8}}"
    rf"(?:(?![\d_])[{LETTERS}]){{2,24}}(?![{LETTERS}])",
    re.IGNORECASE,
)
_IBAN = re.compile(
    rf"(?<![{LETTERS}])[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?![{LETTERS}])"
)
_CARD = re.compile(rf"(?<![{LETTERS}.,-])(?:\d[ -]?){{13,18}}\d(?![{LETTERS}-]|[.,]\d)")
_ORDER = re.compile(rf"(?<![{LETTERS}-])\d{{3}}-\d{{7}}-\d{{7}}(?![{LETTERS}-])")
"""As Amazon numbers them."""
_IP4 = re.compile(rf"(?<![{LETTERS}.])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![{LETTERS}]|\.\d)")
_IP6 = re.compile(rf"(?<![{LETTERS}:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*[0-9A-Fa-f:](?![{LETTERS}:])")
_VERSION = re.compile(r"(?:\bv|version|firmware|software|release|update)[\s.:]*$", re.IGNORECASE)
_HAS_MAIL, _HAS_NUMBER = re.compile(_MAIL), re.compile(_NUMBER)


def mask_personal(text: str) -> tuple[str, list[str]]:
    """Return a text in which personal data is masked, and the kinds found: `URL`, `EMAIL`, `IP`, `IBAN`, `ORDER`,
    `CARD`, `PHONE`.
    """
    kinds: list[str] = []

    def mask(kind: str, pattern: re.Pattern[str], find: Callable[[re.Match[str]], Span | None]) -> None:
        nonlocal text
        plain = text if text.isascii() else text.translate(_PLAIN)
        spans = [span for found in pattern.finditer(plain) if (span := find(found))]
        for start, end in reversed(spans):
            text = f"{text[:start]}[{kind}]{text[end:]}"
        kinds.extend([kind] * len(spans))

    mask("URL", _URL, re.Match.span)
    if _HAS_MAIL.search(text):
        mask("EMAIL", _EMAIL, re.Match.span)
    mask("IP", _IP4, _find_address)
    if text.count(":") > 1:
        mask("IP", _IP6, _find_address)
    if _HAS_NUMBER.search(text):
        mask("IBAN", _IBAN, lambda found: found.span() if is_iban(found[0]) else None)
        mask("ORDER", _ORDER, re.Match.span)
        mask("CARD", _CARD, lambda found: found.span() if is_card(found[0]) else None)
        mask("PHONE", NUMBERS, find_called)
        mask("PHONE", FORMED, find_formed)
    return text, kinds


def _find_address(found: re.Match[str]) -> Span | None:
    if _VERSION.search(found.string[: found.start()]):
        return None
    try:
        address = ipaddress.ip_address(found[0])
    except ValueError:
        return None
    return None if address.is_unspecified else found.span()
