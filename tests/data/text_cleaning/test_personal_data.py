"""Personal data is masked, and what only looks like it stays: a product's numbers are what a customer asks for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.data.text_cleaning.personal import HINT, is_card, is_gtin, is_iban, mask_personal


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail jo.doe+x@shop-mail.co.uk!", "mail [EMAIL]!"),
        ("jo (at) mail.de, bob[at]mail.de", "[EMAIL], [EMAIL]"),
        ("see https://shop.example/p?id=1. Or www.x.de!", "see [URL]. Or [URL]!"),
        ("Tel. 0170 1234567", "Tel. [PHONE]"),
        ("+49 (0)30 123456-0", "[PHONE]"),
        ("0049 170 1234567", "[PHONE]"),
        ("call 555-234-4567 or (800) 555-1234", "call [PHONE] or [PHONE]"),
        ("06 12 34 56 78", "[PHONE]"),
        ("+33 6 12 34 56 78", "[PHONE]"),
        ("0170-1234567, 030/1234567, 020 7946 0018", "[PHONE], [PHONE], [PHONE]"),
        ("phone: 5551234567", "phone: [PHONE]"),
        ("電話 03-1234-5678", "電話 [PHONE]"),
        ("card 4111 1111 1111 1111", "card [CARD]"),
        ("amex 378282246310005.", "amex [CARD]."),
        ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
        ("GB29NWBK60161331926819", "[IBAN]"),
        ("from 192.168.0.17", "from [IP]"),
        ("from fe80::1", "from [IP]"),
    ],
)
def test_is_masked(text, masked):
    assert mask_personal(text)[0] == masked
    assert re.search(HINT, text)


@pytest.mark.parametrize(
    "text",
    [
        "GTIN 4006381333931, EAN 96385074, UPC 036000291452",
        "UPC 0 36000 29145 2",
        "00012345678905",
        "ISBN 978-3-16-148410-0",
        "ASIN B08N5WRWNW, 0123456789",
        "10 x 20 x 30 cm, 1920x1080",
        "100-240 V, 50/60 Hz, 3.5 mm",
        "model 0603 0100 11",
        "suction cup mount 010-10823-00",
        "part no. 555-234-4567",
        "order 123-4567890-1234567",
        "on 03/12/2024 10:30 and 2024-03-12",
        "firmware v1.2.3.4, version 10.0.0.1",
        "12:30:45, std::move",
        "1,000,000 units, 10 000 000 mAh",
        "sizes 36 37 38 39 40 41 42",
        "DIN EN ISO 20345:2011",
        "love it @ 5 pm, @shop",
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01",
        "price 1299.00, was 1599.00",
    ],
)
def test_stays(text):
    assert mask_personal(text) == (text, [])


def test_kinds_are_told():
    assert mask_personal("a@b.de, a@c.de, 4111111111111111")[1] == ["EMAIL", "EMAIL", "CARD"]


def test_check_digits():
    assert is_gtin("4006381333931")
    assert not is_gtin("4006381333932")
    assert is_card("5555 5555 5555 4444")
    assert not is_card("9999 9999 9999 9995")
    assert is_iban("FR14 2004 1010 0505 0001 3M02 606")


@given(st.text("0123456789 ab@.:/-+()", max_size=60))
def test_what_has_no_hint_has_nothing_to_mask(text):
    if not re.search(HINT, text):
        assert mask_personal(text) == (text, [])


def test_long_texts_take_no_time():
    for part in ("1", "1 ", "a.", "+1-", "a@", ":1", "0 1/"):
        mask_personal(part * 5000)
