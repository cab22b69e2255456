"""Personal data in texts -> marks such as `[EMAIL]`; numbers of products, sizes and GTINs stay.

What has a check digit is checked (Luhn for cards, ISO 7064 for IBANs). A number without one is masked only where its
form or the word before it says that it is a phone's. Names of people are not looked for.
"""

import ipaddress
import re
from collections.abc import Callable

_NUMBER = r"(?:\d[ ()./-]{0,3}){6}\d"
_MAIL = r"@|(?i:[(\[]\s?at\s?[)\]])"
HINT = rf"{_MAIL}|://|(?i:www\.)|{_NUMBER}|\d\.\d+\.\d+\.\d|::|:[0-9A-Fa-f]{{1,4}}:[0-9A-Fa-f]{{1,4}}:"
"""What a text has in which there is anything to mask: seven digits in a row, or a sign."""

_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'\])}]+[^\s<>\"'\])}.,;:!?]", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.%+-]{1,64}\s?(?:@|[(\[]\s?at\s?[)\]])\s?(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b", re.IGNORECASE
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\w.,-])(?:\d[ -]?){13,18}\d(?![\w-]|[.,]\d)")
_IP4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*[0-9A-Fa-f:](?![\w:])")
_VERSION = re.compile(r"(?:\bv|version|firmware|software|release|update)[\s.:]*$", re.IGNORECASE)

_NUMBERED = re.compile(
    r"\b(?:model\w*|part|art(?:icle|ikel)?|no|nr|number|nummer|sku|ref\w*|item|mpn|serial|order|bestell\w*|din|iso|en"
    r"|g?tin|ean|upc|isbn|asin|lot|type|typ)[\s.:#-]*$",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w.,+-])(?<!\d[ .-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}[ ./-]?(?:\(0?\d{1,5}\)[ ./-]?)?\d{1,5}(?:[ ./-]?\d{1,5}){1,5}"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[ .-]\d{4}"
    r"|0[1-9](?:[ .-]\d{2}){4}"
    r"|\(?0[1-9]\d{0,3}\)?[ /-]\d{3,4}[ -]\d{3,4}"
    r"|\(?0[1-9]\d{1,4}\)?[ /]\d{5,8}"
    r"|0[1-9]\d{2,3}-\d{6,8}"
    r")(?!\w|[.,-]\d)"
)
_CALLED = re.compile(
    r"(?P<cue>\b(?:tel|phone|telephone|mobile|cell|whatsapp|call(?: me| us)?(?: at| on)?|telefon|handy|rufnummer"
    r"|téléphone|portable|teléfono|móvil|telefono|cellulare)\b|電話|电话|手机|携帯)(?P<gap>[\s.:\uff1a#]{0,3})"
    r"(?P<number>\+?\(?\d[\d ()./-]{5,18}\d)(?!\w)",
    re.IGNORECASE,
)
_HAS_MAIL, _HAS_NUMBER = re.compile(_MAIL), re.compile(_NUMBER)
_DATE = re.compile(r"\b\d{1,2}[/-]\d{1,2}[/-]\d{2,4}\b|\b\d{4}[/-]\d{1,2}[/-]\d{1,2}\b")
_CARDS = (
    *((16, rf"{prefix}") for prefix in ("4", "5[1-5]", "2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)", "6011", "65", "35")),
    *((15, "3[47]"), (14, "3(?:0[0-5]|[68])"), (19, "4"), (19, "62")),
)


def mask_personal(text: str) -> tuple[str, list[str]]:
    """Return a text in which personal data is masked, and the kinds found: `URL`, `EMAIL`, `IP`, `IBAN`, `CARD`,
    `PHONE`.
    """
    kinds: list[str] = []

    def mask(kind: str, pattern: re.Pattern[str], is_personal: Callable[[re.Match[str]], bool]) -> None:
        nonlocal text

        def replace(found: re.Match[str]) -> str:
            if not is_personal(found):
                return found[0]
            kinds.append(kind)
            return f"[{kind}]"

        text = pattern.sub(replace, text)

    mask("URL", _URL, lambda _: True)
    if _HAS_MAIL.search(text):
        mask("EMAIL", _EMAIL, lambda _: True)
    mask("IP", _IP4, _is_address)
    if text.count(":") > 1:
        mask("IP", _IP6, _is_address)
    if _HAS_NUMBER.search(text):
        mask("IBAN", _IBAN, lambda found: is_iban(found[0]))
        mask("CARD", _CARD, lambda found: is_card(found[0]))
        text = _CALLED.sub(lambda found: _mask_called(found, kinds), text)
        mask("PHONE", _PHONE, _is_phone)
    return text, kinds


def is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 7064, modulo 97)."""
    code = text.replace(" ", "")
    return 15 <= len(code) <= 34 and int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether a number is of a payment card: by issuer, length and check digit (Luhn), and no GTIN."""
    digits = _digits(text)
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


def _mask_called(found: re.Match[str], kinds: list[str]) -> str:
    if not 7 <= len(_digits(found["number"])) <= 15:
        return found[0]
    kinds.append("PHONE")
    return f"{found['cue']}{found['gap']}[PHONE]"


def _is_phone(found: re.Match[str]) -> bool:
    text, digits = found[0], _digits(found[0])
    if not text.startswith("+") and _NUMBERED.search(found.string[: found.start()]):
        return False
    if text.startswith(("+", "00")):
        return 9 <= len(digits) <= 16 and not is_gtin(digits)
    return 9 <= len(digits) <= 11 and not _DATE.search(text)


def _is_address(found: re.Match[str]) -> bool:
    if _VERSION.search(found.string[: found.start()]):
        return False
    try:
        address = ipaddress.ip_address(found[0])
    except ValueError:
        return False
    return not address.is_unspecified


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isascii() and sign.isdigit())
