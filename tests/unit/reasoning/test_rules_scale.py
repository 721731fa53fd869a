"""The rules on large and on strange executions: linear, and never at a loss."""

import time
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.model import Step
from collector.reasoning.context import Limits, chunks, context
from collector.reasoning.evidence import gather
from collector.reasoning.rules import explain
from collector.store.history import StepHistory, StepName
from tests.unit.reasoning.cases import case, span_id, step

PAST = {StepName("svc", "work", kind): StepHistory(100, 0.1, 0.2, 0.0) for kind in ("tool", "llm", "db")}


def wide(count: int) -> list[Step]:
    return [step(n, 1, name="work", kind="tool", tool="t", input={"q": 1}, output="same") for n in range(2, count)]


def deep(count: int) -> list[Step]:
    told = "E: it broke"
    return [step(n, n - 1, name="work", kind="tool", at=n, ms=2 * count - n, error=told) for n in range(2, count)]


def retried(count: int) -> list[Step]:
    return [
        step(n, 1, name="work", kind="tool", tool="t", input={"q": 1}, error="E: it broke") for n in range(2, count)
    ]


def alternating(count: int) -> list[Step]:
    """A chain in which every other step is far slower than its past."""
    return [
        step(n, n - 1, name="work", kind="tool" if n % 2 else "chain", at=n, ms=10 * count - n, output=[])
        for n in range(2, count)
    ]


@pytest.mark.parametrize("shape", [wide, deep, retried, alternating])
def test_the_time_is_linear_in_the_steps(shape: Callable[[int], list[Step]]) -> None:
    def took_s(count: int) -> float:
        whole = case(step(1, at=0, ms=20 * count, error="E: it broke"), *shape(count), history=PAST)
        began = time.process_time()
        assert len(explain(whole)) == count
        return time.process_time() - began

    took_s(500)
    few, many = took_s(1_000), took_s(8_000)
    assert many < 8 * few * 3 + 0.05
    assert many / 8_000 < 0.0003, "3,000 steps a second at least"


IDS = st.integers(1, 12)
KEYS = (
    *("role", "content", "parts", "type", "text", "tool_calls", "function", "name", "arguments", "messages", "choices"),
    *("message", "error", "errors", "status", "kwargs", "id", "result", "finish_reason", "isError", "input", "data"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
STEPS = st.builds(
    step,
    IDS,
    st.none() | IDS,
    name=st.text(max_size=20),
    kind=st.sampled_from(
        ["agent", "llm", "tool", "retriever", "http", "db", "messaging", "function", "chain", "other"]
    ),
    span_kind=st.integers(0, 5),
    at=st.integers(-5, 50),
    ms=st.none() | st.integers(0, 5_000),
    input=JSON,
    output=JSON,
    error=st.none() | st.text(max_size=40),
    tool=st.none() | st.text(max_size=5),
    status=st.sampled_from(["unset", "ok", "error"]),
    finish=st.none() | st.sampled_from(["stop", "length", "content_filter"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=12))
def test_whatever_is_sent_is_explained(steps: list[Step]) -> None:
    """Loops of parents, ids used twice, orphans, odd content: a text for each step, and ids that exist."""
    whole = case(*steps)
    explained = explain(whole)
    assert len(explained) == len(steps) + 1
    known = {one.span_id.hex() for one in steps}
    for one in explained:
        assert one.text
        assert "\n" not in one.text
        assert one.facts is not None
        assert set(msgspec.json.decode(one.facts).get("cites", [])) <= known
        assert one.root_cause is None or one.root_cause.span_id in known
    evidence = gather(whole)
    for chunk in chunks(evidence, Limits()):
        assert context(evidence, None, chunk, Limits()).text


def test_two_steps_with_one_id_are_explained_both() -> None:
    twice = [step(2, 1, at=10, name="first"), step(2, 1, at=20, name="second")]
    texts = [one.text for one in explain(case(step(1, at=0, ms=100), *twice, due={span_id(2)}))]
    assert ["first" in texts[0], "second" in texts[1]] == [True, True]
