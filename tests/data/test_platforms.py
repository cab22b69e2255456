"""Exports as shop systems write them: which of their rows are products, and what they say of them."""

import csv
import io
import json

import pytest

from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.platforms import PLATFORMS, recognise
from eshop_ray.data.products import read_products
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed


def read(text, path, **options):
    """Return the products, and of what is none (line, reason)."""
    rows = list(read_products(io.BytesIO(text.encode()), path, CatalogOptions(**options)))
    good = [row[1] for row in rows if not isinstance(row, Malformed)]
    return good, [(row.line, row.reason) for row in rows if isinstance(row, Malformed)]


def table(header, *rows, delimiter=","):
    """A table as text; rows may be shorter than the header."""
    names = header.split("|")
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        cells = row.split("|")
        writer.writerow(cells + [""] * (len(names) - len(cells)))
    return sink.getvalue()


SHOPIFY = (
    "Handle|Title|Body (HTML)|Vendor|Product Category|Type|Tags|Option1 Value|Variant SKU|Image Src|"
    "Material (product.metafields.custom.material)"
)
SHOPIFY_NEW = "Title|URL handle|Description|Vendor|Product category|Type|SKU|Option1 value"
WOO = (
    "ID|Type|SKU|Name|Visibility in catalog|Description|Categories|Tags|Parent|Brands|Attribute 1 name|"
    "Attribute 1 value(s)"
)
WOO_DE = "ID|Typ|Artikelnummer|Name|Beschreibung|Kategorien|Übergeordnetes Produkt"
MAGENTO = (
    "sku|store_view_code|attribute_set_code|product_type|categories|name|description|visibility|additional_attributes"
)
GOOGLE = "id|title|description|link|image_link|availability|product_type|brand|color|size|item_group_id|product_detail"
AKENEO = "sku|categories|enabled|family|groups|parent|name-en_US|name-de_DE|description-en_US-ecommerce|brand"
AKENEO_MODELS = "code|family_variant|parent|categories|name-en_US|name-de_DE|brand"
PRESTA = "Product ID|Active (0/1)|Name *|Categories (x,y,z...)|Manufacturer|Description|Feature(Name:Value:Position)"
SPREE = "slug|sku|name|description|category1|option1_value|custom_field.custom.wattage"
MEDUSA = "Product Id|Product Handle|Product Title|Product Description|Product Type|Product Tag 1|Variant Title"
VENDURE = "name|slug|description|facets|optionGroups|optionValues|sku"
COMMERCETOOLS = "productType|variantId|sku|categories|name.en|name.de|baseId|color"
BAGISTO = "sku|parent_sku|locale|attribute_family_code|categories|url_key|name|description"
SYLIUS = "Code|Locale|Name|Description|Main_taxon"

EXPORTS = {
    "shopify": table(
        SHOPIFY,
        "pan|Iron Pan|<p>Cast <b>iron</b>.</p>|Norvik|Home > Pans|Pan|iron, pan|24 cm|PAN-24|1.jpg|Iron",
        "pan|||||||28 cm|PAN-28",
        "pan|||||||||2.jpg",
        "cup|Cup|Blue &amp; white|Norvik|Home > Cups|Cup",
    ),
    "shopify, new headers": table(
        SHOPIFY_NEW,
        "Iron Pan|pan|<p>Cast <b>iron</b>.</p>|Norvik|Home > Pans|Pan|PAN-24|24 cm",
        "|pan|||||PAN-28|28 cm",
        "Cup|cup|Blue &amp; white|Norvik|Home > Cups",
    ),
    "woocommerce": table(
        WOO,
        r"pan|variable|P|Iron Pan|visible|Cast iron.\n|Home, Home > Pans|iron||Norvik|Material|Iron",
        "8|variation|P-24|Iron Pan - 24 cm|visible||||P",
        "cup|simple, virtual|C|Cup|visible|Blue & white|Home > Cups|||Norvik",
    ),
    "woocommerce, German": table(
        WOO_DE,
        "pan|variable|P|Iron Pan|Cast iron.|Home > Pans",
        "8|variation|P-24|Iron Pan - 24 cm|||P",
        "cup|simple|C|Cup|Blue & white|Home > Cups",
    ),
    "magento": table(
        MAGENTO,
        "pan-24||Default|simple|Default Category/Home/Pans|Iron Pan-24|Cast iron.|Not Visible Individually",
        "pan||Default|configurable|Default Category/Home/Pans,Default Category/Sale|Iron Pan|Cast iron.|Catalog, Search"
        "|material=Iron, cast,manufacturer=Norvik",
        "pan|de|Default|configurable||Eisenpfanne",
        "cup||Default|simple|Default Category/Home/Cups|Cup|Blue & white|Catalog, Search|manufacturer=Norvik",
    ),
    "google_merchant": table(
        GOOGLE,
        "pan-24|Iron Pan \u2013 24 cm|Cast iron.|x|x|in_stock|Home > Pans|Norvik||24 cm|pan|General:Material:Iron",
        "pan-28|Iron Pan \u2013 28 cm|Cast iron.|x|x|in_stock|Home > Pans|Norvik||28 cm|pan|General:Material:Iron",
        "cup|Cup|Blue & white|x|x|in_stock|Home > Cups|Norvik",
        delimiter="\t",
    ),
    "akeneo": table(
        AKENEO,
        "pan|Pans,master|1|kitchen|||Iron Pan||Cast iron.|Norvik",
        "pan-24|Pans,master|1|kitchen||pan_model",
        "cup|Cups|1|kitchen|||Cup||Blue & white|Norvik",
        delimiter=";",
    ),
    "akeneo, models": table(
        AKENEO_MODELS,
        "pan|by_size||Pans,master|Iron Pan|Pfanne|Norvik",
        "pan_small|by_size|pan|Pans,master",
        "cup|by_size||Cups||Cup|Norvik",
        delimiter=";",
    ),
    "prestashop": table(
        PRESTA,
        "pan|1|Iron Pan|Home,Pans|Norvik|<p>Cast iron.</p>|Material:Iron:0,Size:24 cm:1",
        "cup|1|Cup|Home,Cups|Norvik|Blue & white",
        delimiter=";",
    ),
    "spree": table(
        SPREE,
        "pan|PAN|Iron Pan|Cast iron.|Home -> Pans||500",
        "pan|PAN-24||||24 cm",
        "cup|CUP|Cup|Blue & white|Home -> Cups",
    ),
    "medusa": table(
        MEDUSA,
        "pan|iron-pan|Iron Pan|Cast iron.|Pans|iron|24 cm",
        "pan|iron-pan|Iron Pan|Cast iron.|Pans|iron|28 cm",
        "cup|cup|Cup|Blue & white|Cups||one",
    ),
    "vendure": table(
        VENDURE,
        "Iron Pan|pan|Cast iron.|category:Home~category:Pans~brand:Norvik|size|24 cm|P24".replace("~", "\x00"),
        "|||||28 cm|P28",
        "Cup|cup|Blue & white|category:Home~category:Cups|||C".replace("~", "\x00"),
    ).replace("\x00", "|"),
    "commercetools": table(
        COMMERCETOOLS,
        "main|1|P24|Home>Pans|Iron Pan|Pfanne|pan|black",
        "main|2|P28||||pan",
        "main|1|C|Home>Cups|Cup||cup|blue",
    ),
    "bagisto": table(
        BAGISTO,
        "pan||en|default|Home/Pans|iron-pan|Iron Pan|Cast iron.",
        "pan-24|pan|en|default|Home/Pans|iron-pan-24|Iron Pan 24",
        "cup||en|default|Home/Cups|cup|Cup|Blue & white",
    ),
    "sylius": table(SYLIUS, "pan|en_US|Iron Pan|Cast iron.|Pans", "cup|en_US|Cup|Blue & white|Cups"),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_every_product_comes_once_and_variants_are_none(export):
    name = export.partition(",")[0]
    products, refused = read(EXPORTS[export], "export.csv", format=name)
    assert refused == []
    assert [(product["id"], product["name"]) for product in products] == [("pan", "Iron Pan"), ("cup", "Cup")]
    assert [product["category"].rpartition(" > ")[2] for product in products] == ["Pans", "Cups"]
    if "models" not in export and name != "commercetools":
        assert [product["description"] for product in products] == ["Cast iron.", "Blue & white"]
    brand = products[0].get("brand")
    assert brand in (None, "Norvik")


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_is_recognised_by_its_columns(export):
    text = EXPORTS[export]
    header = text.partition("\r\n")[0]
    found = recognise(header.split(max(",;\t", key=header.count)))
    assert found is not None
    assert found.name == export.partition(",")[0]


def test_columns_of_nobodys_export_are_not_recognised():
    assert recognise(["id", "name", "category", "description"]) is None


@pytest.mark.parametrize(("level", "label"), [("path", "Home > Pans"), ("leaf", "Pans"), (1, "Home"), (5, "Pans")])
def test_the_label_is_the_level_that_was_asked_for(level, label):
    products, _ = read(EXPORTS["shopify"], "export.csv", format="shopify", category=level)
    assert products[0]["category"] == label


def test_attributes_are_a_pair_a_line():
    magento, _ = read(EXPORTS["magento"], "export.csv", format="magento")
    assert magento[0]["attributes"] == "Material: Iron, cast"
    google, _ = read(EXPORTS["google_merchant"], "export.tsv", format="google_merchant")
    assert google[0]["attributes"] == "Material: Iron"


def test_a_locale_is_chosen():
    models = EXPORTS["akeneo, models"]
    assert [product["name"] for product in read(models, "e.csv", format="akeneo", locale="de_DE")[0]] == [
        "Pfanne",
        "Cup",
    ]


def test_a_column_of_the_file_may_be_the_id():
    products, _ = read(EXPORTS["woocommerce"], "e.csv", format="woocommerce", columns={"id": "SKU"})
    assert [product["id"] for product in products] == ["P", "C"]


def test_variants_without_their_product_are_refused():
    text = table(SHOPIFY, "cup|Cup", "pan|||||||24 cm", "pan|||||||28 cm")
    products, refused = read(text, "e.csv", format="shopify")
    assert [product["id"] for product in products] == ["cup"]
    assert [line for line, _ in refused] == [3, 4]
    assert "`pan`" in refused[0][1]


def test_another_systems_export_is_told():
    with pytest.raises(UserError, match=r"no export of Magento.*looks like an export of Shopify: `format: shopify`"):
        read(EXPORTS["shopify"], "e.csv", format="magento")


RSS = """<?xml version="1.0" encoding="{encoding}"?>
<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel><title>Shop</title>
<item><g:id>pan</g:id><title>Crème &amp; Pan</title>
<g:description><![CDATA[<p>Cast <b>iron</b>.</p></item>]]></g:description>
<g:product_type>Home &gt; Pans</g:product_type><g:link>x</g:link>
<g:shipping><g:country>DE</g:country></g:shipping><g:shipping><g:country>AT</g:country></g:shipping></item>
<item><g:id>cup</g:id><title>Cup</title><g:product_type>Home &gt; Cups</g:product_type>{broken}</item>
<item><g:id>jug</g:id><title>Jug</title></item>
</channel></rss>"""


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1", "utf-16"])
def test_a_feed_in_xml(encoding):
    text = RSS.format(encoding=encoding, broken="")
    options = CatalogOptions(format="google_merchant", columns={"country": "shipping.country"})
    products = [row[1] for row in read_products(io.BytesIO(text.encode(encoding)), "feed.xml", options)]
    assert [product["id"] for product in products] == ["pan", "cup", "jug"]
    assert products[0]["name"] == "Crème & Pan"
    assert products[0]["description"] == "Cast iron."
    assert products[0]["country"] == ["DE", "AT"]


@pytest.mark.parametrize("broken", ["<g:x>", "&nbsp;", "<", "\x02", "</g:x>"])
def test_a_broken_item_of_a_feed_costs_itself(broken):
    products, refused = read(RSS.format(encoding="utf-8", broken=broken), "feed.xml", format="google_merchant")
    assert [product["id"] for product in products] == ["pan", "jug"]
    assert [line for line, _ in refused] == [7]


SAUCEPAN = {"@type": "Product", "sku": "pan", "name": "Iron Pan", "brand": {"@type": "Brand", "name": "Norvik"}}
TRAIL = {
    "@type": "BreadcrumbList",
    "itemListElement": [{"@type": "ListItem", "name": name} for name in ("Home", "Pans")],
}


def page(*blocks):
    scripts = "\n".join(f'<script type="application/ld+json">{block}</script>' for block in blocks)
    return f"<!DOCTYPE html><html><head>\n{scripts}\n</head><body><p>Pan</p></body></html>"


def test_pages_say_what_they_sell():
    graph = json.dumps(
        {"@context": "https://schema.org", "@graph": [{"@type": "WebSite", "name": "Shop"}, TRAIL, SAUCEPAN]}
    )
    products, refused = read(page(graph, "{broken"), "page.html", format="schema_org")
    assert [(product["id"], product["category"], product["brand"]) for product in products] == [
        ("pan", "Home > Pans", "Norvik")
    ]
    assert [line for line, _ in refused] == [3]


def test_variants_of_a_group_are_no_products():
    group = {"@context": "https://schema.org", "@type": "ProductGroup", "productGroupID": "pan", "name": "Iron Pan"}
    variant = {"@type": "Product", "sku": "pan-24", "name": "Iron Pan 24", "inProductGroupWithID": "pan"}
    text = "\n".join(map(json.dumps, [{**group, "hasVariant": [variant]}, {"@context": "x", **variant}]))
    products, _ = read(text, "p.jsonl", format="schema_org")
    assert [product["id"] for product in products] == ["pan"]


def test_microdata():
    text = """<html><body><div itemscope itemtype="https://schema.org/Product">
    <h1 itemprop="name">Iron <b>Pan</b></h1><meta itemprop="sku" content="pan"><img itemprop="image" src="x.jpg">
    <span itemprop="brand" itemscope itemtype="https://schema.org/Brand"><span itemprop="name">Norvik</span></span>
    <p itemprop="description">Cast iron.</p></div></body></html>"""
    products, _ = read(text, "page.html", format="schema_org")
    assert [(product["id"], product["name"], product["brand"], product["description"]) for product in products] == [
        ("pan", "Iron Pan", "Norvik", "Cast iron.")
    ]


def test_an_answer_of_an_interface():
    item = {"identifier": "pan", "family": "kitchen", "enabled": True, "categories": ["pans"], "parent": None}
    values = {
        "name": [
            {"locale": "en_US", "scope": None, "data": "Iron Pan"},
            {"locale": "de_DE", "scope": None, "data": "Pfanne"},
        ]
    }
    document = {"_links": {"self": {"href": "x"}}, "_embedded": {"items": [{**item, "values": values}]}}
    for indent in (None, 1):
        text = json.dumps(document, indent=indent)
        products, refused = read(text, "p.json", format="akeneo", locale="de_DE")
        assert ([product["name"] for product in products], refused) == (["Pfanne"], [])


def test_a_dump_of_a_database():
    def row(model, key, **fields):
        return {"model": model, "pk": key, "fields": fields}

    rows = [
        row(
            "product.product",
            7,
            name="Iron Pan",
            category=2,
            description={"blocks": [{"data": {"text": "Cast <b>iron</b>."}}]},
        ),
        row("product.category", 1, name="Home", parent=None),
        row("product.category", 2, name="Pans", parent=1),
        row("attribute.attribute", 3, name="Material"),
        row("attribute.attributevalue", 4, name="Iron", attribute=3),
        row("attribute.assignedproductattributevalue", 5, value=4, product=7),
        row("product.productvariant", 8, name="24 cm", product=7),
    ]
    products, _ = read(json.dumps(rows, indent=1), "dump.json", format="saleor")
    assert [{name: product[name] for name in ("id", "name", "category", "attributes")} for product in products] == [
        {"id": "7", "name": "Iron Pan", "category": "Home > Pans", "attributes": "Material: Iron"}
    ]


def test_suites_of_fixtures():
    text = """
sylius_fixtures:
  suites:
    default:
      fixtures:
        pans_taxon: {name: taxon, options: {custom: [{name: Pans, code: pans}]}}
        pans_product:
          name: product
          options:
            custom:
              - {name: Iron Pan, main_taxon: pans, taxons: [pans], product_attributes: {pan_brand: Norvik, size: 0.24}}
"""
    products, _ = read(text, "pans.yaml", format="sylius")
    assert [(product["name"], product["category"], product["brand"]) for product in products] == [
        ("Iron Pan", "pans", "Norvik")
    ]


def test_metadata_of_reviewed_items():
    row = {"parent_asin": "B01", "main_category": "Home", "title": "Iron Pan", "description": ["Cast.", "Iron."]}
    row |= {
        "features": ["Heavy"],
        "categories": ["Home", "Pans"],
        "store": "Norvik",
        "details": {"Color": "Black"},
        "price": 9.5,
    }
    products, _ = read(json.dumps(row), "meta.jsonl", format="amazon_reviews")
    assert products == [
        {
            "id": "B01",
            "name": "Iron Pan",
            "description": "Cast.\nIron.\nHeavy",
            "category": "Home > Pans",
            "brand": "Norvik",
            "attributes": "Color: Black",
            "price": "9.5",
        }
    ]


def test_every_system_has_a_test():
    tested = {export.partition(",")[0] for export in EXPORTS} | {"schema_org", "saleor", "amazon_reviews"}
    assert set(PLATFORMS) - tested == {"google_retail"}


def test_a_retail_catalogue():
    row = {"id": "pan", "title": "Iron Pan", "brands": ["Norvik"], "categories": ["Home > Pans"]}
    row |= {"attributes": [{"key": "material", "value": {"text": ["Iron", "Steel"]}}]}
    variant = {"id": "pan-24", "title": "Iron Pan", "type": "VARIANT", "primaryProductId": "pan"}
    products, _ = read("\n".join(map(json.dumps, [row, variant])), "p.jsonl", format="google_retail")
    assert [(product["id"], product["category"], product["attributes"]) for product in products] == [
        ("pan", "Home > Pans", "Material: Iron, Steel")
    ]
