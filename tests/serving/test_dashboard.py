"""Every metric and label that the dashboard asks for is exported: by the gateway, by Ray Serve or by vLLM."""

import ast
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import pytest

from eshop_ray.inference.engines.serve_app import DEPLOYMENT_PREFIX, SERVE_APP
from eshop_ray.serving.metrics import METRICS

promql = pytest.importorskip("promql_parser", reason="`promql-parser` of environments/dev.txt is not installed")

PATH = Path(__file__).parents[2] / "docs" / "grafana" / "serving.json"
DASHBOARD = json.loads(PATH.read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
"""Kind -> what Prometheus has behind the name."""
OF_REPLICA = {"deployment", "replica", "application"}
"""Labels that Ray Serve adds to what a replica measures."""


def list_names(name, kind, labels):
    """Yield (name, labels) as Prometheus has them."""
    for suffix in SUFFIXES[kind]:
        yield f"ray_{name}{suffix}", set(labels) | ({"le"} if suffix == "_bucket" else set())


def find_source(package, *parts):
    """Return the files of an installed package that define metrics; nothing of it is imported."""
    (root,) = importlib.util.find_spec(package).submodule_search_locations
    return [path.read_text() for path in Path(root, *parts[:-1]).glob(parts[-1])]


def read_ray_serve():
    """Yield the metrics of Ray Serve whose labels stand where they are made."""
    for text in find_source("ray", "serve", "_private", "*.py"):
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            kind = ast.unparse(call.func).rpartition(".")[2].lower()
            if kind not in SUFFIXES or not call.args:
                continue
            name = ast.unparse(call.args[0]).replace("{protocol_name}", "http").removeprefix("f").strip("'\"")
            keys = next((option.value for option in call.keywords if option.arg == "tag_keys"), None)
            if isinstance(keys, ast.Tuple):
                yield from list_names(name, kind, ast.literal_eval(keys))


def read_vllm():
    """Yield the metrics of vLLM's engine, as its logger for Ray names them."""
    (text,) = find_source("vllm", "v1", "metrics", "loggers.py")
    labels = {"ReplicaId", *ast.literal_eval(re.search(r"labelnames = (\[.*\])", text)[1])}
    for kind, name in re.findall(r"self\._(counter|gauge|histogram)_cls\(\s*name=\"vllm:(\w+)\"", text):
        yield from list_names(f"vllm_{name}", kind, labels)


@cache
def read_exported():
    """Return all that is exported: name -> labels."""
    ours = (one for metric in METRICS for one in list_names(metric.name, metric.kind, OF_REPLICA | set(metric.labels)))
    return {**dict(read_ray_serve()), **dict(read_vllm()), **dict(ours)}


def fill(text):
    """Return a query as Grafana sends it, with a value for each variable."""
    text = text.replace("$__rate_interval", "5m")
    return re.sub(r"\$\{?(\w+)\}?", lambda found: dict.fromkeys(VARIABLES, ".*")[found[1]], text)


def list_parts(expression):
    """Yield the expression and all inside it."""
    yield expression
    for name in ("lhs", "rhs", "expr", "vector_selector", "args", "param"):
        part = getattr(expression, name, None)
        for one in part if isinstance(part, list) else [part]:
            if one is not None and type(one).__module__.startswith("promql_parser"):
                yield from list_parts(one)


def read_selectors(query):
    """Return the metrics that a query reads, each with the labels that it names."""
    parts = list(list_parts(promql.parse(fill(query))))
    return [
        (part.name, {one.name for one in part.matchers.matchers})
        for part in parts
        if type(part).__name__ == "VectorSelector"
    ]


def read_grouping(query):
    """Return the labels that a query groups by."""
    parts = list_parts(promql.parse(fill(query)))
    modifiers = [part.modifier for part in parts if type(part).__name__ == "AggregateExpr" and part.modifier]
    return {label for modifier in modifiers for label in modifier.labels}


def find_unknown(query):
    """Return what a query names that is not exported."""
    unknown = set()
    for name, labels in read_selectors(query):
        known = read_exported().get(name)
        unknown |= {name} if known is None else (labels | read_grouping(query)) - known
    return unknown


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}-{target['refId']}" for title, target in TARGETS])
def test_a_panel_asks_for_what_is_exported(title, target):
    assert read_selectors(target["expr"]), f"{title}: no metric"
    assert not find_unknown(target["expr"]), f"{title}: {target['expr']}"


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("sum by (route) (rate(ray_eshop_requests_total[5m]))", set()),
        ("rate(ray_eshop_requests[5m])", {"ray_eshop_requests"}),
        ("sum by (path) (ray_eshop_requests_total)", {"path"}),
        ('ray_eshop_tokens_total{reason="x"}', {"reason"}),
        ("1 - ray_eshop_requests_in_hand / ray_vllm_nothing", {"ray_vllm_nothing"}),
        ("histogram_quantile(0.5, sum by (le) (rate(ray_eshop_request_duration_seconds_count[5m])))", {"le"}),
    ],
)
def test_what_is_not_exported_is_found(query, unknown):
    assert find_unknown(query) == unknown


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}-{target['refId']}" for title, target in TARGETS])
def test_a_legend_names_what_the_query_leaves(title, target):
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert shown == read_grouping(target["expr"]) - {"le"}, title


def test_counters_are_asked_for_their_rate_and_nothing_else():
    for title, target in TARGETS:
        for name in re.findall(r"(?<!rate\()(?<!increase\()\bray_\w+_(?:total|bucket)\b", target["expr"]):
            raise AssertionError(f"{title}: {name} only ever grows; ask for its rate")


def test_variables_are_labels_of_what_they_ask():
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            assert name == label
            assert label in read_exported()[metric]


def test_every_metric_of_the_gateway_is_shown():
    shown = {name for _, target in TARGETS for name, _ in read_selectors(target["expr"])}
    for metric in METRICS:
        assert any(name.startswith(metric.exported_name) for name in shown), metric.name


def test_deployments_are_asked_for_by_the_names_that_they_have():
    text = PATH.read_text()
    assert set(re.findall(r'application=\\"([^"\\]*)', text)) == {SERVE_APP}
    assert set(re.findall(r'deployment=~\\"([^"\\]*)', text)) == {f"{DEPLOYMENT_PREFIX}.*"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
