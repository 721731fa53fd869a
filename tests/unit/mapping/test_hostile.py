"""Data that nobody should send: it never raises, costs bounded time, stays readable and is told of."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.messages import MAX_ITEMS
from collector.mapping.values import MAX_DEPTH, MAX_LABEL, MAX_WARNINGS, Notes, any_value, json_text
from tests.unit.mapping.spans import held, mapped, request_of, row_of, span, value_of

LLM = {"openinference.span.kind": "LLM"}


def known_keys() -> list[str]:
    """Every attribute that any dialect reads by its full name."""
    keys: set[str] = set()
    for dialect in DIALECTS:
        keys |= {key for key, _ in (*dialect.kinds, *dialect.evidence)}
        sources = [*dialect.input, *dialect.output, *dialect.cost, *dialect.tokens, *dialect.errors]
        sources += [source for group in dialect.labels.values() for source in group]
        sources += [composed for _, composed in dialect.extras]
        for source in sources:
            if isinstance(source, str):
                keys.add(source)
            elif hasattr(source, "needs"):
                keys |= set(source.needs)
            else:
                keys |= {
                    name
                    for field in source.__struct_fields__
                    if field != "exclusive"
                    for name in getattr(source, field)
                }
    return sorted(key + "0.x" if key.endswith(".") else key for key in keys if key)


ODD_VALUES: list[Any] = [
    *(
        0,
        -1,
        2**63 - 1,
        -(2**63),
        1.5,
        float("nan"),
        True,
        False,
        "",
        "x",
        "{",
        '["a',
        "null",
        '"',
        '"q"',
        "{}",
        "[]",
        "12",
        "-",
    ),
    *(
        "[[[[]]]]",
        '{"a": 1e999}',
        "\x00",
        b"\xff",
        [],
        {},
        [None],
        [[1], {"a": []}],
        {"a": {"b": None}},
        {"type": 1, "value": []},
    ),
    *(
        '{"usage": {"input": []}}',
        "[1, 2]",
        '[{"role": 1, "parts": 2}]',
        '{"anthropic": 1}',
        "[" * 5000,
        "9" * 400,
        "[" * 500 + "]" * 500,
    ),
    [{"role": ["user"], "content": {"x": 1}}],
    AnyValue(),
]


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:20])
def test_any_value_under_any_known_name(value: Any) -> None:
    keys = known_keys()
    assert len(keys) > 300
    [row] = mapped(request_of([span(dict.fromkeys(keys, value))], scope="strands")).steps
    assert all(isinstance(held(text), dict) for text in (row.attributes, row.extra or "{}"))
    for key in keys:
        alone = span({key: value}, events=[(key, {key: value}), ("gen_ai.choice", {"message": value, key: value})])
        [row] = mapped(request_of([alone], scope="com.anthropic.claude_code")).steps
        assert all(
            text is None or held(text) is not None or text == "null" for text in (row.input, row.output, row.events)
        )


@pytest.mark.parametrize("index", ["999999999", "99999999999", "9" * 400, "-1", "١", "²", "x", "", "0x1", "1e9"])
def test_indices_cost_what_they_hold(index: str) -> None:
    tracemalloc.start()
    row = row_of(
        {**LLM, f"llm.input_messages.{index}.message.content": "far", "llm.input_messages.3.message.content": "near"}
    )
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
    assert "near" in (row.input or "")
    assert held(row.attributes)[f"llm.input_messages.{index}.message.content"] == "far"


def test_a_hundred_thousand_attributes() -> None:
    many = {f"llm.input_messages.{i}.message.content": "x" for i in range(100_000)}
    began = time.process_time()
    row = row_of({**LLM, **many})
    assert time.process_time() - began < 5
    assert len(held(row.input)) == MAX_ITEMS
    assert len(held(row.attributes)) == 100_001
    assert len(held(row.warnings)) == 1


def test_a_hundred_thousand_shapes() -> None:
    spans = [span({f"a{i}": i}, number=i + 1) for i in range(20_000)]
    began = time.process_time()
    assert len(mapped(request_of(spans)).steps) == 20_000
    assert time.process_time() - began < 10


def test_names_that_contradict_each_other() -> None:
    row = row_of(
        {
            **LLM,
            "llm.input_messages.0.message": "text",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0": 7,
        }
    )
    assert row.kind == "llm"
    row = row_of(
        {**LLM, "llm.input_messages.0.message.tool_calls.0": "x", "llm.input_messages.0.message.tool_calls": "y"}
    )
    assert held(row.attributes)["llm.input_messages.0.message.tool_calls"] == "y"


def test_a_name_of_ten_thousand_parts() -> None:
    row = row_of({**LLM, "llm.input_messages.0." + "a." * 10_000: 1, "llm.input_messages.0.message.content": "x"})
    assert "x" in (row.input or "")


def test_a_value_as_deep_as_protobuf_reads() -> None:
    deep: Any = "core"
    for _ in range(45):
        deep = [deep]
    row = row_of({"d": deep})
    assert held(row.attributes) == {"d": deep}
    assert row.warnings is None


def test_a_deeper_value_is_cut_and_told() -> None:
    outer = value = AnyValue()
    for _ in range(MAX_DEPTH + 10):
        value = value.array_value.values.add()
    value.string_value = "core"
    notes = Notes()
    assert "core" not in json_text(any_value(outer, notes))
    assert "deeper" in notes.warnings[0]
    assert not notes.exact


def test_deep_json_text_stays_text_or_json() -> None:
    for depth in (200, 500, 5_000, 200_000):
        text = "[" * depth + "]" * depth
        row = row_of({"xray.step.input": text, "mlflow.spanOutputs": text, "metadata": '{"a":' * 400 + "1" + "}" * 400})
        assert row.input is not None
        assert len(row.input) >= depth


def test_text_that_only_begins_as_json_is_told() -> None:
    row = row_of({"gen_ai.operation.name": "chat", "gen_ai.input.messages": "{'role': 'user'}"})
    assert held(row.input) == "{'role': 'user'}"
    assert "gen_ai.input.messages" in held(row.warnings)[0]
    assert row.input_key == "gen_ai.input.messages"


def test_long_labels_and_structures_in_their_place() -> None:
    row = row_of({"gen_ai.request.model": "m" * 10_000, "session.id": ["a"], "gen_ai.response.model": 7})
    assert len(row.model or "") <= 10_000
    assert row.model == "7"
    assert row.session_id is None
    assert any("session.id holds a structure" in warning for warning in held(row.warnings))
    assert len(held(row.extra)["request_model"]) == MAX_LABEL


def test_warnings_are_no_flood() -> None:
    wrong = {
        f"gen_ai.usage.{name}": "x" for name in ("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens")
    }
    keys = {key: ["x"] for key in known_keys()}
    row = row_of({**keys, **wrong})
    assert len(held(row.warnings)) <= MAX_WARNINGS + 1


@pytest.mark.parametrize(
    "text", ["ü☔日本語🌧️", "\ud7ff\ue000", "\U0010ffff", "\u2028", '"\\ud800"', "{\\ud800}", '{"a": "\\ud800"}']
)
def test_odd_but_valid_text(text: str) -> None:
    row = row_of({"xray.step.input": text, "a": text, text: 1}, name=text)
    assert row.name == text
    assert held(row.attributes)["a"] == text
    assert row.input is not None
    json.loads(row.input)


def test_an_enormous_number_of_events() -> None:
    made = span({"gen_ai.operation.name": "chat"})
    for i in range(5_000):
        made.events.add(name="gen_ai.choice", time_unix_nano=i).attributes.add(key="message").value.CopyFrom(
            value_of("x")
        )
    began = time.process_time()
    [row] = mapped(request_of([made])).steps
    assert time.process_time() - began < 3
    assert len(held(row.output)) == 5_000


def test_an_empty_span() -> None:
    [row] = mapped(request_of([Span(trace_id=b"\x01" * 16, span_id=b"\x01" * 8)])).steps
    assert (row.name, row.kind, row.attributes) == ("", "function", "{}")
