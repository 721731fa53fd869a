"""The root cause in small executions, one situation each."""

from typing import Any

import msgspec
import pytest

from collector.model import Step
from collector.reasoning.cause import Cause, find
from collector.reasoning.evidence import gather
from collector.store.history import StepHistory, StepName
from tests.unit.reasoning.cases import BEGIN_NS, MS, case, log, step

ROOM = {"at": 0, "ms": 1000}


def cause_of(*steps: Step, **given: Any) -> tuple[int, str] | None:
    """Which step is the cause, by its number, and of what sign."""
    found = cause(*steps, **given)
    ordered = sorted(steps, key=lambda one: one.start_ns)
    return None if found is None else (int.from_bytes(ordered[found.position].span_id), found.sign)


def cause(*steps: Step, **given: Any) -> Cause | None:
    return find(gather(case(*steps, **given)))


def calls(name: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": arguments}}]}]


def test_nothing_went_wrong() -> None:
    assert cause_of(step(1, **ROOM), step(2, 1, output={"rows": [1]})) is None


def test_the_deepest_step_of_a_failing_chain() -> None:
    told = "OrderError: no such order"
    assert cause_of(
        step(1, **ROOM, error=told), step(2, 1, error=told, ms=100), step(3, 2, kind="tool", error=told)
    ) == (3, "error")


def test_a_wrapper_that_raises_other_words() -> None:
    steps = (
        step(1, **ROOM, error="HTTPException: 500"),
        step(2, 1, at=20, ms=100, error="PipelineError: stage failed"),
        step(3, 2, at=30, kind="db", input="SELECT 1", error="DeadlockDetected: deadlock"),
    )
    assert cause_of(*steps) == (3, "error")


def test_a_step_below_an_unmarked_wrapper() -> None:
    steps = (step(1, **ROOM, error="E: no"), step(2, 1, at=20, ms=100), step(3, 2, at=30, kind="tool", error="E: no"))
    assert cause_of(*steps) == (3, "error")


def test_an_earlier_failure_that_was_survived_is_not_it() -> None:
    steps = (
        step(1, **ROOM, error="E: fatal"),
        step(2, 1, kind="db", input="get", error="CacheMiss: no"),
        step(3, 1, kind="tool", error="E: fatal"),
    )
    assert cause_of(*steps) == (3, "error")


def test_a_failed_clean_up_after_it_is_not_it() -> None:
    steps = (
        step(1, **ROOM, error="E: fatal"),
        step(2, 1, kind="tool", error="E: fatal"),
        step(3, 1, name="ROLLBACK", kind="db", input="ROLLBACK", error="OSError: gone"),
    )
    assert cause_of(*steps) == (2, "error")


def test_a_cancelled_sibling_is_not_it() -> None:
    steps = (
        step(1, **ROOM, error="E: no"),
        step(2, 1, at=10, ms=30, kind="tool", error="CancelledError: cancelled"),
        step(3, 1, at=10, ms=29, kind="tool", error="E: no"),
    )
    assert cause_of(*steps) == (3, "error")


def test_an_error_text_in_a_result_that_no_status_tells() -> None:
    steps = (
        step(1, **ROOM, kind="agent"),
        step(2, 1, kind="tool", status="ok", output={"error": "service down"}),
        step(3, 1, kind="llm", output="I could not find your order."),
    )
    assert cause_of(*steps) == (2, "told")


def test_an_error_that_the_same_tool_made_good_later() -> None:
    steps = (
        step(1, **ROOM, kind="agent"),
        step(2, 1, kind="tool", tool="look", input={"q": 1}, output="Error: bad q"),
        step(3, 1, kind="tool", tool="look", input={"q": 2}, output="found it"),
    )
    assert cause_of(*steps) is None


def test_an_empty_retrieval_that_an_answer_was_built_on() -> None:
    steps = (step(1, **ROOM), step(2, 1, kind="retriever", output=[]), step(3, 1, kind="llm", output="It is blue."))
    assert cause_of(*steps) == (2, "empty")


def test_an_empty_search_beside_one_that_found_something() -> None:
    steps = (step(1, **ROOM), step(2, 1, kind="retriever", output=[]), step(3, 1, kind="retriever", output=[{"id": 1}]))
    assert cause_of(*steps) is None


def test_a_tool_that_lists_nothing_is_no_fault() -> None:
    steps = (
        step(1, **ROOM, kind="agent"),
        step(2, 1, kind="tool", output=[]),
        step(3, 1, kind="llm", output="You have none open."),
    )
    assert cause_of(*steps) is None


def test_an_empty_stage_makes_the_next_one_fail() -> None:
    steps = (
        step(1, **ROOM, error="IndexError: list index out of range"),
        step(2, 1, name="filter", input={"items": list(range(20))}, output=[]),
        step(3, 1, name="rank", input={"items": []}, error="IndexError: list index out of range"),
    )
    found = cause(*steps)
    assert found is not None
    assert (found.position, found.failure, found.sign) == (1, 2, "empty")
    assert "the step rank failed on it" in found.because[1]


def test_bad_json_is_the_fault_of_who_wrote_it() -> None:
    steps = (
        step(1, **ROOM, error="JSONDecodeError: Expecting value"),
        step(2, 1, kind="llm", output="Sure! Here is the JSON: {"),
        step(3, 1, name="parse", input="Sure! Here is the JSON: {", error="JSONDecodeError: Expecting value"),
    )
    assert cause_of(*steps) == (2, "bad_output")


def test_a_cut_answer_by_finish_reason() -> None:
    steps = (step(1, **ROOM, kind="agent"), step(2, 1, kind="llm", output="It goes on and", finish="length"))
    assert cause_of(*steps) == (2, "cut")


def test_a_refusal() -> None:
    steps = (step(1, **ROOM, kind="agent"), step(2, 1, kind="llm", output="I can't help with that."))
    assert cause_of(*steps) == (2, "refused")


def test_a_wrong_tool_call_is_the_models_fault() -> None:
    steps = (
        step(1, **ROOM, kind="agent", error="ToolError: unknown tool fly"),
        step(2, 1, kind="llm", output=calls("fly")),
        step(3, 1, kind="tool", tool="fly", error="ToolError: unknown tool fly"),
    )
    assert cause_of(*steps) == (2, "misuse")


def test_a_wrong_tool_call_that_only_the_next_prompt_tells_of() -> None:
    told = [{"role": "assistant", "content": ""}, {"role": "tool", "content": "Error: unknown tool fly"}]
    steps = (
        step(1, **ROOM, kind="agent"),
        step(2, 1, kind="llm", output=calls("fly")),
        step(3, 1, kind="llm", input=told, output="I could not do it."),
    )
    assert cause_of(*steps) == (2, "fed")


def test_a_loop_of_the_same_call() -> None:
    rounds = [
        one
        for n in range(2, 10, 2)
        for one in (
            step(n, 1, kind="llm", output=calls("look", q=1)),
            step(n + 1, 1, kind="tool", tool="look", input={"q": 1}, output="nothing new"),
        )
    ]
    assert cause_of(step(1, **ROOM, kind="agent", error="MaxIterationsExceeded: 4"), *rounds) == (4, "loop")


def test_polling_until_the_result_changes_is_no_loop() -> None:
    polls = [step(n, 1, kind="tool", tool="state", input={"job": 1}, output="running") for n in range(2, 6)]
    done = step(6, 1, kind="tool", tool="state", input={"job": 1}, output="done")
    assert cause_of(step(1, **ROOM, kind="agent"), *polls, done) is None


def test_a_time_out_is_the_fault_of_the_slow_step_below() -> None:
    steps = (
        step(1, at=0, ms=10_500, error="GatewayTimeout: upstream timed out"),
        step(2, 1, at=10, ms=10_000, kind="http", input="GET /a", error="ReadTimeout: timed out"),
        step(3, 2, at=20, ms=12_000, kind="db", input="SELECT slow"),
    )
    assert cause_of(*steps) == (3, "timeout")


def test_a_short_step_that_tells_of_a_time_out_is_itself_the_fault() -> None:
    told = "OrderError: timeout after 3000 ms"
    assert cause_of(step(1, **ROOM, error=told), step(2, 1, kind="tool", ms=2, error=told)) == (2, "error")


def test_a_retry_hides_the_first_failure() -> None:
    steps = (
        step(1, **ROOM, error="IndexError: out of range"),
        step(2, 1, name="fetch", kind="http", input="GET /a", error="ReadTimeout: slow"),
        step(3, 1, name="fetch", kind="http", input="GET /a", output={"rows": [], "source": "fallback"}),
        step(4, 1, name="rank", input={"items": []}, error="IndexError: out of range"),
    )
    assert cause_of(*steps) == (2, "retry")


def test_a_retry_that_worked_is_no_fault() -> None:
    steps = (
        step(1, **ROOM),
        step(2, 1, name="fetch", kind="http", input="GET /a", error="ReadTimeout: slow"),
        step(3, 1, name="fetch", kind="http", input="GET /a", output={"rows": [1]}),
    )
    assert cause_of(*steps) is None


def test_retries_that_all_failed_lead_to_the_first() -> None:
    told = "ConnectionError: refused"
    tries = [step(n, 1, name="call", kind="http", input="GET /a", error=told) for n in (2, 3, 4)]
    assert cause_of(step(1, **ROOM, error=told), *tries) == (2, "retry")


def test_an_error_that_only_a_log_tells() -> None:
    steps = (step(1, **ROOM), step(2, 1, kind="tool", output="partly"))
    assert cause_of(*steps, records=[log(2, "partial write")]) == (2, "logged")
    assert cause_of(*steps, records=[log(2, "slow", severity=13)]) is None


@pytest.mark.parametrize(
    ("at_ms", "parallel", "cause"),
    [(25, False, (2, "logged")), (25, True, None), (5000, False, None)],
)
def test_an_error_in_a_log_that_names_no_step(at_ms: int, parallel: bool, cause: tuple[int, str] | None) -> None:
    """It is the innermost step's that ran at the time, where only one can have been it."""
    steps = [step(1, **ROOM), step(2, 1, at=20, kind="tool", output="partly"), step(3, 1, at=40)]
    steps += [step(4, 1, at=21, ms=20)] if parallel else []
    record = msgspec.structs.replace(log(9, "partial write"), span_id=b"", time_ns=BEGIN_NS + at_ms * MS)
    assert cause_of(*steps, records=[record]) == cause


def test_an_error_that_only_a_span_event_tells() -> None:
    events = '[{"name":"log","time_unix_nano":"1","attributes":{"level":"error","message":"partial write"}}]'
    steps = (step(1, **ROOM), step(2, 1, kind="tool", output="partly"))
    assert cause_of(*steps, events={steps[1].span_id: events}) == (2, "logged")


SLOW = (
    step(1, at=0, ms=9_000),
    step(2, 1, at=10, ms=8_900, kind="http", input="GET /a"),
    step(3, 2, at=20, ms=8_800, kind="db", input="SELECT 1"),
)


def test_a_dependency_far_slower_than_its_past() -> None:
    past = {StepName("svc", one.name, one.kind): StepHistory(100, 40.0, 90.0, 0.0) for one in SLOW}
    assert cause_of(*SLOW, history=past) == (3, "slow")


def test_slow_without_a_past_says_nothing() -> None:
    assert cause_of(*SLOW) is None


@pytest.mark.parametrize("past_runs", [1, 9])
def test_a_short_past_is_no_past(past_runs: int) -> None:
    past = {StepName("svc", one.name, one.kind): StepHistory(past_runs, 40.0, 90.0, 0.0) for one in SLOW}
    assert cause_of(*SLOW, history=past) is None


def test_no_steps_have_no_cause() -> None:
    empty = case(step(1))
    empty.steps = []
    assert find(gather(empty)) is None


def test_confidence_is_a_share() -> None:
    found = cause(step(1, **ROOM, error="E: no"), step(2, 1, kind="tool", error="E: no"))
    assert found is not None
    assert 0 < found.confidence <= 1
