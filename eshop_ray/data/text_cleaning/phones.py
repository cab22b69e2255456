"""Numbers of phones in texts of shoppers: known by their form, or by the word before them, in seven languages."""

import re

from eshop_ray.data.text_cleaning.check_digits import is_gtin, read_digits

LETTERS = "0-9A-Za-z_\u00c0-\u024f\u0370-\u052f"
"""Part of a class of characters: those of scripts that put blanks between words. Chinese and Japanese put none between
a word and a number.
"""
Span = tuple[int, int]

_NUMBERED = re.compile(
    rf"(?:(?<![{LETTERS}])(?:mod[eè]l\w*|part|art(?:icle|ikel|iculo|ículo|icolo)?|no|nr|n[°º]|number|nummer|sku"
    r"|r[eé]f\w*|item|mpn|serial|order|pedido|commande|ordine|bestell\w*|c[oó]dig\w*|codice|din|iso|en|g?tin|ean|upc"
    r"|isbn|asin|lot|typ|type|tipo)|[型品]番|番号|[型货编款单]号|號碼|序列号)[\s.:\uff1a#-]*$",
    re.IGNORECASE,
)
"""What stands before the number of a thing."""
_MEASURED = re.compile(
    r"\s?(?:[nµkcm]?m|[km]?g|[cmkf]?l|oz|lbs?|ft|inch(?:es)?|zoll|pouces?|pulgadas?|pollici|k?w|watts?|[km]?v"
    r"|volts?|amps?|mah|k?wh|[kmg]?hz|[kmgt]b|px|pixels?|dpi|rpm|psi|lumens?|pcs|pieces?"
    r"|st(?:ü|ue)ck|models?|batter(?:y|ies)"
    rf"|met(?:er|re)s?|grams?|gramm|lit(?:er|re)s?)(?![{LETTERS}'\u2019-])"
    r"|\s?[%°€$£\u00d7]|\s?(?:ミリ|センチ|メートル|グラム|キロ|ワット|ボルト|アンペア|円|元(?!旦)|毫米|厘米|毫安|公斤|公里|千克|瓦)",
    re.IGNORECASE,
)
"""What follows a quantity. Words that as often begin what comes next, such as `in` and `a`, are none of these."""
_DATE = re.compile(
    r"(?:\d{1,2}(?P<first>[/.-])\d{1,2}(?P=first)(?:\d{4}|\d{2})"
    r"|\d{4}(?P<second>[/.-])\d{1,2}(?P=second)\d{1,2})(?:\s\d{1,2})?"
)
_SHORT_PARTS = re.compile(r"\d{1,4}(?:/\d{1,4}){2,}|[1-9]\d?(?:\s\d{1,2})+|(?:19|20)\d\d(?:\s(?:19|20)\d\d)+")
"""Sizes, models or years, one after the other."""

FORMED = re.compile(
    rf"(?<![{LETTERS}.,+-])(?<!\d[ .-])(?:"
    rf"(?:\+|00)[1-9]\d{{0,2}}[ ./-]?(?:\(0?\d{{1,5}}\)[ ./-]?)?"
    rf"\d{{1,5}}(?:[ ./-]?\d{{1,5}}){{1,5}}"
    r"|(?:1[ .-])?\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]\d{4}"
    r"|(?:1[ .-])?[2-9]\d{2}(?P<us>[.-])[2-9]\d{2}(?P=us)\d{4}"
    rf"|0[1-9](?:[ .-]\d{{2}}){{4}}"
    rf"|\(?0[1-9]\d{{0,3}}\)?[ /-]\d{{3,4}}[ -]\d{{3,4}}"
    rf"|\(?0[1-9]\d{{1,4}}\)?[ /]\d{{5,8}}"
    rf"|0[1-9]\d{{2,3}}-\d{{6,8}}"
    rf"|1[3-9]\d(?P<cn>[ -])\d{{4}}(?P=cn)\d{{4}}"
    rf")(?![{LETTERS}]|[.,-]\d)"
)
_CUES = (
    # What a phone is called, and whose it is.
    r"(?:tele?(?:ph|f)one?|telefon|t[eé]l[eé]phone|tel[eé]fono|t[eé]l|tel|phone|mobile?|m[oó]vil|cell(?:phone|ulare)?"
    r"|celular|portable|handy|festnetz|rufnummer|whatsapp|telegram)(?:number|nummer)?",
    r"(?:my|our|his|her|their|your|contact|mein[er]?|unser[er]?|seine|ihre|deine|mon|notre|votre|mi|nuestro|su|mio"
    r"|nostro|suo)\s+(?:number|nummer|num[eé]ro|número|no|nr)(?:\s+(?:de|di)\s+(?:tel\w*|t[eé]l\w*|cell\w*|móvil|portable))?",
    # What one does with it.
    r"(?:call|dial|ring|text|reach|contact)(?:\s+(?:me|us|him|her|them))?(?:\s+back)?",
    r"(?:ruf|rufen|ruft|anruf\w*|angerufen|erreich\w*|meld\w*)"
    r"(?:\s+(?:sie|ihr))?(?:\s+(?:mich|uns|mir))?(?:\s+(?:an|bitte|bei)){0,3}",
    r"(?:appel|rappel|joign|contact)\w*(?:[-\s](?:moi|nous))?",
    r"(?:ll[aá]m|cont[aá]ct)\w*",
    r"(?:chiam|contatt)\w*",
    r"(?:unter|under)\s+(?:der|the)\s+(?:nummer|number)|au\s+num[eé]ro|al\s+(?:número|numero)",
)
_LINKS = (
    r"number|no|nr|nummer|numéro|número|numero|is|ist|lautet|est|es|è|e|at|on|under|unter|der|al|a|au|le|il|el"
    r"|here|hier|ici|qui|aquí"
)
"""Words between such a cue and its number."""
_UNSPACED_CUES = (
    r"電話|携帯|ケータイ|連絡先|电话|手机|手機|致电|拨打?|联系方式|聯絡|微信|的号码"
    r"|(?<![\u3400-\u9fff\u30a0-\u30ff])(?:番号|号码|號碼)"
)
_CALLED = re.compile(
    rf"(?:(?<![{LETTERS}])(?:{'|'.join(_CUES)})(?:\.?[\s:]+(?:{_LINKS})(?![{LETTERS}])){{0,3}}[\s.:\uff1a#]{{0,3}}"
    rf"|(?:{_UNSPACED_CUES})(?:番号|号码|號碼|号|號)?[\s:\uff1a]{{0,2}}(?:[はがもにへ是为為]|给我|まで)?[\s:\uff1a]{{0,2}})$",
    re.IGNORECASE,
)
"""What stands before a number by which somebody can be called."""
NUMBERS = re.compile(r"(?<!\d)\+?\(?\d(?:[ ()./-]{0,3}\d){6,39}")
"""One or several numbers of seven digits or more."""
_TOKEN_END = re.compile(r"(?<=\d)(?= |$)")
_GOES_ON = re.compile(rf"[{LETTERS}]|[.,-]\d")
_REACH = 60
"""Characters before and after a number that are looked at."""


def find_called(found: re.Match[str]) -> Span | None:
    """Return where the number is that a match of `NUMBERS` begins with, if the words before it call it a phone's."""
    if not _CALLED.search(found.string[max(0, found.start() - _REACH) : found.start()]):
        return None
    end = _find_end(found[0], found.string[found.end() : found.end() + _REACH])
    return (found.start(), found.start() + end) if end else None


def find_formed(found: re.Match[str]) -> Span | None:
    """Return where the number of a phone is, if a match of `FORMED` is one."""
    text, digits = found[0], read_digits(found[0])
    before = found.string[max(0, found.start() - _REACH) : found.start()]
    after = found.string[found.end() : found.end() + _REACH]
    if (not text.startswith("+") and _NUMBERED.search(before)) or _is_quantity(text, after):
        return None
    is_long = 9 <= len(digits) <= 16 and not is_gtin(digits)
    is_phone = is_long if text.startswith(("+", "00")) else 9 <= len(digits) <= 11
    return found.span() if is_phone else None


def _find_end(number: str, after: str) -> int:
    """Return where the phone number at the beginning of some numbers ends, 0 where there is none."""
    for end in sorted({found.start() for found in _TOKEN_END.finditer(number)}, reverse=True):
        own, rest = number[:end], number[end:] + after
        is_whole = not _GOES_ON.match(rest)
        if is_whole and 7 <= len(read_digits(own)) <= 15 and not _is_quantity(own, rest):
            return end
    return 0


def _is_quantity(number: str, rest: str) -> bool:
    """Whether a number is a date, some sizes, or is followed by a unit."""
    is_short = _SHORT_PARTS.fullmatch(number) is not None
    return is_short or _DATE.fullmatch(number) is not None or _MEASURED.match(rest) is not None
