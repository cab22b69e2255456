"""Personal data is masked, and what only looks like it stays: a product's numbers are what a customer asks for."""

# ruff: noqa: RUF001  (signs as people write them)

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.data.text_cleaning.check_digits import is_card, is_gtin, is_iban
from eshop_ray.data.text_cleaning.personal import HINT, mask_personal


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
        ("Order #114-3941689-8772232 was late", "Order #[ORDER] was late"),
        ("from 192.168.0.17", "from [IP]"),
        ("from fe80::1", "from [IP]"),
    ],
)
def test_is_masked(text, masked):
    assert mask_personal(text)[0] == masked
    assert re.search(HINT, text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("My number is 415 555 0132, thanks", "My number is [PHONE], thanks"),
        ("Call me back at 415 555 0132 in the morning", "Call me back at [PHONE] in the morning"),
        ("text us on 5551234567 a day before", "text us on [PHONE] a day before"),
        ("phone: 4155550132 128/256 GB", "phone: [PHONE] 128/256 GB"),
        ("call our team at 1-800-494-3552 m-f 8am-5pm", "call our team at [PHONE] m-f 8am-5pm"),
        ("cell phone no. 415 555 0132", "cell phone no. [PHONE]"),
        ("Rufen Sie mich an unter 0170 1234567!", "Rufen Sie mich an unter [PHONE]!"),
        ("Meine Nummer lautet 01701234567", "Meine Nummer lautet [PHONE]"),
        ("Telefonnummer: 030 1234567, Handynummer 01701234567", "Telefonnummer: [PHONE], Handynummer [PHONE]"),
        ("erreichbar unter der Nummer 4912345", "erreichbar unter der Nummer [PHONE]"),
        ("appelez le 0612345678 l'après-midi", "appelez le [PHONE] l'après-midi"),
        ("Mon numéro est le 06\u00a012\u00a034\u00a056\u00a078", "Mon numéro est le [PHONE]"),
        ("contactez-nous au 0612345678, tél. 0198765432", "contactez-nous au [PHONE], tél. [PHONE]"),
        ("06-12-34-56-78", "[PHONE]"),
        ("llámame al 612345678", "llámame al [PHONE]"),
        ("mi número es 612 345 678", "mi número es [PHONE]"),
        ("Mi número de teléfono es el 612345678.", "Mi número de teléfono es el [PHONE]."),
        ("Llame al 912 34 56 78", "Llame al [PHONE]"),
        ("chiamami al 347 1234567", "chiamami al [PHONE]"),
        ("il mio numero è 3471234567 va bene", "il mio numero è [PHONE] va bene"),
        ("Contattatemi al 347 1234567, cellulare 3471234567", "Contattatemi al [PHONE], cellulare [PHONE]"),
        ("電話は090-1234-5678です", "電話は[PHONE]です"),
        ("携帯090-1234-5678まで", "携帯[PHONE]まで"),
        ("携帯電話番号は09012345678です", "携帯電話番号は[PHONE]です"),
        ("０９０－１２３４－５６７８まで連絡を", "[PHONE]まで連絡を"),
        ("番号：03-1234-5678。", "番号：[PHONE]。"),
        ("カード番号4111111111111111です", "カード番号[CARD]です"),
        ("振込先DE89370400440532013000です", "振込先[IBAN]です"),
        ("注文114-3941689-8772232が届かない", "注文[ORDER]が届かない"),
        ("メールはjo@mail.deまで、詳しくはhttps://shop.example/pをご覧", "メールは[EMAIL]まで、詳しくは[URL]をご覧"),
        ("接続元192.168.0.17から", "接続元[IP]から"),
        ("手机号13812345678", "手机号[PHONE]"),
        ("我的电话是138-1234-5678", "我的电话是[PHONE]"),
        ("我的号码是13812345678，请拨打", "我的号码是[PHONE]，请拨打"),
        ("有问题请致电010-62345678。", "有问题请致电[PHONE]。"),
        ("微信13812345678同号", "微信[PHONE]同号"),
        ("打给我138 1234 5678吧", "打给我[PHONE]吧"),
    ],
)
def test_is_masked_in_seven_languages(text, masked):
    assert mask_personal(text)[0] == masked
    assert re.search(HINT, text)


@pytest.mark.parametrize(
    "text",
    [
        "Runs on 220-240 2000 watts",
        "shelf 300-400-1200 mm",
        "cell 18650 3500 mAh",
        "phone: 128/256/512 GB",
        "works with phone 12/13/14/15 models",
        "phone 12 13 14 15 cases",
        "call on 12/05/2023, call on 2023-05-12 10:00",
        "mobile 2021 2022 2023",
        "my part number is 5551234567",
        "call it 100 200 300 W",
        "Handy 128/256/512 GB, Modell 0170 1234567",
        "Akku 18650 3500 mAh, 0170 1234567 Stück",
        "Téléphone 128/256/512 Go, réf. 06 12 34 56 78",
        "modèle 0612345678, portable 1200 2000 W",
        "Móvil 64/128/256 GB, pedido 612345678",
        "Código 0170 1234567, batería 10000 20000 mAh",
        "Cellulare 64/128/256 GB, codice 0170 1234567",
        "ordine 3471234567, chiamato 100 200 300 W",
        "型番0120-123-4567、品番 03-1234-5678",
        "電話 100/200/300ミリ",
        "注文番号 03-1234-5678、容量は10000000ミリ",
        "携帯12/13/14/15に対応",
        "手机 64/128/256/512 GB，手机2022/2023/2024",
        "订单号13812345678，型号010-62345678",
        "手机电池 4000 5000毫安",
        "1 2 3 4 5 6 7 8 9",
    ],
)
def test_what_a_product_is_told_by_stays_in_seven_languages(text):
    assert mask_personal(text) == (text, [])


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
    for part in ("1", "1 ", "a.", "+1-", "a@", ":1", "0 1/", "tel 1 ", "电话1", "call at ", "my number is ", "1/2/"):
        mask_personal(part * 5000)
