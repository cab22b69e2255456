import codecs
import io

import pytest

from eshop_ray.data.formats.encodings import decode_lines, detect_encoding

TEXTS = {
    "cp1250": "1,Czerwony szalik,Odzież,ciepły żółty\n2,Niebieska czapka,Odzież,źdźbło świeże\n",
    "cp1251": "1,Красный шарф,Одежда,теплый\n2,Синяя шапка,Одежда,холодный\n",
    "cp932": "1,赤いスカーフ,衣類,暖かい\n2,青い帽子,衣類,冷たい\n",
    "gb18030": "1,红色围巾,服装,温暖\n2,蓝色帽子,服装,冷\n",
    "big5": "1,紅色圍巾,服裝,溫暖\n2,藍色帽子,服裝,冷\n",
    "cp949": "1,빨간 스카프,의류,따뜻한\n2,파란 모자,의류,차가운\n",
}
WESTERN = (
    "0,Stuhl,Möbel\n1,Topf,Küche\n2,Regal,Büro\n",
    "1,“Tisch”,9 €\n",
    "1,naïve façade,œuvre\n",
    "1,Señal,Niño pequeño\n",
    "1,blåbærsyltetøy,smør\n",
    "1,L\u2019été à l\u2019île,créée\n",
)


@pytest.mark.parametrize("encoding", TEXTS)
def test_legacy_encodings_are_told_apart(encoding):
    assert detect_encoding(TEXTS[encoding].encode(encoding)) == encoding


@pytest.mark.parametrize("text", WESTERN)
def test_few_accents_are_western(text):
    assert detect_encoding(text.encode("cp1252")) == "cp1252"


@pytest.mark.parametrize("text", [*TEXTS.values(), *WESTERN, "plain\n", ""])
@pytest.mark.parametrize(("mark", "encoding"), [(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (b"", "utf-16")])
def test_unicode_is_read_as_it_was_written(text, mark, encoding):
    assert "".join(decode_lines(io.BytesIO(mark + text.encode(encoding)))) == text


def test_a_bad_line_does_not_make_the_others_another_encoding():
    content = "".join(f"{number},Müslischüssel\n" for number in range(10)).encode() + b"10,M\xfcsli\n"
    lines = list(decode_lines(io.BytesIO(content)))
    assert lines[0] == "0,Müslischüssel\n"
    assert lines[10] == "10,M\udcfcsli\n"


def test_a_byte_that_no_encoding_knows_is_not_replaced_in_silence():
    content = "1,Möbel\n2,Küche\n3,Büro\n".encode("cp1252") + b"4,Stuhl \x81\n"
    assert list(decode_lines(io.BytesIO(content)))[3] == "4,Stuhl \udc81\n"


def test_a_character_cut_by_the_end_of_the_sample_is_no_bad_line():
    assert detect_encoding("1,ü".encode()[:-1]) == "utf-8"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_any_end(end):
    assert list(decode_lines(io.BytesIO(f"a{end}b{end}".encode()))) == [f"a{end}", f"b{end}"]
