"""The contract of every sub-task: a new file in `builders/` is under it by being there."""

import re
import string
from collections import Counter
from dataclasses import replace

import pytest
from scipy import stats

from eshop_ray.data.instructions.builders import get_subtask, load_subtasks
from eshop_ray.data.instructions.builders.queries import CORE
from eshop_ray.data.instructions.builders.reviews import cut
from eshop_ray.data.instructions.builders.titles import hide_title
from eshop_ray.data.instructions.content_words import find_content
from eshop_ray.data.instructions.draw import make_draw
from eshop_ray.data.instructions.material import (
    Category,
    Product,
    Relation,
    ReviewSummary,
    Search,
    TaggedText,
    Translation,
    fold,
    read_material,
    text_key,
    write_material,
)
from eshop_ray.data.instructions.pool import Pool
from eshop_ray.data.instructions.question import Choice, Question, Text
from eshop_ray.data.instructions.render import UnaskableError, build_messages, render, task_of
from eshop_ray.errors import UserError
from eshop_ray.tasks import get_task
from eshop_ray.tasks.heads import read_options
from eshop_ray.tasks.metrics import get_metric

NAMES = (
    *("category_generation", "category_matching", "attribute_generation", "bullet_generation", "complements_matching"),
    *("exact_match_judgement", "next_item_generation", "description_generation", "title_generation"),
    *("query_generation", "answer_generation", "category_classification", "category_identification"),
    *("next_item_selection", "complements_selection", "substitutes_selection", "product_relation_prediction"),
    *("answerability_prediction", "product_substitute_identification", "product_matching", "sentiment_analysis"),
    *("multiclass_product_classification", "session_selection", "attribute_extraction", "attribute_value_extraction"),
    *("query_product_rank", "relevant_item_retrieval", "complements_retrieval", "substitutes_retrieval"),
    *("product_retrieval", "sequential_recommendation", "session_retrieval", "query_relation", "review_rating"),
    *("product_qa", "query_product_ranking", "others"),
)
"""The 37 sub-tasks of the published set."""
EXACT = {"accuracy", "hit rate@3", "ndcg", "micro f1"}
"""Metrics that need no model to see that a right answer is right."""

every_subtask = pytest.mark.parametrize("name", list(load_subtasks()))


def ask(subtask, seed=0):
    """Yield (question, language, rendered) of a sub-task's own stock, each in every language that fits."""
    pool = Pool(subtask.examples)
    for one in subtask.examples:
        for number, question in enumerate(subtask.build(one, pool, make_draw(seed, subtask.name, one.id))):
            languages = [question.language] if question.language else list(subtask.wordings)
            for language in languages:
                draw = make_draw(seed, subtask.name, one.id, number)
                try:
                    yield question, language, render(question, subtask, language, seed % 5, draw)
                except UnaskableError:
                    continue


def test_the_published_sub_tasks_are_all_there():
    assert len(NAMES) == 37
    assert set(NAMES) <= set(load_subtasks())


@every_subtask
def test_its_stock_gives_questions_whose_answers_are_read_back_and_right(name):
    subtask = get_subtask(name)
    rows = list(ask(subtask))
    assert rows
    for question, _, rendered in rows:
        task = get_task(task_of(question))
        messages = build_messages(task.name, rendered.prompt, rendered.target)
        prediction = task.parse(messages[-1]["content"])
        metric = question.metric or subtask.metric or task.metric
        if metric in EXACT:
            assert get_metric(metric).score_rows([rendered.target], [prediction]) == [1.0]
        else:
            first = rendered.target if isinstance(rendered.target, str) else rendered.target[0]
            assert prediction == first


@every_subtask
def test_it_is_worded_in_five_ways_and_one_that_is_held_out(name):
    subtask = get_subtask(name)
    for wordings in subtask.wordings.values():
        assert len(set(wordings)) == len(wordings) >= 6
        names = [{field for _, field, _, _ in string.Formatter().parse(text) if field} for text in wordings]
        assert all(one == names[0] for one in names), "wordings that differ in what they tell"


@every_subtask
def test_options_are_distinct_and_numbered_as_the_parser_counts(name):
    for question, _, rendered in ask(get_subtask(name)):
        if rendered.num_options:
            found = read_options(rendered.prompt)
            assert found is not None
            assert found.first == (1 if task_of(question) == "ranking" else 0)
            assert len({fold(option) for option in found.candidates}) == len(found.candidates) == rendered.num_options


@every_subtask
def test_the_answer_does_not_stand_in_the_question(name):
    for question, _, rendered in ask(get_subtask(name)):
        if isinstance(question.answer, Text) and not question.answer.is_quotable:
            assert fold(question.answer.text) not in fold(rendered.prompt)
        if isinstance(question.answer, Choice):
            (number,) = [rendered.target]
            assert not re.search(
                rf"(?:option|number|answer|nummer|réponse)\D{{0,3}}{number}\b", rendered.prompt.lower()
            )


@every_subtask
def test_the_right_option_stands_at_each_place_as_often(name):
    places = Counter()
    subtask = get_subtask(name)
    for seed in range(60):
        for question, language, rendered in ask(subtask, seed):
            if isinstance(question.answer, Choice) and language == "en":
                places[rendered.num_options, rendered.position] += 1
    for number in {number for number, _ in places}:
        assert stats.chisquare([places[number, place] for place in range(number)]).pvalue > 1e-4


@every_subtask
def test_it_asks_the_same_whatever_the_order_of_the_stock(name):
    subtask = get_subtask(name)
    pools = [Pool(stock) for stock in (subtask.examples, subtask.examples[::-1])]
    for one in subtask.examples:
        first, second = (list(subtask.build(one, pool, make_draw(name, one.id))) for pool in pools)
        assert first == second


@every_subtask
def test_its_material_travels_as_text(name):
    for one in get_subtask(name).examples:
        assert read_material(type(one).__name__, write_material(one)) == one


def test_the_nearest_sub_task_is_named():
    with pytest.raises(UserError, match="did you mean `title_generation`"):
        get_subtask("titel_generation")


def test_another_size_of_a_product_is_no_complement_of_it():
    title = "Pink Ribbon Pocket Print Ladies V-neck T-shirt Black"
    shirt = Relation(id="1", first=f"{title}, XL", second=f"{title}, Large", relation="also_bought")
    belt = Relation(id="2", first=f"{title}, XL", second="Leather Belt", relation="also_bought")
    build = get_subtask("complements_matching").build
    asked = [question for one in (shirt, belt) for question in build(one, Pool([shirt, belt]), make_draw(1))]
    assert [question.answer.text for question in asked] == ["Leather Belt"]


def test_categories_are_asked_in_the_languages_that_all_of_them_have():
    home, bath = category("Home"), category("Home", "Bath")
    kitchen = replace(category("Home", "Kitchen"), path={"en": ("Home", "Kitchen"), "de": ("Zuhause", "Küche")})
    pans = replace(category("Home", "Kitchen", "Pans"), path={"en": ("Home", "Kitchen", "Pans")})
    pool = Pool([home, bath, kitchen, pans, *(category("Home", "Bath", name) for name in ROOMS)])
    asked = [
        question.language
        for one in (home, bath, kitchen)
        for question in get_subtask("subcategory_retrieval").build(one, pool, make_draw(1))
    ]
    assert set(asked) == {"en"}


def test_japanese_is_scored_by_its_words():
    (subtask, pool) = (get_subtask("others"), Pool([]))
    metrics = {}
    for language in ("Japanese", "German"):
        one = Translation(id="1", text="Red Mug", translated="x", target_language=language)
        (question,) = subtask.build(one, pool, make_draw(1))
        metrics[language] = question.metric or subtask.metric
    assert metrics == {"Japanese": "jp-bleu", "German": "bleu"}


def category(*path):
    return Category(id=" > ".join(path), path={"en": path}, attributes={})


ROOMS = ("Kitchen", "Bath", "Hall", "Cellar", "Office", "Attic")


def test_no_parent_of_a_namesake_is_a_wrong_answer():
    accessories = [category("Home", room, "Accessories") for room in ROOMS[:3]]
    others = [category("Home", room, f"{room} shelves") for room in ROOMS]
    pool = Pool([*accessories, *others])
    for seed in range(20):
        (question,) = get_subtask("parent_category_selection").build(accessories[0], pool, make_draw(seed))
        assert question.answer.right == "Kitchen"
        assert sorted(question.answer.wrong) == ["Attic", "Cellar", "Office"]


def test_no_child_of_a_namesake_and_no_namesake_of_a_child_is_a_wrong_answer():
    kitchen = category("Home", "Kitchen", "Accessories")
    children = [category("Home", "Kitchen", "Accessories", name) for name in ("Hooks", "Rings")]
    doubtful = [category("Home", "Bath", "Accessories", "Ducks"), category("Home", "Hall", "hooks")]
    pool = Pool([kitchen, *children, *doubtful, *(category("Home", room, f"{room} shelves") for room in ROOMS)])
    for seed in range(20):
        (question,) = get_subtask("subcategory_retrieval").build(kitchen, pool, make_draw(seed))
        assert set(question.answer.right) <= {"Hooks", "Rings"}
        assert not {"Ducks", "hooks"} & set(question.answer.wrong)


def test_words_are_compared_in_their_singular_and_without_grammar():
    assert find_content("The Bottles for your dresses, glasses and the batteries") == {
        *("bottle", "dress", "glass", "battery")
    }
    assert find_content("\u9769\u306e\u9774") == find_content("\u9774 \u9769")
    assert find_content("Flaschen f\u00fcr die K\u00fcche") & find_content("K\u00fcche") == {"k\u00fcche"}


def search(number, query, **results):
    titles = tuple((title, label) for label, own in results.items() for title in own)
    return Search(id=str(number), query=query, results=titles)


def collect_wrong(name, one, others):
    """Return every wrong option of a sub-task's questions about a query, over several draws."""
    found = set()
    for seed in range(20):
        for question in get_subtask(name).build(one, Pool([one, *others]), make_draw(seed)):
            answer = question.answer
            graded = getattr(answer, "options", ())
            found |= {title for title, gain in graded if gain == 0} if graded else set(answer.wrong)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "substitutes_selection",
        "substitutes_retrieval",
        "complements_retrieval",
        "product_retrieval",
        "query_product_rank",
    ],
)
def test_a_product_of_another_query_that_may_answer_this_one_is_no_wrong_option(name):
    own = {"Exact": ["Alva Bluetooth Speaker"], "Substitute": ["Wired Speaker Set"], "Complement": ["Speaker Stand"]}
    others = [
        search(2, "headphones", Exact=["LETSCOM Bluetooth Headphones", "Alva Wired Headphones"]),
        search(3, "gift for him", Irrelevant=["Garden Gnome"], Exact=["Wired Speaker Set of Alva"]),
        search(4, "steel bottle for the kitchen", Substitute=["Carafe"], Exact=["Nordvik Steel Bottle"]),
    ]
    wrong = collect_wrong(name, search(1, "the bluetooths", **own), others)
    assert wrong - {title for titles in own.values() for title in titles} == {
        "Alva Wired Headphones",
        "Nordvik Steel Bottle",
    }


def test_what_shares_words_of_grammar_only_is_another_query():
    kettle = search(2, "kettle for the kitchen", Exact=["Copper Kettle"])
    lamp = search(1, "lamp for the desk", Complement=["Light Bulb"])
    assert collect_wrong("complements_selection", lamp, [kettle]) == {"Copper Kettle"}


def test_a_variant_is_no_wrong_answer_to_a_description():
    told = "A bottle of steel that keeps tea hot for twelve hours."
    bottles = [
        Product(id=str(number), title=title, description=description)
        for number, (title, description) in enumerate(
            (
                ("Nordvik Steel Bottle With Lid And Handle In Red 500 ml", told),
                ("Nordvik Steel Bottle With Lid And Handle In Red 1000 ml", "Another text about a bottle of steel."),
                ("Twin", told),
                ("Lamp", "A lamp that lights a room for years."),
            )
        )
    ]
    assert collect_wrong("product_retrieval", bottles[0], bottles[1:]) == {"Lamp"}


def query(number, text, core, **spans):
    return TaggedText(
        id=str(number), text=text, spans={CORE: (core,), **{k: (v,) for k, v in spans.items()}}, is_query=True
    )


def test_another_kind_of_product_shares_no_word_with_the_query_and_both_queries_are_named():
    jogger = query(1, "ma croix jogger pants mens", "jogger pants", department="mens")
    others = [query(2, "linen pants", "pants"), query(3, "jogger", "jogger"), query(4, "wool scarf", "scarf")]
    asked = {}
    for seed in range(40):
        for question in get_subtask("query_relation").build(jogger, Pool([jogger, *others]), make_draw(seed)):
            asked[question.answer.right] = question
    assert len(asked) == 3
    for right, question in asked.items():
        first, second = question.values["first"], question.values["second"]
        assert question.keys == (text_key(first), text_key(second))
        assert second == "ma croix scarf mens" or "another kind" not in right


def test_what_may_be_searched_for_is_not_graded_as_nothing():
    shirt = Product(id="0", title="Nordvik Linen Shirt", category="Apparel > Men > Shirts")
    doubtful = [
        Product(id="1", title="Alva Linen Shirt"),
        Product(id="2", title="Alva Shirt of Linen", category="Sale > Last chance"),
        Product(id="3", title="Alva Blouse", category="Apparel > Women > Shirts"),
    ]
    sure = [
        Product(id=f"{category} {number}", title=f"{noun} {number}", category=category)
        for category, noun in (("Apparel > Socks", "Sock"), ("Home > Pans", "Pan"))
        for number in range(3)
    ]
    for seed in range(20):
        (question,) = get_subtask("query_product_ranking").build(
            shirt, Pool([shirt, *doubtful, *sure]), make_draw(seed)
        )
        assert question.answer.options[0] == ("Nordvik Linen Shirt", 1.0)
        assert not {one.title for one in doubtful} & {title for title, _ in question.answer.options}


@pytest.mark.parametrize(
    ("title", "description", "hidden"),
    [
        ("Mug", "A company smuggles mugs. The mug is Mug.", "A company smuggles mugs. The [product] is [product]."),
        ("Mug (blue)", "Mug (blue)s, a mug (blue), it", "Mug (blue)s, a [product], it"),
        ("\u9769\u9774", "\u3053\u306e\u9769\u9774\u306f\u9ed2\u3044", "\u3053\u306e[product]\u306f\u9ed2\u3044"),
    ],
)
def test_titles_are_hidden_where_they_are_words(title, description, hidden):
    assert hide_title(Product(id="1", title=title, description=description)) == hidden


@pytest.mark.parametrize("category", ["", "Home > Mugs"])
def test_a_product_without_a_category_is_asked_about_without_one(category):
    mug = Product(id="1", title="Steel Mug", category=category, description="A mug of steel that lasts for years.")
    subtask = get_subtask("description_generation")
    (question,) = subtask.build(mug, Pool([mug]), make_draw(0))
    for wording in range(len(subtask.wordings["en"])):
        prompt = render(question, subtask, "en", wording, make_draw(0)).prompt
        assert ("Steel Mug (Home, Mugs)" in prompt) == bool(category)
        assert "()" not in prompt


@pytest.mark.parametrize("values", [{"query": " "}, {"query": "x", "title": ""}])
def test_a_question_of_which_a_part_is_missing_is_not_asked(values):
    subtask = get_subtask("multiclass_product_classification")
    question = Question({"query": "x", "title": "y", **values}, Choice("a", ["b"]))
    with pytest.raises(UnaskableError, match="is empty"):
        render(question, subtask, "en", 0, make_draw(0))


def test_reviews_that_are_summed_up_are_shown_whole_where_there_is_room_and_end_on_a_word():
    short, long = "Keeps tea hot. I like it a lot.", "It leaks into my bag, every single day. " * 50
    one = ReviewSummary(id="1", reviews=(short, long, long.upper()), summaries=("Leaks.",))
    (question,) = get_subtask("review_summary_generation").build(one, Pool([one]), make_draw(0))
    shown = question.values["reviews"].split(" | ")
    assert shown[0] == short
    assert [len(text) // 100 for text in shown[1:]] == [14, 14]
    assert all(text.endswith(("day.", "DAY.")) for text in shown[1:])
    eight = ReviewSummary(id="2", reviews=(long[:300],) * 8, summaries=("Leaks.",))
    (question,) = get_subtask("review_summary_generation").build(eight, Pool([eight]), make_draw(0))
    assert question.values["reviews"].split(" | ") == [long[:300]] * 8


def test_a_text_is_cut_at_a_sentence_or_at_a_blank():
    assert cut("One two. Three four. Five six", 22) == "One two. Three four."
    assert cut("One. two three four five six", 20) == "One. two three..."
    assert cut("12.5 litres and 3.7 kilogrammes", 20) == "12.5 litres and..."
    assert cut("One two", 7) == "One two"
