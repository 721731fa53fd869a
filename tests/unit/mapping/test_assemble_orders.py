"""Any order, split and repetition of an execution's parts gives the same execution."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.mapping.assemble import assemble
from collector.mapping.join import join
from collector.mapping.prices import PriceTable
from collector.mapping.rates import Rates
from collector.model import Record, Step, StepError, StepExtra, Tokens
from tests.unit.mapping.shapes import START_NS, record, span_id

PRICES = PriceTable({"gpt-4o": Rates(input=3, output=10), "gpt-4o-mini": Rates(input=0.1, output=0.7)})
few = st.integers(0, 5)
maybe = st.none() | few
ids = st.integers(1, 9).map(span_id)


def texts(*choices: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *choices])


extras = st.builds(
    StepExtra,
    tags=st.none() | st.lists(st.sampled_from("ab"), max_size=2),
    environment=texts("prod", "test"),
    dialect=texts("gen_ai", "openllmetry"),
    response_id=texts("r1", "r2"),
    execution_id=texts("x", "y"),
    plumbing=st.booleans(),
    pending_parent_id=st.none() | st.none() | ids.map(bytes.hex) | st.just("not hex"),
)
steps = st.builds(
    Step,
    span_id=ids,
    parent_span_id=st.none() | st.integers(1, 12).map(span_id),
    name=st.sampled_from(["a", "b"]),
    kind=st.sampled_from(["agent", "llm", "tool", "http"]),
    span_kind=st.just(1),
    status=st.sampled_from(["unset", "ok", "error"]),
    service=texts("shop"),
    start_ns=few.map(lambda ms: START_NS + ms * 10**6),
    duration_ns=st.none() | few.map(lambda ms: ms * 10**6),
    input=texts('"question"'),
    output=texts('"answer"', '{"a":1}'),
    error=st.none() | st.builds(StepError, type=texts("E"), message=texts("m"), stacktrace=texts("t")),
    model=texts("gpt-4o", "gpt-4o-mini", "house-model"),
    provider=texts("openai"),
    tool=st.none(),
    session_id=texts("s1", "s2"),
    user_id=texts("u1"),
    tokens=st.none() | st.builds(Tokens, maybe, maybe, maybe, maybe, maybe),
    cost_usd=st.sampled_from([None, 0.1, 0.2, 0.7]),
    cost_source=st.just("sender"),
    extra=st.none() | extras,
    warnings=st.lists(st.sampled_from(["dropped 3 attributes", "odd"]), max_size=1),
)
NAMES = [None, "gen_ai.user.message", "gen_ai.system.message", "gen_ai.choice", "exception", "other"]
BODIES: list[Any] = [None, "text", {"content": "hi"}, {"index": 1, "message": {"content": "ok"}}]


@st.composite
def log_records(draw: st.DrawFn) -> list[Record]:
    """Records that are distinct by their id, or by their content where they have none."""
    return [
        record(
            draw(st.sampled_from(NAMES)),
            draw(st.sampled_from(BODIES)),
            span=draw(st.integers(0, 11)),
            number=draw(st.just(number)),
            at=draw(few),
            severity=draw(st.sampled_from([0, 9, 17])),
            attributes=draw(st.sampled_from([{}, {"event.name": "gen_ai.choice"}, {"exception.type": "E"}])),
        )
        for number in range(draw(few))
    ]


executions = st.tuples(st.lists(steps, max_size=12), log_records())


@settings(max_examples=150, deadline=None)
@given(execution=executions, draw=st.data())
def test_order_and_repetition_change_nothing(execution: tuple[list[Step], list[Record]], draw: st.DataObject) -> None:
    some, records = execution
    again = st.lists(st.sampled_from(some), max_size=4) if some else st.just([])
    shuffled = draw.draw(st.permutations(some + draw.draw(again)))
    mixed = draw.draw(st.permutations(records + records[:2]))
    assert assemble(shuffled, mixed, PRICES) == assemble(some, records, PRICES)


@settings(max_examples=100, deadline=None)
@given(execution=executions)
def test_what_was_assembled_assembles_to_itself(execution: tuple[list[Step], list[Record]]) -> None:
    found, facts = assemble(*execution, PRICES)
    again, facts_again = assemble(found, execution[1], PRICES)
    assert again == found
    assert facts_again == facts


@settings(max_examples=100, deadline=None)
@given(execution=executions)
def test_no_step_and_no_record_is_lost(execution: tuple[list[Step], list[Record]]) -> None:
    some, records = execution
    found, _ = assemble(some, records)
    kept = {(each.span_id, each.start_ns) for each in found}
    real = [each for each in some if not (each.extra and each.extra.pending_parent_id and each.parent_span_id)]
    assert kept >= {(each.span_id, each.start_ns) for each in real}
    assert len(kept) == len(found)
    named = {each.span_id for each in found}
    assert {each.record_id for each in join(found, records)[1]} == {
        each.record_id for each in records if each.span_id not in named
    }
