"""The type of a question, from its text alone."""

import pytest

from eshop_ray.evaluation.shopbench.task_types import TASK_TYPES, infer_task_type, is_arithmetic
from eshop_ray.sample_shop.products import make_product
from eshop_ray.sample_shop.questions import make_questions

OPTIONS = "\n0. lamp\n1. tent\n2. scarf\n3. mug\n"
LISTED = "\n1. lamp\n2. tent\n3. scarf\n4. mug\n5. fan\n"

CASES = {
    "multiple_choice": [
        f"Which product keeps rain off?{OPTIONS}Answer: ",
        f"Given the product 'Rank Up Chess, Yes or No Edition', what is it?{OPTIONS}Answer: ",
        f"Which two things does a hiker need most? Answer with the best option.{OPTIONS}Answer:",
        f"Evaluate the titles of both products and say how they relate.{OPTIONS}Answer: ",
        f"A shop sold all 12 items at a discount. How many are left?{OPTIONS}Answer: ",
        "Rate the following review on a scale of 1 to 5.\nInput: Fine mug.\nOutput:",
        "Which keywords fit this mug best? It is red. 0. red, mug 1. blue, tent 2. green, fan 3. old, lamp",
    ],
    "classification": [
        "Does the product fit the query? Only output yes or no.\nQuery: tent\n Product: mug\n Answer:",
        "Respond with yes if both are the same product, and no if they are not.\nproduct 1: a\nproduct 2: b",
    ],
    "ranking": [
        f"Rank the products by their relevance to the query 'tent'.{LISTED}Output: ",
        f"Sort these products for somebody who typed 'tent'.{LISTED}Output:",
        f"Order the five products from most to least relevant.{LISTED}Output:",
        f"Products:{LISTED}You should output a permutation of 1 to 5.\nOutput:",
    ],
    "retrieval": [
        f"Select 3 products that go with a rope.{LISTED}Output:",
        f"List the product indices, separating them with commas.\nProducts: 0. a rope{OPTIONS[1:]}Output:",
        f"Choose three aspects that the review covers. ONLY output three numbers.\nReview: fine{LISTED}Output:",
        "Which fit a campsite?\n" + "\n".join(f"{number}. thing" for number in range(15)) + "\nOutput:",
    ],
    "ner": [
        "Please extract phrases that correspond to the entity type 'brand'.\nQuery: nordvik tent\nOutput: ",
        "List the attribute value corresponding to 'color' mentioned in the query.\nQuery: red mug\nOutput: ",
        "Locate the 'Brand' in the following product title: 'Nordvik Tent'.",
        "Considering the product title 'Nordvik Tent', select the appropriate 'Brand'.",
    ],
    "generation": [
        "Explain the product type Tutu.\nOutput:",
        "Identify four key terms from the product title and description.\nTitle: Tent\nOutput:",
        "Write a title for the review.\nReview: I rank it first of all 5 products. Yes or no? Yes.\nOutput:",
        "Translate the product title 'Entity Tent' into German.\nOutput: ",
        "",
    ],
}


@pytest.mark.parametrize(("task_type", "prompt"), [(name, prompt) for name, some in CASES.items() for prompt in some])
def test_wording_tells_the_type(task_type, prompt):
    assert infer_task_type(prompt) == task_type


def test_all_types_have_cases():
    assert set(CASES) == set(TASK_TYPES)


def test_sample_shop_is_told_apart():
    published = {"multiple-choice": "multiple_choice", "named_entity_recognition": "ner"}
    found = [question for number in range(60) for question in make_questions(0, make_product(0, number))]
    wrong = [
        (one["task_type"], one["input_field"])
        for one in found
        if infer_task_type(one["input_field"]) != published.get(one["task_type"], one["task_type"])
    ]
    assert len(found) > 200
    assert not wrong


@pytest.mark.parametrize(
    ("prompt", "is_sum"),
    [
        ("A pack of 6 holds 9 ounces each. What is the total weight?\n0. 8 ounce\n1. 54 ounce\nAnswer:", True),
        ("Tom had 7 coins and got 5. How many does he have?\n0. 12.0\n1. 5.0\n2. 7.0\nAnswer:", True),
        ("What is the total weight?\n0. heavy\n1. light\n2. 3 ounce\nAnswer:", False),
        ("Which size fits?\n0. 8 ounce\n1. 54 ounce\nAnswer:", False),
        ("How many tents are there?", False),
    ],
)
def test_sums_are_told_from_other_choices(prompt, is_sum):
    assert is_arithmetic(prompt) is is_sum
