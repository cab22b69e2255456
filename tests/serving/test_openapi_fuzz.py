"""Requests of all kinds, made up from the OpenAPI page, good and bad: every answer is one that the page tells of."""

import asyncio
import re
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.openapi import describe_api
from tests.serving.made_model import MadeModel, build_gateway
from tests.serving.made_shop import open_catalogue

schemathesis = pytest.importorskip("schemathesis", reason="`schemathesis` of environments/dev.txt is not installed")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
]
URL = "http://127.0.0.1:8000"
KEY, LINE = make_key("fuzz")
GATEWAYS = []


async def app(scope, receive, send):
    """The gateway of this module, as a client on this machine reaches it."""
    await GATEWAYS[-1]({**scope, "client": ("127.0.0.1", 4711)}, receive, send)


SCHEMA = schemathesis.openapi.from_dict(describe_api("eshop"))
SCHEMA.app = app
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
OF_OTHER_TASKS = re.compile(r".* /v1/tasks/(?!classification)")
FEW = [operation for operation in OPERATIONS if not OF_OTHER_TASKS.match(operation.label)]
"""Tasks share their code: one of them stands for all where there is little time."""


@pytest.fixture(scope="module", autouse=True)
def gateway(tmp_path_factory):
    """With a key, and a shop."""
    folder = tmp_path_factory.mktemp("fuzz")
    model = MadeModel()
    model.usual_tokens = 2
    catalogue = open_catalogue(folder / "index")
    gateway, readiness, _ = build_gateway(model, folder, keys=[write_line(LINE)], catalogue=catalogue)
    asyncio.run(readiness.wait())
    GATEWAYS.append(gateway)


def try_out(operation, number):
    """Ask many times, with what the page allows and with what it does not."""

    def ask(case):
        headers = {**case.headers, "Authorization": f"Bearer {KEY}"}
        case.call_and_validate(base_url=URL, checks=CHECKS, headers=headers)

    for mode in GenerationMode:
        check = given(case=operation.as_strategy(generation_mode=mode))(ask)
        with suppress(Unsatisfiable):  # nothing about it can be wrong
            settings(max_examples=number, database=None, derandomize=True, suppress_health_check=list(HealthCheck))(
                check
            )()


@pytest.mark.parametrize("operation", FEW, ids=lambda operation: operation.label)
def test_every_answer_is_one_that_the_page_tells_of(operation):
    try_out(operation, 4)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_many_more_of_them(operation):
    try_out(operation, 100)
