"""Whatever comes: no request raises, every row can be stored and read, and nothing depends on order."""

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.otlp_out import otlp_json, span_of
from collector.model import KINDS, StepRow
from tests.unit.mapping.spans import TRACE_ID, log, logged, mapped, normal, request_of, span, value_of
from tests.unit.mapping.test_hostile import known_keys

JSON_COLUMNS = ("input", "output", "extra", "attributes", "events", "links", "warnings")
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ('{"a": 1}', "[]", '"q"', "{", "null", "\x00")
)
scalars = st.none() | texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=9)
values = st.recursive(
    scalars, lambda each: st.lists(each, max_size=4) | st.dictionaries(texts, each, max_size=4), max_leaves=12
)
keys = (
    texts
    | st.sampled_from(known_keys())
    | st.builds(
        "{}.{}.{}".format, st.sampled_from(("llm.input_messages", "gen_ai.prompt")), st.integers(0, 10**12), texts
    )
)
attributes = st.dictionaries(keys, values, max_size=12)
uint64 = st.integers(0, 2**64 - 1)
spans = st.builds(
    lambda found, number, start, end, **fields: span(
        found, number, start_time_unix_nano=start, end_time_unix_nano=end, **fields
    ),
    attributes,
    st.integers(1, 2**64 - 1),
    uint64,
    uint64,
    name=texts,
    trace_state=texts,
    kind=st.integers(0, 9),
    flags=st.integers(0, 2**32 - 1),
    parent_span_id=st.binary(max_size=9),
    status=st.tuples(st.integers(0, 2), texts),
    events=st.lists(
        st.tuples(texts | st.sampled_from(("exception", "gen_ai.choice", "gen_ai.user.message")), attributes),
        max_size=3,
    ),
)
scopes = st.sampled_from(
    ("", "strands", "litellm", "gcp.vertex.agent", "langfuse-sdk", "com.anthropic.claude_code", "pipecat")
)


def check(row: StepRow) -> None:
    """What Postgres and every reader ask of a row."""
    assert row.kind in KINDS
    assert row.status in ("unset", "ok", "error")
    assert 0 <= row.start_ns < 2**63
    assert row.duration_ns is None or 0 <= row.duration_ns < 2**63
    assert all("\x00" not in value for value in row if isinstance(value, str))
    for column in JSON_COLUMNS:
        text = getattr(row, column)
        if text is not None:
            text.encode()
            json.loads(text)
            assert "\x00" not in str(json.loads(text))
    counts = (row.tokens_input, row.tokens_output, row.tokens_cached, row.tokens_cache_write, row.tokens_reasoning)
    assert all(count is None or 0 <= count < 2**63 for count in counts)
    assert row.cost_usd is None or math.isfinite(row.cost_usd)


@settings(max_examples=40, deadline=None)
@given(st.lists(spans, max_size=4), scopes, attributes)
def test_any_spans_become_rows_that_can_be_stored(made: list[Span], scope: str, resource: dict[str, Any]) -> None:
    request = request_of(made, scope, resource)
    batch = mapped(request)
    assert len(batch.steps) == len(made)
    for row, sent in zip(batch.steps, made, strict=True):
        check(row)
        assert normal(span_of(row)) == normal(sent)
    json.loads(otlp_json(batch.steps, {key[1]: origin.wire for key, origin in batch.origins.items()}))


@settings(max_examples=20, deadline=None)
@given(st.lists(spans, max_size=5), scopes, st.randoms(use_true_random=False))
def test_splits_and_order_change_no_row(made: list[Span], scope: str, chance: Any) -> None:
    whole = sorted(mapped(request_of(made, scope)).steps, key=repr)
    chance.shuffle(made)
    apart = [row for each in made for row in mapped(request_of([each], scope)).steps]
    assert sorted(apart, key=repr) == whole


@settings(max_examples=50, deadline=None)
@given(attributes, values, texts, st.booleans(), uint64)
def test_any_log_record_becomes_a_row(found: dict[str, Any], body: Any, name: str, is_traced: bool, at_ns: int) -> None:
    agents = {"event.name": "claude_code.api_request", "session.id": "s", **found}
    made = log(name, body, agents, time_unix_nano=at_ns, trace_id=TRACE_ID if is_traced else b"")
    batch = logged(made, scope=name)
    for row in batch.steps:
        check(row)
    for record in batch.records:
        assert "\x00" not in str(json.loads(record.attributes))
        assert record.body is None or "\x00" not in str(json.loads(record.body))
        assert 0 <= record.time_ns < 2**63
    assert logged(made, scope=name) == batch


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(texts, values), max_size=6))
def test_equal_names_in_any_number(pairs: list[tuple[str, Any]]) -> None:
    made = span()
    made.attributes.extend(KeyValue(key=key, value=value_of(value)) for key, value in pairs)
    [row] = mapped(request_of([made])).steps
    check(row)
    assert normal(span_of(row)) == normal(made)


def test_nothing_at_all() -> None:
    assert mapped(request_of([])).steps == []
    assert logged().records == []
