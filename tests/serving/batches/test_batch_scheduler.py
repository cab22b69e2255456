"""Batches from their creation to their end, before a model that is made up, by a clock that the test holds."""

import asyncio
import json

import pytest
from starlette.datastructures import Headers

from eshop_ray.inference.openai_api import write_error
from eshop_ray.serving.batches import answering
from eshop_ray.serving.batches.answering import Answering, Checked, Ended
from eshop_ray.serving.batches.states import Counts
from eshop_ray.serving.calls import ApiCall
from eshop_ray.serving.errors import RefusalError, busy_model
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.metrics import DURATION, REQUESTS, TOKENS
from eshop_ray.serving.spending import DeniedError
from eshop_ray.serving.usage import Cost
from eshop_ray.serving.visits import Visit
from tests.serving.batches.made_batches import NOON, Clock, build_keeper, request
from tests.serving.made_model import CHAT, PROMPT_TOKENS, MadeModel

DAY = 86_400.0


class GatedModel(MadeModel):
    """Answers so many calls, and then none until it is told to."""

    def __init__(self, num_free):
        super().__init__()
        self.num_free = num_free
        self.num_waiting = 0
        self.gate = asyncio.Event()

    async def ask(self, call, request_id):
        if len(self.calls) >= self.num_free:
            self.num_waiting += 1
            await self.gate.wait()
        async for piece in super().ask(call, request_id):
            yield piece


def lines(num_lines, **body):
    return [request(f"line {number}", **body) for number in range(num_lines)]


def error_of(line):
    return line["response"]["body"]["error"]


def test_a_batch_is_answered_and_its_files_have_openais_form(tmp_path):
    class Picky(MadeModel):
        async def ask(self, call, request_id):
            if call.body["max_tokens"] == 9:
                yield write_error(400, "too hot", "temperature")
                return
            async for piece in super().ask(call, request_id):
                yield piece

    async def run():
        clock = Clock()
        keeper = build_keeper(Picky(), tmp_path, clock)
        batch = await keeper.create([*lines(5), request("bad", max_tokens=9), request("worse", n=500)])
        assert batch["status"] == "validating"
        await keeper.scheduler.tick()
        clock.now += 60
        done = await keeper.see_to(batch, "completed")
        answers, errors = await keeper.read(done["output_file_id"]), await keeper.read(done["error_file_id"])
        described = [await keeper.files.find(None, done[name]) for name in ("output_file_id", "error_file_id")]
        return batch, done, answers, errors, described, keeper.recorder

    batch, done, answers, errors, described, recorder = asyncio.run(run())
    assert done["request_counts"] == {"total": 7, "completed": 5, "failed": 2}
    assert done["usage"]["total_tokens"] == 5 * (PROMPT_TOKENS + 2)
    assert done["completed_at"] == batch["created_at"] + 60
    assert done["errors"] is None
    assert answers.keys() == {f"line {number}" for number in range(5)}
    line = answers["line 0"]
    assert line.keys() == {"id", "custom_id", "response", "error"}
    assert line["response"].keys() == {"status_code", "request_id", "body"}
    assert (line["response"]["status_code"], line["error"]) == (200, None)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "word word"
    assert errors.keys() == {"bad", "worse"}
    assert errors["bad"].keys() == line.keys()
    assert errors["bad"]["response"]["status_code"] == 400
    assert error_of(errors["bad"])["message"] == "too hot"
    assert error_of(errors["worse"])["param"] == "n"
    assert {file["purpose"] for file in described} == {"batch_output"}
    assert not list((tmp_path / "serve-batches" / "batches").glob("*/*.jsonl"))
    route = "/v1/chat/completions (batch)"
    statuses = {labels[-1]: number for labels, number in recorder.read(REQUESTS).items() if labels[0] == route}
    assert statuses == {"200": 5, "400": 2}
    assert recorder.read(TOKENS)[route, "-", "-", "completion"] == 5 * 2
    assert not recorder.read(DURATION)


def test_a_result_is_one_line_to_every_reader(tmp_path):
    """Python's `splitlines`, and with it the line readers of clients, end lines at more than line feeds."""
    model = MadeModel()
    model.text = "one\u2028two\u2029three\u0085four\x0bfive"

    async def run():
        keeper = build_keeper(model, tmp_path)
        done = await keeper.see_to(await keeper.create([request("a\u2028b"), request("c\u0085", n=500)]), "completed")
        contents = [
            await keeper.files.read(None, done[name], 0, 1 << 20) for name in ("output_file_id", "error_file_id")
        ]
        return [content.decode().splitlines() for content in contents]

    (answer,), (error,) = asyncio.run(run())
    assert json.loads(answer)["response"]["body"]["choices"][0]["message"]["content"].startswith(model.text)
    assert (json.loads(answer)["custom_id"], json.loads(error)["custom_id"]) == ("a\u2028b", "c\u0085")


def test_records_of_a_task_are_answered_as_at_its_address(tmp_path):
    model = MadeModel()
    model.text = "Garden"
    url = "/v1/tasks/classification"
    record = {"text": "A spade.", "labels": ["Garden", "Kitchen"]}
    wanted = [{"custom_id": "1", "method": "POST", "url": url, "body": record}]
    wanted.append({"custom_id": "2", "method": "POST", "url": url, "body": {"text": 3}})

    async def run():
        keeper = build_keeper(model, tmp_path)
        done = await keeper.see_to(await keeper.create(wanted, endpoint=url), "completed")
        outcome = await keeper.read(done["output_file_id"]), await keeper.read(done["error_file_id"])
        return *outcome, keeper.recorder

    answers, errors, recorder = asyncio.run(run())
    assert recorder.read(REQUESTS) == {(f"{url} (batch)", "classification", "-", "200"): 1}
    body = answers["1"]["response"]["body"]
    assert (body["model"], body["prediction"], body["confidence"]) == ("eshop", "Garden", 0.75)
    assert errors["2"]["response"]["status_code"] == 422
    assert error_of(errors["2"])["code"] == "invalid_record"


def test_one_line_that_is_no_request_and_nothing_is_asked(tmp_path):
    model = MadeModel()

    async def run():
        keeper = build_keeper(model, tmp_path)
        return await keeper.see_to(await keeper.create([*lines(2), {"custom_id": "x"}]), "failed")

    failed = asyncio.run(run())
    assert [(error["line"], error["code"]) for error in failed["errors"]["data"]] == [(3, "invalid_method")]
    assert failed["output_file_id"] is None
    assert model.calls == []


def test_what_a_cancelled_batch_has_is_kept(tmp_path):
    async def run():
        model = GatedModel(4)
        keeper = build_keeper(model, tmp_path, batches={"max_concurrent_requests": 2})
        batch = await keeper.create(lines(20))
        await keeper.see_to(batch, lambda _: model.num_waiting == 2)
        cancelling = await keeper.batches.cancel(None, batch["id"])
        assert (cancelling["status"], cancelling["output_file_id"]) == ("cancelling", None)
        await keeper.scheduler.tick()
        model.gate.set()
        done = await keeper.see_to(batch, "cancelled")
        return model, done, await keeper.read(done["output_file_id"]), keeper.recorder

    model, done, answers, recorder = asyncio.run(run())
    assert len(answers) == len(model.calls) == done["request_counts"]["completed"] == 6
    assert recorder.read(REQUESTS) == {("/v1/chat/completions (batch)", "-", "-", "200"): 6}
    assert done["request_counts"] == {"total": 20, "completed": 6, "failed": 0}
    assert done["error_file_id"] is None
    assert done["cancelling_at"] <= done["cancelled_at"]


def test_a_batch_is_cancelled_though_the_model_never_answers(tmp_path):
    async def run():
        clock = Clock()
        model = GatedModel(0)
        keeper = build_keeper(model, tmp_path, clock, request_seconds=100.0)
        batch = await keeper.create(lines(3))
        await keeper.see_to(batch, lambda found: len(keeper.runs) == 1 and found["status"] == "in_progress")
        await keeper.batches.cancel(None, batch["id"])
        await keeper.scheduler.tick()
        await asyncio.sleep(0.05)
        await keeper.scheduler.tick()
        assert (await keeper.batches.find(None, batch["id"]))["status"] == "cancelling"
        clock.now += 131
        return await keeper.see_to(batch, "cancelled")

    assert asyncio.run(run())["request_counts"] == {"total": 3, "completed": 0, "failed": 0}


def test_a_batch_that_waits_for_the_model_to_start_is_cancelled_at_once(tmp_path):
    class Down(MadeModel):
        async def describe(self):
            await asyncio.sleep(3600)

    async def run():
        model = Down()
        keeper = build_keeper(model, tmp_path, Clock())
        batch = await keeper.create(lines(3))
        await keeper.see_to(batch, "in_progress")
        await keeper.batches.cancel(None, batch["id"])
        return model, await keeper.see_to(batch, "cancelled")

    model, done = asyncio.run(run())
    assert model.calls == []
    assert done["request_counts"] == {"total": 3, "completed": 0, "failed": 0}


def test_what_is_left_when_a_batch_expires_is_listed(tmp_path):
    async def run():
        clock = Clock()
        model = GatedModel(3)
        keeper = build_keeper(model, tmp_path, clock, batches={"max_concurrent_requests": 1})
        batch = await keeper.create(lines(10), completion_window="1h")
        await keeper.see_to(batch, lambda found: model.num_waiting == 1 and found["request_counts"]["completed"] == 3)
        clock.now += 3600
        await keeper.scheduler.tick()
        model.gate.set()
        done = await keeper.see_to(batch, "expired")
        return done, await keeper.read(done["output_file_id"]), await keeper.read(done["error_file_id"])

    done, answers, errors = asyncio.run(run())
    assert done["expired_at"] == done["expires_at"]
    assert len(answers) == 4
    assert len(errors) == 6
    assert not answers.keys() & errors.keys()
    assert {(line["response"], line["error"]["code"]) for line in errors.values()} == {(None, "batch_expired")}
    assert done["request_counts"] == {"total": 10, "completed": 4, "failed": 6}


def test_a_batch_that_expired_while_nobody_was_there_is_not_begun(tmp_path):
    async def run():
        clock, model = Clock(), MadeModel()
        keeper = build_keeper(model, tmp_path, clock)
        batch = await keeper.create(lines(3), completion_window="1h")
        keeper.store.close()
        clock.now += 4000
        again = build_keeper(model, tmp_path, clock)
        done = await again.see_to(batch, "expired")
        return model, done, await again.read(done["error_file_id"])

    model, done, errors = asyncio.run(run())
    assert model.calls == []
    assert len(errors) == 3
    assert done["request_counts"] == {"total": 3, "completed": 0, "failed": 3}


@pytest.mark.parametrize("in_order", [True, False], ids=["asked to end", "killed"])
def test_the_next_keeper_goes_on_where_a_batch_was(tmp_path, in_order):
    async def run():
        model = GatedModel(5)
        keeper = build_keeper(model, tmp_path, batches={"max_concurrent_requests": 2})
        batch = await keeper.create(lines(12))
        await keeper.see_to(batch, lambda found: model.num_waiting == 2 and found["request_counts"]["completed"] == 5)
        if in_order:
            ending = asyncio.create_task(keeper.scheduler.pause(5))
            await asyncio.sleep(0.01)
            model.gate.set()
            await ending
        else:
            for job in keeper.scheduler._jobs.values():
                job.task.cancel()
            await asyncio.sleep(0.01)
        keeper.store.close()
        other = MadeModel()
        again = build_keeper(other, tmp_path)
        done = await again.see_to(batch, "completed")
        return other, done, await again.read(done["output_file_id"])

    other, done, answers = asyncio.run(run())
    assert len(answers) == 12
    assert done["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    assert done["usage"]["output_tokens"] == 24
    assert len(other.calls) == (5 if in_order else 7)


def test_a_death_between_results_and_their_files_loses_nothing(tmp_path, monkeypatch):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path)
        batch = await keeper.create(lines(3))
        put = keeper.store.put_file
        monkeypatch.setattr(keeper.store, "put_file", lambda file: put(file) or 1 / 0)
        await keeper.see_to(batch, lambda found: found["status"] == "finalizing" and len(keeper.store.files) == 2)
        keeper.store.close()
        again = build_keeper(MadeModel(), tmp_path)
        done = await again.see_to(batch, "completed")
        return done, await again.read(done["output_file_id"])

    done, answers = asyncio.run(run())
    assert len(answers) == 3
    assert done["request_counts"]["completed"] == 3


KEY, LINE = make_key("a", tokens_per_day=1000, requests_per_minute=1)


def test_a_batch_never_spends_a_token_more_and_goes_on_the_next_day(tmp_path):
    async def run():
        clock = Clock()
        model = MadeModel()
        line = make_key("a", tokens_per_day=100, requests_per_minute=1)[1]
        keeper = build_keeper(model, tmp_path, clock, [write_line(line)], clock)
        batch = await keeper.create(lines(20), "a", completion_window="3d")
        stuck = await keeper.see_to(batch, lambda _: keeper.scheduler._pauses, "a")
        calls, spent = len(model.calls), keeper._metered.budgets.read_spent()["a"]
        await keeper.scheduler.tick()
        assert len(keeper.runs) == 1
        clock.now += DAY / 2
        await keeper.see_to(batch, lambda found: found["request_counts"]["completed"] == 16, "a")
        clock.now += DAY
        return stuck, calls, spent, await keeper.see_to(batch, "completed", "a"), model

    stuck, calls, spent, done, model = asyncio.run(run())
    assert stuck["status"] == "in_progress"
    assert calls == stuck["request_counts"]["completed"] == 8
    assert spent == 8 * (PROMPT_TOKENS + 2) <= 100
    assert done["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert len(model.calls) == 20


def test_a_batch_and_requests_beside_it_together_never_spend_a_token_more(tmp_path):
    async def ask(metered, key):
        visit = Visit({}, Headers(), "1", is_named=False, key=key)
        call = ApiCall("/v1/chat/completions", {**CHAT, "max_tokens": 2})
        try:
            return [piece async for piece in metered.ask(visit, call, Cost())]
        except DeniedError:
            return []

    async def run():
        model = MadeModel()
        model.pause = 0.02
        line = make_key("a", tokens_per_day=400)[1]
        keeper = build_keeper(model, tmp_path, key_lines=[write_line(line)])
        batch = await keeper.create(lines(30), "a")
        seeing = asyncio.create_task(keeper.see_to(batch, lambda _: keeper.scheduler._pauses, "a"))
        while not model.calls:
            await asyncio.sleep(0)
        answered = await asyncio.gather(*(ask(keeper._metered, line) for _ in range(50)))
        found = await seeing
        return model, found, sum(map(bool, answered)), keeper._metered.budgets.read_spent()["a"]

    model, found, num_answered, spent = asyncio.run(run())
    num_lines = found["request_counts"]["completed"]
    assert num_lines > 0 < num_answered
    assert len(model.calls) == num_lines + num_answered
    assert 400 - (PROMPT_TOKENS + 2) < spent == len(model.calls) * (PROMPT_TOKENS + 2) <= 400


def test_a_line_that_no_days_budget_holds_fails_and_the_others_do_not(tmp_path):
    async def run():
        line = make_key("a", tokens_per_day=60)[1]
        keeper = build_keeper(MadeModel(), tmp_path, key_lines=[write_line(line)])
        batch = await keeper.create([request("small"), request("large", max_tokens=100)], "a")
        done = await keeper.see_to(batch, "completed", "a")
        return await keeper.read(done["output_file_id"], "a"), await keeper.read(done["error_file_id"], "a")

    answers, errors = asyncio.run(run())
    assert answers.keys() == {"small"}
    assert errors["large"]["response"]["status_code"] == 429
    assert error_of(errors["large"])["code"] == "quota"


def test_lines_are_none_of_the_requests_of_a_minute(tmp_path):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path, key_lines=[write_line(LINE)])
        await keeper.see_to(await keeper.create(lines(5), "a"), "completed", "a")
        return await keeper._metered.budgets.reserve(LINE, 1, "one more")

    assert hasattr(asyncio.run(run()), "reservation")


OTHER_LINE = write_line(make_key("b")[1])


def test_a_key_that_is_taken_away_ends_its_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "CONFIRM_SECONDS", 0.01)

    async def run():
        model = GatedModel(2)
        keeper = build_keeper(model, tmp_path, key_lines=[write_line(LINE)], batches={"max_concurrent_requests": 1})
        batch = await keeper.create(lines(10), "a")
        await keeper.see_to(batch, lambda found: model.num_waiting and found["request_counts"]["completed"] == 2, "a")
        (tmp_path / "keys").write_text(OTHER_LINE)
        model.gate.set()
        return model, await keeper.see_to(batch, "cancelled", "a")

    model, done = asyncio.run(run())
    assert done["request_counts"]["completed"] == len(model.calls) == 3


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", 0o600),
        (f"{OTHER_LINE}\n{write_line(LINE)[:-9]}", 0o600),
        (write_line(LINE), 0o644),
        (write_line(LINE)[:-9], 0o600),
    ],
    ids=["empty", "half a line of it", "of others too", "half a line"],
)
def test_a_moment_in_which_the_key_file_is_no_good_ends_no_batch(tmp_path, monkeypatch, caplog, text, mode):
    """So it is while `cp` writes it anew, or before its `chmod`."""
    monkeypatch.setattr(answering, "CONFIRM_SECONDS", 0.5)

    async def run():
        clock, path = Clock(), tmp_path / "keys"
        model = GatedModel(2)
        limits = {"max_concurrent_requests": 1}
        keeper = build_keeper(model, tmp_path, clock, key_lines=[write_line(LINE)], batches=limits)
        batch = await keeper.create(lines(10), "a")
        await keeper.see_to(batch, lambda found: model.num_waiting and found["request_counts"]["completed"] == 2, "a")
        path.write_text(text)
        path.chmod(mode)
        model.gate.set()
        while not caplog.text:  # it was looked for
            await asyncio.sleep(0.002)
        path.chmod(0o600)
        path.write_text(write_line(LINE))
        return await keeper.see_to(batch, "completed", "a")

    assert asyncio.run(run())["request_counts"]["completed"] == 10


def test_a_batch_waits_as_long_as_nobody_can_say_which_keys_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "CONFIRM_SECONDS", 0.01)

    async def run():
        clock, model = Clock(), MadeModel()
        keeper = build_keeper(model, tmp_path, clock, key_lines=[write_line(LINE)])
        batch = await keeper.create(lines(3), "a")
        (tmp_path / "keys").unlink()
        waiting = await keeper.see_to(batch, lambda _: keeper.scheduler._pauses, "a")
        assert (waiting["status"], model.calls) == ("in_progress", [])
        (tmp_path / "keys").touch(0o600)
        (tmp_path / "keys").write_text(write_line(LINE))
        clock.now += 5
        return await keeper.see_to(batch, "completed", "a")

    assert asyncio.run(run())["request_counts"]["completed"] == 3


def test_what_is_another_keys_is_not_there(tmp_path):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path, key_lines=[write_line(LINE)])
        batch = await keeper.create(lines(1), "a")
        done = await keeper.see_to(batch, "completed", "a")
        asked = [
            lambda: keeper.batches.find("b", batch["id"]),
            lambda: keeper.batches.cancel("b", batch["id"]),
            lambda: keeper.batches.find(None, batch["id"]),
            lambda: keeper.files.find("b", done["output_file_id"]),
            lambda: keeper.files.read("b", done["output_file_id"], 0, 1),
            lambda: keeper.files.delete("b", done["input_file_id"]),
            lambda: keeper.batches.create(
                "b", {"input_file_id": done["input_file_id"], "endpoint": "/v1/completions", "completion_window": "1h"}
            ),
        ]
        for ask in asked:
            with pytest.raises(RefusalError) as refused:
                await ask()
            assert refused.value.status == 404

    asyncio.run(run())


def test_trouble_of_the_model_fails_no_line(tmp_path):
    class Unwell(MadeModel):
        num_troubles = 0

        async def ask(self, call, request_id):
            if self.num_troubles < 3:
                self.num_troubles += 1
                raise busy_model() if self.num_troubles == 1 else RefusalError(503, "full", "overloaded")
            async for piece in super().ask(call, request_id):
                yield piece

    async def run():
        keeper = build_keeper(Unwell(), tmp_path, batches={"max_concurrent_requests": 2})
        return await keeper.see_to(await keeper.create(lines(4)), "completed")

    assert asyncio.run(run())["request_counts"] == {"total": 4, "completed": 4, "failed": 0}


def test_a_line_that_kills_the_engine_costs_itself(tmp_path):
    class Fragile(MadeModel):
        async def ask(self, call, request_id):
            if call.body["max_tokens"] == 9:
                raise busy_model()
            async for piece in super().ask(call, request_id):
                yield piece

    async def run():
        keeper = build_keeper(Fragile(), tmp_path, batches={"max_concurrent_requests": 2})
        batch = await keeper.create([*lines(3), request("killer", max_tokens=9), request("after")])
        done = await keeper.see_to(batch, "completed")
        return done, await keeper.read(done["error_file_id"])

    done, errors = asyncio.run(run())
    assert done["request_counts"] == {"total": 5, "completed": 4, "failed": 1}
    assert errors["killer"]["response"]["status_code"] == 500
    assert error_of(errors["killer"])["code"] == "engine_killed"


def test_a_line_that_meets_a_fault_of_ours_costs_itself_and_is_quoted_nowhere(tmp_path, caplog):
    class Faulty(MadeModel):
        async def ask(self, call, request_id):
            if call.body["max_tokens"] == 9:
                raise ValueError(call.body["messages"])
            async for piece in super().ask(call, request_id):
                yield piece

    async def run():
        keeper = build_keeper(Faulty(), tmp_path)
        done = await keeper.see_to(await keeper.create([*lines(3), request("bad", max_tokens=9)]), "completed")
        return done, await keeper.read(done["error_file_id"])

    done, errors = asyncio.run(run())
    assert done["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
    assert errors["bad"]["response"]["status_code"] == 500
    assert "ValueError" in caplog.text
    assert "question" not in caplog.text + json.dumps(errors)


def test_trouble_with_who_answers_is_tried_again_with_pauses_and_told_in_no_words_of_lines(
    tmp_path, caplog, monkeypatch
):
    async def break_off(_self):
        raise ValueError("question line 0")
        yield

    async def run():
        clock = Clock()
        keeper = build_keeper(MadeModel(), tmp_path, clock)
        batch = await keeper.create(lines(1))
        with monkeypatch.context() as patched:
            patched.setattr(Answering, "events", break_off)
            await keeper.see_to(batch, lambda _: keeper.scheduler._pauses)
            for _ in range(5):
                await keeper.scheduler.tick()
            assert len(keeper.runs) == 1
        clock.now += 5
        return await keeper.see_to(batch, "completed")

    assert asyncio.run(run())["status"] == "completed"
    assert "ValueError" in caplog.text
    assert "question" not in caplog.text


def test_pauses_grow_as_long_as_nothing_is_answered(tmp_path, monkeypatch):
    async def break_off(_self):
        yield Checked(1, ())
        yield Counts(total=1)
        yield Ended("trouble")

    async def run():
        monkeypatch.setattr(Answering, "events", break_off)
        clock = Clock()
        keeper = build_keeper(MadeModel(), tmp_path, clock)
        batch = await keeper.create(lines(1))
        begun = []
        for _ in range(40):
            for _ in range(3):
                await keeper.scheduler.tick()
                await asyncio.sleep(0)
            if len(keeper.runs) > len(begun):
                begun.append(clock.now - NOON)
            clock.now += 2.5
        assert (await keeper.batches.find(None, batch["id"]))["status"] == "in_progress"
        return begun

    assert asyncio.run(run()) == [0.0, 5.0, 15.0, 35.0, 75.0]


def test_batches_of_a_key_come_one_after_the_other_and_those_of_others_beside_them(tmp_path):
    async def run():
        model = GatedModel(0)
        keys = [write_line(make_key(name)[1]) for name in "abc"]
        keeper = build_keeper(model, tmp_path, key_lines=keys)
        made = [(owner, await keeper.create(lines(1), owner)) for owner in ("a", "a", "b", "c")]
        for _ in range(5):
            await keeper.scheduler.tick()
            await asyncio.sleep(0.01)
        begun = [keeper.store.batches[batch["id"]].status for _, batch in made]
        model.gate.set()
        for owner, batch in made:
            await keeper.see_to(batch, "completed", owner)
        return begun

    assert asyncio.run(run()) == ["in_progress", "validating", "in_progress", "validating"]


def test_lines_that_are_alike_are_asked_once(tmp_path):
    model = MadeModel()

    async def run():
        keeper = build_keeper(model, tmp_path)
        same = [{**request(str(number)), "body": {**request("same")["body"], "temperature": 0}} for number in range(10)]
        done = await keeper.see_to(await keeper.create(same), "completed")
        return await keeper.read(done["output_file_id"])

    assert len(asyncio.run(run())) == 10
    assert len(model.calls) == 1


def test_a_batch_for_a_model_that_is_served_no_more_is_cancelled(tmp_path):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path)
        batch = await keeper.create(lines(1))
        keeper.store.close()
        again = build_keeper(MadeModel(), tmp_path, model_id="other")
        return await again.see_to(batch, "cancelled")

    assert asyncio.run(run())["request_counts"]["completed"] == 0


@pytest.mark.parametrize("in_time", [True, False])
def test_lines_that_the_config_of_a_new_start_refuses_have_their_error_and_those_behind_them_an_answer(
    tmp_path, in_time
):
    async def run():
        clock, first = Clock(), GatedModel(1)
        keeper = build_keeper(
            first, tmp_path, clock, adapters={"shop-ner": "adapter"}, batches={"max_concurrent_requests": 1}
        )
        other, long = request("other", model="shop-ner"), request("long", stop=["x" * 5000])
        batch = await keeper.create([request("before"), request("in hand"), other, long, request("after")])
        await keeper.see_to(batch, lambda found: first.num_waiting and found["request_counts"]["completed"] == 1)
        for job in keeper.scheduler._jobs.values():
            job.task.cancel()
        await asyncio.sleep(0.01)
        keeper.store.close()
        again = build_keeper(MadeModel(), tmp_path, clock, max_body_bytes=1000)
        clock.now += 0 if in_time else DAY
        done = await again.see_to(batch, "completed" if in_time else "expired")
        return done, await again.read(done["output_file_id"]), await again.read(done["error_file_id"])

    done, answers, errors = asyncio.run(run())
    if in_time:
        assert answers.keys() == {"before", "in hand", "after"}
        assert {name: error_of(line)["code"] for name, line in errors.items()} == {
            "other": "model_not_found",
            "long": "request_too_large",
        }
    else:
        assert answers.keys() == {"before"}
        assert errors.keys() == {"in hand", "other", "long", "after"}
    assert done["request_counts"] == {"total": 5, "completed": len(answers), "failed": len(errors)}


def test_files_go_by_age_and_batches_that_are_over_too(tmp_path):
    async def run():
        clock = Clock()
        keeper = build_keeper(MadeModel(), tmp_path, clock, batches={"keep_days": 2})
        short = await keeper.upload(lines(1), lifetime=3600.0)
        batch = await keeper.create(lines(1))
        done = await keeper.see_to(batch, "completed")
        clock.now += 3600
        await keeper.scheduler.tick()
        assert short not in keeper.store.files
        assert len(keeper.store.files) == 2
        upload = await keeper.files.begin(None)
        clock.now += 2 * DAY
        with pytest.raises(RefusalError):
            await keeper.files.find(None, done["output_file_id"])
        await keeper.scheduler.tick()
        with pytest.raises(RefusalError):
            await keeper.files.append(upload, b"x")
        return [path.name for path in (tmp_path / "serve-batches").glob("*/*")]

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(("seconds", "kept"), [(None, 2 * DAY), (3600, 3600), (30 * 86_400, 2 * DAY)])
def test_results_are_kept_as_long_as_the_batch_says_and_no_longer_than_files_are(tmp_path, seconds, kept):
    policy = {"anchor": "created_at", "seconds": seconds} if seconds else None

    async def run():
        clock = Clock()
        keeper = build_keeper(MadeModel(), tmp_path, clock, batches={"keep_days": 2})
        batch = await keeper.create([request("good"), request("bad", n=500)], output_expires_after=policy)
        clock.now += 600  # it goes by the age of the files, not of the batch
        done = await keeper.see_to(batch, "completed")
        return [await keeper.files.find(None, done[name]) for name in ("output_file_id", "error_file_id")]

    assert {file["expires_at"] for file in asyncio.run(run())} == {NOON + 600 + kept}


def test_a_file_that_a_batch_reads_is_kept_beyond_its_time_and_not_deleted(tmp_path):
    async def run():
        clock = Clock()
        keeper = build_keeper(GatedModel(0), tmp_path, clock)
        file_id = await keeper.upload(lines(1), lifetime=3600.0)
        wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        await keeper.batches.create(None, wanted)
        with pytest.raises(RefusalError, match="cancel it first"):
            await keeper.files.delete(None, file_id)
        clock.now += 7200
        await keeper.scheduler.tick()
        assert file_id in keeper.store.files
        await keeper.scheduler.pause(0)

    asyncio.run(run())


BAD_BATCHES = [
    ({"endpoint": "/v1/embeddings"}, "endpoint"),
    ({"endpoint": ["x"]}, "endpoint"),
    ({"completion_window": "soon"}, "completion_window"),
    ({"completion_window": "31d"}, "completion_window"),
    ({"input_file_id": 3}, "input_file_id"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": ["a"]}, "metadata"),
    ({"output_expires_after": 3600}, "output_expires_after"),
    ({"output_expires_after": {"seconds": 3600}}, "output_expires_after"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}, "output_expires_after"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 3600.5}}, "output_expires_after"),
    ({"output_expires_after": {"anchor": "last_active_at", "seconds": 3600}}, "output_expires_after"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 3600, "days": 1}}, "output_expires_after"),
]


@pytest.mark.parametrize(("body", "param"), BAD_BATCHES, ids=range(len(BAD_BATCHES)))
def test_what_is_wrong_with_a_batch_is_named(tmp_path, body, param):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path)
        await keeper.create(lines(1), **body)

    with pytest.raises(RefusalError) as refused:
        asyncio.run(run())
    assert (refused.value.status, refused.value.param) == (400, param)


def test_a_key_has_so_many_batches_and_bytes_and_no_more(tmp_path):
    async def run():
        clock = Clock(NOON)
        keeper = build_keeper(MadeModel(), tmp_path, clock, batches={"max_stored_bytes": 100, "max_file_bytes": 90})
        with pytest.raises(RefusalError) as too_long:
            await keeper.upload(b"x" * 91)
        await keeper.upload(b"x" * 90)
        with pytest.raises(RefusalError) as full:
            await keeper.upload(b"x" * 90)
        wanted = {"input_file_id": next(iter(keeper.store.files)), "endpoint": "/v1/completions"}
        wanted["completion_window"] = "1h"
        for _ in range(100):
            await keeper.batches.create(None, wanted)
        with pytest.raises(RefusalError) as many:
            await keeper.batches.create(None, wanted)
        return [(error.value.status, error.value.code) for error in (too_long, full, many)]

    assert asyncio.run(run()) == [(413, "request_too_large"), (413, "storage_full"), (429, "too_many_batches")]


def test_nothing_in_the_store_names_a_key_but_by_its_id(tmp_path):
    async def run():
        keeper = build_keeper(MadeModel(), tmp_path, key_lines=[write_line(LINE)])
        await keeper.see_to(await keeper.create(lines(1), "a"), "completed", "a")

    asyncio.run(run())
    for path in (tmp_path / "serve-batches").rglob("*"):
        if path.is_file():
            assert KEY not in path.read_text()
            assert LINE.sha256 not in path.read_text()
    (record,) = (tmp_path / "serve-batches").glob("batches/*/record.json")
    assert json.loads(record.read_text())["owner"] == "a"
