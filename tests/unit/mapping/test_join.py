"""Log records become the input, output and error of the step they belong to."""

import random
from typing import Any

import orjson
import pytest

from collector.mapping.assemble import assemble
from collector.mapping.join import join
from collector.mapping.record_events import event_json
from collector.model import Record, Step, StepError, Tokens
from tests.unit.mapping.shapes import llm, record, step

QUESTION = [
    record("gen_ai.system.message", {"content": "Be brief."}, number=1),
    record("gen_ai.user.message", {"content": "Where is A-1042?", "role": "user"}, number=2),
    record("gen_ai.assistant.message", {"tool_calls": [{"id": "c1", "type": "function"}]}, number=3),
    record("gen_ai.tool.message", {"content": "not found", "id": "c1"}, number=4),
]
ANSWER = record(
    "gen_ai.choice",
    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "It is lost."}},
    number=5,
)


def joined(records: list[Record], into: Step | None = None) -> Step:
    return join([into or llm(1, None, None)], records)[0][0]


def read(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def test_messages_become_input_and_choices_output_whatever_their_order_and_repetition() -> None:
    records = [*QUESTION, ANSWER, *QUESTION, ANSWER]
    random.Random(3).shuffle(records)
    found = joined(records)
    assert read(found.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is A-1042?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "tool", "content": "not found", "id": "c1"},
    ]
    assert read(found.output) == [{"role": "assistant", "content": "It is lost.", "finish_reason": "stop"}]


def test_what_the_span_said_itself_wins() -> None:
    own = llm(1, None, input='"mine"')
    found = joined([*QUESTION, ANSWER], own)
    assert found.input == '"mine"'
    assert read(found.output)[0]["content"] == "It is lost."


def test_the_name_of_an_event_may_stand_in_its_attributes() -> None:
    record_of_1_0 = record(
        None, {"content": "hi"}, attributes={"event.name": "gen_ai.user.message", "gen_ai.message.index": 0}
    )
    assert read(joined([record_of_1_0]).input) == [{"role": "user", "content": "hi"}]


def test_messages_of_one_instant_are_ordered_by_index_then_as_a_conversation_goes() -> None:
    def said(name: str, text: str, number: int, index: int) -> Record:
        return record(name, {"content": text}, number=number, at=1, attributes={"gen_ai.message.index": index})

    records = [
        said("gen_ai.user.message", "third", 1, 1),
        said("gen_ai.user.message", "second", 2, 0),
        said("gen_ai.system.message", "first", 3, 0),
    ]
    assert [message["content"] for message in read(joined(records).input)] == ["first", "second", "third"]


def test_several_choices_are_ordered_by_their_index() -> None:
    records = [record("gen_ai.choice", {"index": i, "message": {"content": f"{i}"}}, number=9 - i) for i in (1, 0)]
    assert [choice["content"] for choice in read(joined(records).output)] == ["0", "1"]


@pytest.mark.parametrize(
    "spoken",
    [
        record("gen_ai.user.message", attributes={"content": "hi", "role": "user", "gen_ai.system": "x"}),
        record("gen_ai.user.message", attributes={"gen_ai.event.content": '{"role": "user", "content": "hi"}'}),
        record("gen_ai.user.message", '{"content": "hi"}'),
        record("gen_ai.user.message", "hi"),
    ],
)
def test_a_message_may_stand_in_attributes_or_in_json_text(spoken: Record) -> None:
    assert read(joined([spoken]).input) == [{"role": "user", "content": "hi"}]


def test_one_record_may_tell_of_the_whole_call() -> None:
    details = record(
        "gen_ai.client.inference.operation.details",
        number=7,
        attributes={
            "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
            "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
            "gen_ai.output.messages": '[{"role": "assistant", "parts": []}]',
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 0,
            "gen_ai.usage.cache_read.input_tokens": 4,
            "gen_ai.conversation.id": "chat-1",
            "user.id": "ann",
        },
    )
    found = joined([*QUESTION, details], llm(1, None, None, model=None))
    assert [message["role"] for message in read(found.input)] == ["system", "user"]
    assert read(found.output) == [{"role": "assistant", "parts": []}]
    assert (found.tokens, found.model) == (Tokens(9, 0, 4), "gpt-4o-2024-08-06")
    assert joined([details], llm(1, None, (1, 1))).tokens == Tokens(1, 1)
    assert (found.session_id, found.user_id) == ("chat-1", "ann")


def test_prompt_and_completion_of_the_oldest_names() -> None:
    found = joined(
        [
            record("gen_ai.content.prompt", number=1, attributes={"gen_ai.prompt": '[{"role": "user"}]'}),
            record("gen_ai.content.completion", number=2, attributes={"gen_ai.completion": "plain"}),
        ]
    )
    assert (found.input, found.output) == ('[{"role":"user"}]', '["plain"]')


def thrown(name: str | None, number: int = 1, severity: int = 17, kind: str = "ValueError") -> Record:
    attributes = {"exception.type": kind, "exception.message": "no", "exception.stacktrace": "Traceback"}
    return record(name, number=number, severity=severity, attributes=attributes)


def test_an_exception_event_fails_its_step_and_the_last_one_stands() -> None:
    found = joined([thrown("exception", 2), thrown("exception", 1, kind="KeyError")], step(1))
    assert (found.status, found.error) == ("error", StepError("ValueError", "no", "Traceback"))


@pytest.mark.parametrize("severity", [9, 13])
def test_an_exception_below_error_was_dealt_with(severity: int) -> None:
    assert joined([thrown("exception", severity=severity)], step(1)) == step(1)


def test_a_line_of_a_log_explains_a_failed_step_and_fails_none() -> None:
    failed = step(1, status="error", error=StepError("500", None))
    assert joined([thrown(None)], failed).error == StepError("ValueError", "no", "Traceback")
    assert joined([thrown(None)], step(1)) == step(1)


def test_the_exception_of_the_span_itself_wins() -> None:
    failed = step(1, status="error", error=StepError("E", "m", "own trace"))
    assert joined([thrown("exception")], failed) == failed


def test_a_status_that_the_sender_set_to_ok_stays() -> None:
    assert joined([thrown("exception")], step(1, status="ok")).status == "ok"


def test_records_of_absent_steps_and_of_none_stay_apart() -> None:
    lost, loose = record("gen_ai.choice", span=7, number=1), record("deploy", span=0, number=2)
    steps, rest = join([step(1)], [lost, loose, lost])
    assert (steps, rest) == ([step(1)], [lost, loose])
    _, facts = assemble([step(1)], [lost, loose])
    assert facts.warnings == ["1 log record of steps that did not come"]


@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.choice", "exception", None, "gen_ai.content.prompt"])
@pytest.mark.parametrize("body", [None, 7, [1], "", "{", {"message": 3, "index": "x"}, {"index": None, "role": []}])
def test_odd_bodies_harm_nothing(name: str | None, body: Any) -> None:
    attributes = {"event.name": 5, "exception.type": 3, "gen_ai.prompt": {"a": 1}, "tool_calls": "[", "index": "z"}
    found = joined([record(name, body, attributes=attributes, severity=17)])
    assert found.input is None or orjson.loads(found.input) is not None


def test_a_body_too_deep_to_write_is_left_to_its_record() -> None:
    deep = record("gen_ai.user.message", "[" * 500 + "]" * 500)
    assert joined([deep]).input is None


def test_a_record_reads_as_an_event() -> None:
    logged = record(None, "disk full", number=3, severity=17, attributes={"free": 2**60})
    assert orjson.loads(event_json(logged)) == {
        "name": "log",
        "time_unix_nano": str(logged.time_ns),
        "attributes": {"free": 2**60},
        "source": "log",
        "severity": 17,
        "severity_text": "ERROR",
        "span_id": f"{1:016x}",
        "body": "disk full",
    }
    assert "body" not in orjson.loads(event_json(record("gen_ai.evaluation.result")))
