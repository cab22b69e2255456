"""The page in a browser: what a person sees and does, and that nothing of a shop's texts is ever more than text."""

import pytest

from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.keys import make_key, write_line
from tests.serving.browser import BROWSER, open_browser, serve_gateway
from tests.serving.made_model import MadeModel
from tests.serving.made_shop import HOSTILE_HTML, open_catalogue

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

KEY, LINE = make_key("person")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    return open_catalogue(tmp_path_factory.mktemp("index"))


@pytest.fixture
def model():
    model = MadeModel()
    model.pieces = ["[1]", "[2]", " It heats", " <b>evenly</b>."]
    return model


@pytest.fixture
def shop(model, catalogue, tmp_path):
    with serve_gateway(model, tmp_path, catalogue=catalogue) as url:
        yield url


def test_search_filter_product_compare_and_chat(page, shop):
    page.resize(1280, 900)
    page.open(shop)
    page.wait("document.querySelectorAll('.cards .card').length == 4")
    page.press("/", "/")
    assert page.run("document.activeElement.id") == "query"
    page.type("#query", "skillet")
    page.wait("document.querySelectorAll('.cards .card').length == 1")
    page.wait_text("h1", "skillet")
    page.run("location.hash = '#/'")
    page.wait("document.querySelectorAll('.cards .card').length == 4")
    page.run("[...document.querySelectorAll('.filters label')].find(one => one.innerText.includes('steel')).click()")
    page.wait("document.querySelectorAll('.cards .card').length == 2")
    page.run("document.querySelectorAll('.cards input').forEach(one => one.click())")
    page.click("#tray > button:not(:disabled)")
    page.wait_text("h1", "Compare")
    page.wait("document.querySelectorAll('tr.differs').length > 1")
    page.run("[...document.querySelectorAll('thead a')].find(one => one.innerText.includes('pan')).click()")
    page.wait_text("h1", "Steel pan, 28 cm")
    page.wait_text("article", "Buyers like that it heats evenly.")
    page.wait_text("tr:has(meter)", "Steel")
    page.wait_text("tr:has(meter)", "94 %")
    assert page.run("document.querySelectorAll('meter').length") == 1
    page.type("#question", "Does it cook well?")
    page.wait_text(".message.theirs", "Review of Steel pan")
    assert page.run("document.querySelector('.message.theirs').firstChild.outerHTML").startswith(
        '<a href="#/product/p1"'
    )
    assert page.run("document.querySelector('.message.theirs b')") is None
    page.click(".cites li:nth-child(2) a")
    page.wait_text("blockquote.cited", "even on induction")
    assert page.troubles == []


def test_a_hostile_product_is_text(page, shop):
    page.open(f"{shop}/#/product/p4")
    page.wait_text("h1", HOSTILE_HTML)
    page.wait_text(".chips, td", "<i>red</i>")
    assert page.run("document.title").startswith("Hostile lamp <img")
    assert page.run("document.querySelectorAll('main img, main script, main b, main i, main u').length") == 0
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run(
        "[...document.querySelectorAll('.data')].every(one => getComputedStyle(one).unicodeBidi.startsWith('isolate'))"
    )
    page.resize(390, 800)
    page.run("location.hash = '#/'")
    page.wait("document.querySelectorAll('.cards .card').length == 4")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.resize(1280, 900)
    assert page.troubles == []


def test_the_policy_keeps_a_script_of_others_from_running(page, shop):
    page.open(shop)
    page.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))")
    assert page.run("window.ran") is None
    assert any("Content Security Policy" in one for one in page.troubles)
    page.troubles.clear()


def test_a_key_is_asked_for_and_used(page, model, catalogue, tmp_path):
    with serve_gateway(model, tmp_path, keys=[write_line(LINE)], catalogue=catalogue) as url:
        page.open(url)
        page.wait("document.querySelector('dialog').open")
        page.type("#key", "esk-wrong")
        page.wait_text("#key-text", "does not hold")
        page.type("#key", KEY)
        page.wait("document.querySelectorAll('.cards .card').length == 4")
        assert page.run("localStorage.length") == 0
        page.run("sessionStorage.clear()")


def test_too_many_requests_are_told_with_the_time_to_wait(page, model, catalogue, tmp_path):
    key, line = make_key("meagre", requests_per_minute=1)
    with serve_gateway(model, tmp_path, keys=[write_line(line)], catalogue=catalogue) as url:
        page.open(url)
        page.wait("document.querySelector('dialog').open")
        page.type("#key", key)
        page.wait("document.querySelectorAll('.cards .card').length == 4")
        page.type("#query", "pan")
        page.wait_text("#notice", "more than this key may ask")
        page.wait_text("#notice", "Try again (")
        page.run("sessionStorage.clear()")


def test_while_the_model_starts_search_works_and_the_chat_says_so(page, model, catalogue, tmp_path):
    model.trouble = RefusalError(503, "not up")
    with serve_gateway(model, tmp_path, is_up=False, catalogue=catalogue) as url:
        page.open(url)
        page.wait("document.querySelectorAll('.cards .card').length == 4")
        page.type("#question", "Does the pan cook well?")
        page.wait_text(".message.trouble", "The model is being started")
        model.trouble = None
        page.wait(
            "(document.querySelector('.message.trouble button')?.click(),"
            "!!document.querySelector('.message.theirs .cites'))"
        )


class BreakingModel(MadeModel):
    """Breaks off in the middle of an answer, as long as it is told to."""

    def __init__(self):
        super().__init__()
        self.pieces = ["[1]", "[2]", " It heats", " evenly."]
        self.is_broken = True

    async def _stream(self, call, length):
        num_pieces = 0
        async for events in super()._stream(call, length):
            yield events
            num_pieces += 1
            if self.is_broken and num_pieces == 3:
                raise RefusalError(503, "the model broke off")


def count(page, selector):
    return page.run(f"document.querySelectorAll('{selector}').length")


def ask_in_vain(page, url):
    page.resize(1280, 900)
    page.open(url)
    page.wait("document.querySelectorAll('.cards .card').length == 4")
    page.type("#question", "Does the pan cook well?")
    page.wait_text(".message.trouble", "the model broke off")


def test_a_question_whose_answer_broke_off_is_asked_again_in_its_place(page, catalogue, tmp_path):
    model = BreakingModel()
    with serve_gateway(model, tmp_path, catalogue=catalogue) as url:
        ask_in_vain(page, url)
        assert (count(page, ".message.mine"), count(page, ".message.theirs")) == (1, 2)
        model.is_broken = False
        page.click(".message.trouble button")
        page.wait("!!document.querySelector('.message.theirs .cites')")
        assert (count(page, ".message.mine"), count(page, ".message.theirs")) == (1, 1)
        assert page.run("chat.map(one => one.role).join()") == "user,assistant"


def test_while_an_answer_streams_no_other_question_is_asked_again(page, catalogue, tmp_path):
    model = BreakingModel()
    with serve_gateway(model, tmp_path, catalogue=catalogue) as url:
        ask_in_vain(page, url)
        model.pause = 30.0
        page.type("#question", "Is the pan heavy?")
        page.wait("!!document.querySelector('.message.waiting')")
        page.run("document.querySelector('.message.trouble button').click()")
        assert (count(page, ".message.mine"), count(page, ".message.trouble button:disabled")) == (2, 1)
        page.click("#send")
        page.wait("document.getElementById('send').textContent == 'Ask'")
        assert count(page, ".message.trouble button:disabled") == 0
        assert page.run("chat.length") == 0


def test_the_most_frequent_values_of_a_filter_are_offered(page, shop):
    """Browsers order the names in an object by their own rule where they are numbers."""
    page.open(shop)
    values = [["41", 90], ["7", 50], *([str(number), 1] for number in range(100, 120))]
    drawn = f"drawFilters([['size', {values}]], new URLSearchParams())"
    texts = page.run(f"[...{drawn}.querySelectorAll('label')].map(one => one.textContent).join()")
    assert texts.startswith("4190,750,1001,")
    assert len(texts.split(",")) == 12


def test_without_a_connection_or_a_catalogue_it_says_so(page, model, shop, tmp_path):
    page.open(shop)
    page.wait("document.querySelectorAll('.cards .card').length == 4")
    page.set_offline(True)
    page.run("location.hash = '#/product/p1'")
    page.wait_text("#notice", "cannot be reached")
    page.set_offline(False)
    page.click("#notice button")
    page.wait_text("h1", "Steel pan")
    with serve_gateway(model, tmp_path) as url:
        page.open(url)
        page.wait_text("main", "no catalogue to search")
