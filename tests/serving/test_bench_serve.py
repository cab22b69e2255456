"""The arithmetic of the endpoint's benchmark, and its clients before an endpoint that misbehaves."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eshop_ray.inference.engines.vllm_arguments import build_arguments
from tests.bench.serve.__main__ import PARTS, read_levels, read_parts, write_figures
from tests.bench.serve.clients import load, write_body
from tests.bench.serve.engines import ENGINE, PEER_OPTIONS
from tests.bench.serve.figures import (
    BROKEN,
    NOBODY,
    Got,
    compare_levels,
    compute_growth,
    compute_overhead,
    describe,
    find_gap,
    find_percentile,
    find_saturation,
    share_settled,
    write_options,
)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, None), ([3], 0.99, 3), ([1, 2, 3, 4], 0.5, 2), ([4, 3, 2, 1], 0.95, 4), (range(1, 101), 0.95, 95)],
)
def test_percentiles_are_values_that_occurred(values, share, expected):
    assert find_percentile(values, share) == expected


def test_a_level_counts_only_what_was_answered():
    got = [Got(0, 1, 2, 200, 4), Got(0, 2, 4, 200, 4), Got(0, None, 1, 503), Got(1, None, 4, BROKEN)]
    figures = describe(got)
    assert (figures["requests"], figures["answered"]) == (4, 2)
    assert figures["requests_per_second"] == 0.5
    assert figures["tokens_per_second"] == 2
    assert (figures["first_token_p50"], figures["first_token_p95"]) == (1, 2)
    assert (figures["latency_p50"], figures["latency_p99"]) == (2, 4)
    assert figures["answered_or_refused_share"] == 0.75


def test_an_answer_beyond_the_limit_is_none():
    got = [Got(0, None, 1, 200), Got(0, None, 9, 200), Got(0, None, 1, 429), Got(0, None, 1, 500)]
    assert share_settled(got) == 0.75
    assert share_settled(got, limit=5) == 0.5


def rates(**sides):
    return {
        side: {level: {"requests_per_second": rate} for level, rate in levels.items()} for side, levels in sides.items()
    }


def test_sides_are_compared_round_by_round_where_the_peer_answers_most():
    rounds = [
        rates(ours={"1": 1, "8": 8}, peer={"1": 2, "8": 10}),
        rates(ours={"1": 1, "8": 9}, peer={"1": 1, "8": 10}),
        rates(ours={"1": 3, "8": 5}, peer={"1": 1, "8": 10}),
    ]
    assert compare_levels(rounds, "ours", "peer") == {"1": 1, "8": 0.8}
    assert find_saturation(rounds, "peer") == "8"


def test_overhead_is_the_median_of_the_rounds_differences():
    rounds = [{"guarded": [0.004] * 20, "bare": [0.001] * 20}, {"guarded": [0.002] * 20, "bare": [0.001] * 20}]
    rounds.append({"guarded": [0.101] * 20, "bare": [0.001] * 20})
    assert compute_overhead(rounds) == pytest.approx(3)


def test_growth_is_that_of_what_grows_most():
    assert compute_growth({"proxy": 100, "replica": 200}, {"proxy": 150, "replica": 220}) == 1.5


def test_the_longest_silence_begins_with_the_fault_and_counts_no_refusal():
    got = [Got(0, None, 1, 200), Got(1, None, 3, 503), Got(3, None, 6, 200), Got(6, None, 7, 200)]
    assert find_gap(got, since=2) == 4


def test_the_peer_gets_our_arguments():
    words = write_options({**build_arguments({"max_model_len": 64}, use_gpu=False), "quantization": None, "a_b": False})
    assert words[words.index("--max-model-len") + 1] == "64"
    assert json.loads(words[words.index("--structured-outputs-config") + 1]) == {"backend": "guidance"}
    assert {"--enforce-eager", "--enable-prefix-caching", "--no-a-b"} <= set(words)
    assert "--quantization" not in words


@pytest.mark.slow  # it loads vLLM
def test_vllm_understands_the_peers_options():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    wanted = build_arguments(ENGINE, use_gpu=False)
    words = ["model", *write_options(wanted), *PEER_OPTIONS]
    parsed = vars(make_arg_parser(FlexibleArgumentParser()).parse_args(words))
    found = {name: parsed[name] for name in wanted}
    assert found.pop("structured_outputs_config").backend == "guidance"
    assert found == {name: value for name, value in wanted.items() if name != "structured_outputs_config"}


def test_prompts_differ():
    bodies = {json.dumps(write_body(number, "eshop", 4)) for number in range(500)}
    assert len(bodies) == 500


def test_figures_of_other_parts_stay(tmp_path):
    path = tmp_path / "bench" / "serve.json"
    write_figures(path, {"memory_growth": 1.0, "faults": {}})
    write_figures(path, {"memory_growth": 1.1})
    assert json.loads(path.read_text()) == {"memory_growth": 1.1, "faults": {}}


def test_parts_and_levels_are_read():
    assert read_parts("guards,vllm") == ["guards", "vllm"]
    assert set(read_parts(",".join(PARTS))) == set(PARTS)
    with pytest.raises(Exception, match="no part nonsense"):
        read_parts("nonsense")
    assert read_levels("16,1") == [1, 16]


class Endpoint(BaseHTTPRequestHandler):
    """Answers the first request whole, refuses the second, and breaks off the third."""

    num_asked = 0

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        Endpoint.num_asked += 1
        if Endpoint.num_asked == 2:
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
        if Endpoint.num_asked == 1:
            self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_):
        pass


def test_clients_tell_answers_refusals_and_what_broke_off_apart():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    try:
        got = asyncio.run(load(url, 1, 3, lambda number: write_body(number, "eshop", 1)))
    finally:
        server.shutdown()
        server.server_close()
    assert [one.status for one in got] == [200, 503, BROKEN]
    assert [one.num_tokens for one in got] == [1, 0, 1]
    (alone,) = asyncio.run(load(url, 1, 1, lambda number: write_body(number, "eshop", 1)))
    assert alone.status == NOBODY
