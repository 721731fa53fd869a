"""Reading of inputs and outputs in the spellings that senders use."""

from typing import Any

import orjson
import pytest

from collector.reasoning.content import Called, arguments, items_in, parse, said, unwrapped
from collector.reasoning.messages import asked, conversation, last_results

ASKED_BACK = [
    [{"role": "assistant", "parts": [{"type": "text", "content": "Hello."}], "finish_reason": "stop"}],
    {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]},
    {"choices": [{"text": "Hello.", "finish_reason": "stop"}]},
    [{"role": "assistant", "content": "Hello."}],
    {"content": [{"type": "text", "text": "Hello."}], "stop_reason": "stop"},
    {"generations": [[{"text": "Hello.", "message": {"kwargs": {"content": "Hello.", "type": "ai"}}}]]},
    {"candidates": [{"content": {"parts": [{"text": "Hello."}], "role": "model"}, "finishReason": "stop"}]},
    {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello."}]}]},
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    {"type": "ai", "data": {"content": "Hello.", "additional_kwargs": {}}},
    "Hello.",
]


@pytest.mark.parametrize("output", ASKED_BACK)
def test_an_answer_is_read_in_every_spelling(output: Any) -> None:
    assert said(output).text == "Hello."


@pytest.mark.parametrize("output", [ASKED_BACK[0], ASKED_BACK[1], ASKED_BACK[4], ASKED_BACK[6]])
def test_the_finish_reason_is_found(output: Any) -> None:
    assert said(output).finish == "stop"


CALLS = [
    [{"role": "assistant", "parts": [{"type": "tool_call", "name": "look", "arguments": {"id": 7}}]}],
    {"choices": [{"message": {"tool_calls": [{"function": {"name": "look", "arguments": '{"id":7}'}}]}}]},
    [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": '{"id":7}'}}]}],
    {"content": [{"type": "tool_use", "name": "look", "input": {"id": 7}}]},
    {"generations": [[{"text": "", "message": {"kwargs": {"tool_calls": [{"name": "look", "args": {"id": 7}}]}}}]]},
    {"output": [{"type": "function_call", "name": "look", "arguments": '{"id":7}'}]},
]


@pytest.mark.parametrize("output", CALLS)
def test_tool_calls_are_read_in_every_spelling(output: Any) -> None:
    found = said(output)
    assert list(found.calls) == [Called("look", '{"id":7}')]
    assert found.text == ""


def test_thinking_is_not_an_answer() -> None:
    assert (
        said(
            [{"role": "assistant", "content": [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "Yes."}]}]
        ).text
        == "Yes."
    )


QUESTIONS = [
    [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}],
    [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}, {"role": "assistant", "content": "Because."}],
    {"messages": [[{"kwargs": {"content": "Why?", "type": "human"}}]]},
    {"messages": [{"type": "human", "data": {"content": "Why?"}}]},
    {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]},
    {"input": "Why?"},
    {"question": "Why?", "user": 7},
    "Why?",
]


@pytest.mark.parametrize("given", QUESTIONS)
def test_a_question_is_read_in_every_spelling(given: Any) -> None:
    assert asked(given) == "Why?"


def test_tool_results_in_the_users_role_are_not_the_question() -> None:
    results = {"role": "user", "parts": [{"type": "tool_call_response", "id": "1", "response": "rain"}]}
    assert asked([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": ""}, results]) == "Why?"


RESULTS = [
    [{"role": "assistant", "content": ""}, {"role": "tool", "content": "rain", "tool_call_id": "1"}],
    [{"role": "tool", "parts": [{"type": "tool_call_response", "response": "rain"}]}],
    {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "rain"}]}]},
    {"messages": [[{"kwargs": {"type": "tool", "content": "rain"}}]]},
    {"input": [{"type": "function_call_output", "output": "rain"}]},
]


@pytest.mark.parametrize("given", RESULTS)
def test_the_tool_results_at_the_end_are_found(given: Any) -> None:
    assert last_results(given) == ["rain"]


def test_results_before_the_last_answer_are_old() -> None:
    assert (
        last_results(
            [
                {"role": "tool", "content": "old"},
                {"role": "assistant", "content": "Rain."},
                {"role": "user", "content": "And?"},
            ]
        )
        == []
    )


def test_a_conversation_is_its_turns_with_calls_as_text() -> None:
    turns = conversation([*QUESTIONS[0], *CALLS[2], {"role": "tool", "content": '{"sky":"rain"}'}])
    assert turns == [
        ("system", "Be kind."),
        ("user", "Why?"),
        ("assistant", 'calls look({"id":7})'),
        ("tool", '{"sky":"rain"}'),
    ]


@pytest.mark.parametrize(
    ("output", "inner"),
    [
        ({"content": [{"type": "text", "text": '{"a": 1}'}], "isError": False}, {"a": 1}),
        ({"content": "rain", "type": "tool", "status": "success"}, "rain"),
        ({"result": {"output": [1, 2]}}, [1, 2]),
        ({"city": "Zürich", "content": "x"}, {"city": "Zürich", "content": "x"}),
        ('"just text"', '"just text"'),
    ],
)
def test_transport_wrapping_is_taken_off(output: Any, inner: Any) -> None:
    assert unwrapped(output) == inner


@pytest.mark.parametrize(
    ("value", "items"),
    [([1, 2], 2), ({"rows": [1], "took_ms": 3}, 1), ({"a": [1], "b": [2]}, None), ("x", None), ([], 0)],
)
def test_items_are_counted_where_there_is_one_list(value: Any, items: int | None) -> None:
    assert items_in(value) == items


def test_arguments_of_wrapped_functions_have_their_names() -> None:
    assert arguments({"args": [1], "kwargs": {"city": "Z"}}) == {"0": 1, "city": "Z"}
    assert arguments('{"city": "Z"}') == {"city": "Z"}
    assert arguments([1]) is None


def test_depth_and_size_are_bounded() -> None:
    deep: Any = "end"
    for _ in range(50_000):
        deep = {"message": deep}
    assert said(deep).text == ""
    assert said({"messages": [{"role": "assistant", "content": ["x"] * 100_000}]}).text.count("x") < 5_000
    assert isinstance(parse('"' + "x" * 1_000_000 + '"'), str)


def test_what_is_too_deep_to_be_written_again_is_left_out() -> None:
    deep = parse('{"a":' * 500 + "1" + "}" * 500)
    assert asked({"answers": deep}) == "…"
    assert (
        said([{"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": deep}]}])
        .calls[0]
        .arguments
        == "…"
    )


def test_what_is_not_json_is_read_as_text() -> None:
    assert parse("{not json") == "{not json"
    assert parse(orjson.dumps('{"a":1}').decode()) == {"a": 1}
