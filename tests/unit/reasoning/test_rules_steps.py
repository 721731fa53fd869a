"""What the rules say of a step, word for word."""

from typing import Any

import msgspec
import pytest

from collector.model import EXECUTION_SPAN, Step, Tokens
from collector.reasoning.rules import Rules, explain
from collector.store.history import StepHistory, StepName
from tests.unit.reasoning.cases import case, log, span_id, step

ROOT = step(1, name="run", at=0, ms=1000)


def told(one: Step, *others: Step, **given: Any) -> str:
    """The text of one step below `ROOT`."""
    explained = explain(case(ROOT, one, *others, due={one.span_id}, **given))
    assert [explanation.span_id for explanation in explained] == [one.span_id]
    return explained[0].text


def facts(one: Step, *others: Step, **given: Any) -> dict[str, Any]:
    raw = explain(case(ROOT, one, *others, due={one.span_id}, **given))[0].facts
    assert raw is not None
    found: dict[str, Any] = msgspec.json.decode(raw)
    return found


WHY = [{"role": "user", "content": "Why?"}]
CALLS = [{"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": '{"city":"Bern","n":2}'}}]}]
TEXTS = [
    (
        step(2, 1, kind="llm", model="m-x", ms=410, input=WHY, output="Because.", tokens=(12400, 31), cost=0.0042),
        "It asked m-x “Why?” and got “Because.” (12,400 tokens in, 31 out, $0.0042). "
        "It took 410 ms, 41% of the execution.",
    ),
    (
        step(2, 1, kind="llm", model="gpt-x", output=CALLS),
        "It called gpt-x, which asked for look(city=“Bern”, n=2). It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="llm", model="gpt-x"),
        "It called gpt-x. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="tool", tool="look", ms=2, input={"city": "Bern"}, output={"sky": "rain"}),
        'It called the tool look with city=“Bern”, which returned {"sky":"rain"}. It took 2.0 ms.',
    ),
    (
        step(2, 1, kind="retriever", input="umbrellas", output=[{"id": 1}, {"id": 2}]),
        "It searched for “umbrellas” and found 2 documents. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="http", span_kind=3, input="GET https://a/b?c=1", output=200),
        "It sent GET https://a/b?c=1 and got status 200. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="http", span_kind=2, service="shop", input="POST /orders", output=201),
        "The service shop answered POST /orders with status 201. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="db", input="SELECT id FROM a"),
        "It ran the query “SELECT id FROM a”. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="function", name="rank", input={"n": 3}, output=[1, 2, 3]),
        'The step rank ran with {"n":3} and gave 3 items. It took 10 ms, 1% of the execution.',
    ),
    (
        step(2, 1, kind="messaging", span_kind=4, name="publish", input="publish orders"),
        "It sent “publish orders”. It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="agent", name="invoke_agent scout", input="Find it.", output="Found."),
        "The agent scout worked on “Find it.” and answered “Found.” It took 10 ms, 1% of the execution.",
    ),
    (
        step(2, 1, kind="function", name="open", ms=None),
        "The step open ran. Its end is not known.",
    ),
]


@pytest.mark.parametrize(("one", "text"), TEXTS, ids=[text.split(".")[0][:40] for _, text in TEXTS])
def test_what_a_step_did(one: Step, text: str) -> None:
    assert told(one) == text


def test_an_error_and_where_it_came_from() -> None:
    outer = step(2, 1, kind="agent", name="scout", at=20, ms=50, error="E: no")
    inner = step(3, 2, kind="tool", tool="look", at=30, ms=9, error="E: no")
    assert "It failed: “E: no”, which came from the tool look" in told(outer, inner)
    assert facts(outer, inner)["error_from"] == span_id(3).hex()
    assert facts(outer, inner)["cites"] == [span_id(3).hex()]


def test_a_retry_is_told_with_what_it_retried() -> None:
    first = step(2, 1, kind="tool", tool="look", input={"q": 1}, error="E: slow")
    second = step(3, 1, kind="tool", tool="look", input={"q": 1}, output="found")
    assert told(first, second).endswith("It failed: “E: slow”; a later attempt worked.")
    assert told(second, first).endswith("This was attempt 2 of 2, after one that failed with “E: slow”.")
    found = facts(second, first)
    assert (found["retry_of"], found["attempt"]) == (span_id(2).hex(), 2)
    assert facts(first, second)["recovered"] is True


def test_repetition_is_counted() -> None:
    row = [step(n, 1, kind="tool", tool="look", input={"q": 1}, output="same") for n in range(2, 6)]
    assert "The same was done 4 times with the same input" in told(*row)
    assert facts(*row)["loop_count"] == 4


def test_an_error_that_the_status_does_not_tell() -> None:
    one = step(2, 1, kind="tool", tool="look", status="ok", output={"error": "no such order"})
    assert "Its result is an error although its status is ok: “no such order”" in told(one)
    found = facts(one)
    assert (found["told_error"], found["contradictory"], found["root_cause"]) == ("no such order", True, True)


@pytest.mark.parametrize(
    ("one", "words", "fact"),
    [
        (step(2, 1, kind="retriever", output=[]), "It found nothing.", "empty_output"),
        (
            step(2, 1, kind="llm", output="I can't help with that."),
            "The model refused to do what it was asked.",
            "refused",
        ),
        (
            step(2, 1, kind="llm", output="So it", finish="length"),
            "The answer was cut off at the token limit.",
            "truncated",
        ),
    ],
)
def test_silent_faults(one: Step, words: str, fact: str) -> None:
    assert words in told(one)
    assert facts(one)[fact] is True


def test_a_logged_error_is_told_once() -> None:
    one = step(2, 1, kind="tool", error="E: broken pipe")
    assert "logged" not in told(one, records=[log(2, "broken pipe")])
    assert "it logged the error “disk full”" in told(one, records=[log(2, "disk full")])


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (40, "It took 40 ms, 4% of the execution (usually 40 ms)."),
        (95, "It took 95 ms, 10% of the execution, more than 95% of its 100 past runs (usually 40 ms)."),
        (900, "It took 900 ms, 90% of the execution: 22 times its usual 40 ms over 100 runs."),
    ],
)
def test_the_time_against_the_past(ms: int, words: str) -> None:
    one = step(2, 1, kind="db", input="SELECT 1", ms=ms)
    past = {StepName("svc", "step 2", "db"): StepHistory(100, 40.0, 90.0, 0.01)}
    assert words in told(one, history=past)
    assert facts(one, history=past)["history"].get("unusual", False) is (ms == 900)


def test_a_call_that_uses_most_tokens_is_told() -> None:
    one, other = step(2, 1, kind="llm", tokens=(9_000, 500)), step(3, 1, kind="llm", tokens=(400, 100))
    assert "used 95% of all tokens" in told(one, other, tokens=Tokens(input=9_400, output=600))
    assert facts(one, other, tokens=Tokens(input=9_400, output=600))["token_share"] == 0.95


def test_time_of_its_own_leaves_out_children_that_overlap() -> None:
    one = step(2, 1, at=100, ms=100)
    assert facts(one, step(3, 2, at=110, ms=40), step(4, 2, at=120, ms=50))["self_ms"] == 40


def test_only_what_is_due_is_explained() -> None:
    assert [one.span_id for one in explain(case(ROOT, step(2, 1), due={EXECUTION_SPAN}))] == [EXECUTION_SPAN]
    assert explain(case(ROOT, step(2, 1), due=set())) == []


async def test_the_reasoner_says_the_same_for_many_steps() -> None:
    """More steps than fit into a moment are explained outside of the event loop."""
    many = case(ROOT, *(step(n, 1, kind="tool", input=n) for n in range(2, 200)))
    assert await Rules().explain(many) == explain(many)
    few = case(ROOT, step(2, 1))
    assert await Rules().explain(few) == explain(few)
