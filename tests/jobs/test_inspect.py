"""`eshop inspect`: what is in a file, before anything is configured."""

import json

import pytest

from eshop_ray.errors import UserError
from eshop_ray.jobs import inspect

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Product Category\npan,Iron Pan,<p>Cast <b>iron</b></p>,N,Home > Pans\npan,,,,\n"
)


@pytest.fixture
def look(tmp_path, monkeypatch, capsys):
    """Write a file, inspect it, and return what was printed, each line's blanks as one."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(content, *settings, name="p.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        inspect.run(str(path), settings)
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return run


def test_an_export_is_recognised_and_its_products_are_shown(look):
    lines = look(SHOPIFY)
    assert "written table, utf-8, separated by ','" in lines
    assert "exported by Shopify, as its columns say" in lines
    assert "guessed catalog.format=shopify" in lines
    assert "products 1 good, 0 refused" in lines
    assert "pan Iron Pan Home > Pans Cast iron" in lines
    assert any("Title (50%)" in line for line in lines)


def test_settings_are_those_of_the_catalogue(look):
    lines = look(SHOPIFY, "format=shopify", "category=leaf", "columns.id=Vendor")
    assert "N Iron Pan Pans Cast iron" in lines
    with pytest.raises(UserError, match="unknown key `formt`; did you mean `format`"):
        look(SHOPIFY, "formt=shopify")


def test_columns_are_guessed_and_trouble_is_counted(look):
    rows = [{"sku": "007", "title": "Pan"}, {"sku": None, "title": "Cup"}, {"sku": "8"}, {"title": "Jug"}]
    lines = look("\n".join(map(json.dumps, rows)) + "\nnot json\n", name="p.jsonl")
    assert "guessed catalog.columns={id: sku, name: title}" in lines
    assert "products 1 good, 4 refused" in lines
    assert "2 x `id` is missing or no id (line 2 and others)" in lines
    assert any(line.startswith("1 x not JSON") and line.endswith("(line 5)") for line in lines)


def test_what_a_terminal_would_act_on_is_not_printed(look):
    lines = look(json.dumps({"id": "[bold]x[/bold]", "name": "a\x1b[31mred [/cm]"}), name="p.jsonl")
    assert not any("\x1b" in line for line in lines)
    assert any("[bold]x[/bold]" in line and "red [/cm]" in line for line in lines)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiter_that_the_file_declares_is_told(look, end):
    lines = look(end.join(["sep=|", "id|name|category", "1|a, b; c, d|x", ""]))
    assert "written table, utf-8, separated by '|'" in lines
    assert "products 1 good, 0 refused" in lines


def test_encoding_and_delimiter_are_told(look):
    lines = look("id;name;category\n1;Töpfe für Öl;Küche\n".encode("cp1252"))
    assert "written table, cp1252, separated by ';'" in lines


def test_a_folder_shows_its_first_files(tmp_path, capsys):
    for number in range(7):
        (tmp_path / f"p{number}.csv").write_text("id,name\n1,Pan\n")
    inspect.run(str(tmp_path))
    output = capsys.readouterr().out
    assert output.count("1 good") == 5
    assert "2 more files" in output
