"""What the rules say of a whole execution."""

from typing import Any

import msgspec

from collector.model import EXECUTION_SPAN, Explanation, Step, Tokens
from collector.reasoning.rules import explain
from collector.store.history import StepHistory, StepName
from tests.unit.reasoning.cases import case, span_id, step


def execution(*steps: Step, **given: Any) -> Explanation:
    return explain(case(*steps, due={EXECUTION_SPAN}, **given))[0]


def facts(explanation: Explanation) -> dict[str, Any]:
    assert explanation.facts is not None
    found: dict[str, Any] = msgspec.json.decode(explanation.facts)
    return found


def test_a_good_run_is_told_with_its_parts_outcome_and_cost() -> None:
    steps = (
        step(1, name="helper", kind="agent", at=0, ms=1000, input="Why?", output="Because."),
        step(2, 1, kind="llm", ms=700, input="Why?", output="Because.", tokens=(900, 100)),
        step(3, 1, kind="tool", tool="look", ms=100, output="found"),
    )
    said = execution(*steps, tokens=Tokens(input=900, output=100), cost=0.0123)
    assert said.text == (
        "The execution helper for “Why?” ran 1.0 s with 3 steps (1 agent run, 1 model call and 1 tool call) and ended "
        "with “Because.” 70% of the time went into the model call step 2. It used 1,000 tokens for $0.012."
    )
    assert said.root_cause is None
    found = facts(said)
    assert (found["steps"], found["slowest"], found["cost_usd"]) == (3, span_id(2).hex(), 0.0123)


def test_a_failure_is_told_with_its_cause_and_what_came_of_it() -> None:
    steps = (
        step(1, name="recommend", at=0, ms=1000, error="PipelineError: stopped"),
        step(2, 1, name="filter", input={"items": list(range(20))}, output=[]),
        step(3, 1, name="rank", input={"items": []}, error="IndexError: list index out of range"),
    )
    said = execution(*steps)
    assert said.text == (
        "The execution recommend failed after 1.0 s and 3 steps: “PipelineError: stopped”. It went wrong first in "
        "the step filter: its result was empty. Because of that the step rank failed: "
        "“IndexError: list index out of range”."
    )
    assert said.root_cause is not None
    assert said.root_cause.span_id == span_id(2).hex()
    assert said.root_cause.evidence[0] == "Its result was empty."
    found = facts(said)
    assert (found["cause_sign"], found["failed_in"]) == ("empty", span_id(3).hex())
    assert found["cites"][:2] == [span_id(2).hex(), span_id(3).hex()]


def test_an_error_that_went_up_unchanged_is_told_once() -> None:
    told = "KeyError: 'price'"
    said = execution(
        step(1, name="run", at=0, ms=1000, error=told),
        step(2, 1, name="load"),
        step(3, 1, kind="tool", tool="look", error=told),
    )
    assert said.text == (
        "The execution run failed after 1.0 s and 3 steps, among them 1 tool call: “KeyError: 'price'”. "
        "It went wrong first in the tool look, where this error comes from."
    )


def test_what_was_made_good_and_what_was_survived() -> None:
    steps = (
        step(1, name="run", at=0, ms=1000),
        step(2, 1, kind="tool", tool="look", input={"q": 1}, error="E: slow"),
        step(3, 1, kind="tool", tool="look", input={"q": 1}, output="found"),
        step(4, 1, kind="db", input="GET avatar", error="NotFound: 404"),
    )
    said = execution(*steps)
    assert "1 failed attempt of the tool look was made good by a retry." in said.text
    assert "It went on after 1 failure, in the query “GET avatar”." in said.text
    assert said.root_cause is None
    assert facts(said)["recovered"] == 1


def test_many_alike_queries_are_told() -> None:
    row = [step(n, 1, name="select", kind="db", ms=9, input=f"SELECT {n}") for n in range(2, 42)]
    said = execution(step(1, name="list", kind="http", span_kind=2, at=0, ms=500, input="GET /list", output=200), *row)
    assert "The request GET /list made 40 queries named select, together 360 ms." in said.text


def test_a_slow_run_is_compared_with_its_past() -> None:
    past = {StepName("svc", "run", "function"): StepHistory(212, 100.0, 200.0, 0.0)}
    said = execution(
        step(1, name="run", at=0, ms=9_000), step(2, 1, kind="db", input="SELECT 1", ms=8_500), history=past
    )
    assert "the execution usually takes 100 ms (212 runs)" in said.text
    assert facts(said)["history"]["unusual"] is True


def test_an_execution_without_its_root_is_told_all_the_same() -> None:
    said = execution(step(2, 1, name="orphan", kind="tool", tool="look", error="E: no"), step(3, 1, name="other"))
    assert said.text.startswith("The execution orphan failed after")
    assert said.root_cause is not None


def test_text_of_spans_stays_on_one_bounded_line() -> None:
    wild = "x\n\n# heading\r\n" * 400
    said = execution(step(1, name=wild, kind="agent", at=0, ms=10, input=wild, output=wild, error=f"E: {wild}"))
    assert "\n" not in said.text
    assert len(said.text) < 800
