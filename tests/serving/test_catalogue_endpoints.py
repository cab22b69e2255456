"""`/v1/catalogue/...` before a real index."""

import asyncio

import pytest

from eshop_ray.data.search_index import Attribute, Document
from eshop_ray.serving.catalogue import count_facets
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.page import PAGES
from tests.serving.made_model import MadeModel, build_gateway, client_of
from tests.serving.made_shop import open_catalogue


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return open_catalogue(tmp_path_factory.mktemp("index"))


def get(folder, catalogue, path, **options):
    """Return what a client gets at an address."""
    params, headers = options.pop("params", None), options.pop("headers", {})

    async def run():
        async with client_of(MadeModel(), folder, catalogue=catalogue, **options) as http:
            return await http.get(path, params=params, headers=headers)

    return asyncio.run(run())


def list_ids(response):
    assert response.status_code == 200, response.text
    return [product["id"] for product in response.json()["data"]]


def test_search_finds_by_meaning_and_words_and_counts_attributes(tmp_path, catalogue):
    response = get(tmp_path, catalogue, "/v1/catalogue/search", params={"q": "skillet"})
    assert list_ids(response) == ["p1"]
    everything = get(tmp_path, catalogue, "/v1/catalogue/search")
    assert everything.json()["facets"] == [
        ["color", [["green", 1], ["blue", 1], ["<i>red</i>", 1]]],
        ["material", [["steel", 2]]],
        ["size", [["28 cm", 1]]],
    ]


def test_facets_come_by_frequency_whatever_they_are_called():
    sizes, year = ["41", "41", "41", "7", "7", "1"], Attribute("1999", "yes", "facts")
    documents = [
        Document(str(number), "", "", "", "", (Attribute("size", size, "facts"), *[year][number:]), ())
        for number, size in enumerate(sizes)
    ]
    assert count_facets(documents) == [("size", [("41", 3), ("7", 2), ("1", 1)]), ("1999", [("yes", 1)])]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"filter": ["material:STEEL", "color:green"]}, ["p2"]),
        ({"filter": "color:none"}, []),
        ({"q": "spade", "filter": "material:steel", "limit": 1}, ["p2"]),
        ({"q": "xyzzy"}, []),
    ],
)
def test_filters_and_limits(tmp_path, catalogue, params, expected):
    assert list_ids(get(tmp_path, catalogue, "/v1/catalogue/search", params=params)) == expected


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": "51"},
        {"limit": "very secret"},
        {"limit": "²"},
        {"filter": "very secret"},
        {"filter": ["a:b"] * 11},
        {"q": "very secret " * 50},
        {"very secret": "1"},
    ],
)
def test_bad_searches_are_refused_without_their_words(tmp_path, catalogue, params):
    response = get(tmp_path, catalogue, "/v1/catalogue/search", params=params)
    assert response.status_code == 400
    assert "very secret" not in response.text


def test_a_product_and_products_side_by_side(tmp_path, catalogue):
    product = get(tmp_path, catalogue, "/v1/catalogue/products/p1").json()
    assert product["summary"] == "Buyers like that it heats evenly."
    assert [review["id"] for review in product["reviews"]] == ["r1", "r2"]
    assert get(tmp_path, catalogue, "/v1/catalogue/products/p%2F3,4").json()["name"] == "Yoga mat"
    both = get(tmp_path, catalogue, "/v1/catalogue/compare", params={"ids": "p2,p1"}).json()
    assert [one["id"] for one in both["data"]] == ["p2", "p1"]
    assert {"name": "material", "values": ["steel", "Steel"]} in both["attributes"]
    assert {"name": "size", "values": [None, "28 cm"]} in both["attributes"]
    comma = get(tmp_path, catalogue, "/v1/catalogue/compare", params={"ids": ["p/3,4", "p1"]})
    assert [one["id"] for one in comma.json()["data"]] == ["p/3,4", "p1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/catalogue/products/very secret", 404),
        ("/v1/catalogue/products/%00%ff", 404),
        ("/v1/catalogue/compare", 400),
        ("/v1/catalogue/compare?ids=p1,very secret", 404),
        ("/v1/catalogue/compare?ids=1,2,3,4,5,6,7", 400),
        ("/v1/catalogue/none", 404),
    ],
)
def test_what_is_not_there(tmp_path, catalogue, path, status):
    response = get(tmp_path, catalogue, path)
    assert response.status_code == status
    assert "very secret" not in response.text


def test_a_shop_without_an_index_says_what_to_run(tmp_path):
    response = get(tmp_path, None, "/v1/catalogue/search")
    assert response.status_code == 404
    assert "eshop build-index" in response.json()["error"]["message"]


def test_an_index_in_trouble_is_503_and_nothing_of_the_question_is_logged(tmp_path, catalogue, monkeypatch, caplog):
    def fail(*_):
        raise OSError("a very secret question")

    monkeypatch.setattr(catalogue, "_index", type("Broken", (), {"search": fail})())
    response = get(tmp_path, catalogue, "/v1/catalogue/search", params={"q": "very secret"})
    assert response.status_code == 503
    assert "very secret" not in response.text + caplog.text


KEY, LINE = make_key("shop", requests_per_minute=2)


def test_the_guards_stand_before_it(tmp_path, catalogue):
    keys = [write_line(LINE)]
    assert get(tmp_path, catalogue, "/v1/catalogue/search", keys=keys).status_code == 401
    foreign = {"Origin": "http://evil.example"}
    assert get(tmp_path, catalogue, "/v1/catalogue/search", headers=foreign).status_code == 403

    async def run():
        async with client_of(MadeModel(), tmp_path, keys, KEY, catalogue=catalogue) as http:
            return [(await http.get("/v1/catalogue/search?q=pan")).status_code for _ in range(3)]

    assert asyncio.run(run()) == [200, 200, 429]


def test_the_catalogue_is_there_before_the_model(tmp_path, catalogue):
    import httpx

    async def run():
        model = MadeModel()
        model.trouble = RefusalError(503, "not up")
        gateway, _, _ = build_gateway(model, tmp_path, catalogue=catalogue)
        transport = httpx.ASGITransport(gateway, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return [(await http.get(path)).status_code for path in ("/v1/catalogue/search", "/", "/ready")]

    assert asyncio.run(run()) == [200, 200, 503]


def test_the_page_needs_no_key_and_may_load_nothing_from_elsewhere(tmp_path):
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for path in PAGES:
        response = get(tmp_path, None, path, keys=[write_line(LINE)], headers=linked)
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in response.text
        assert "innerHTML" not in response.text
    assert get(tmp_path, None, "/", headers={"Host": "evil.example"}).status_code == 403
