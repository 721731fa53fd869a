"""Identity, times, status, fidelity: what a row keeps of any span, whatever it speaks."""

import math
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.otlp_out import span_of
from collector.mapping.span_rows import ROW_BYTES
from collector.mapping.steps import map_traces, projects_in
from collector.mapping.times import LATEST_US
from collector.model import POSTGRES_EPOCH_US
from tests.unit.mapping.spans import MS, START_NS, TRACE_ID, held, mapped, normal, pairs_of, request_of, row_of, span

PARENT = bytes(7) + b"\x09"


def test_a_span_in_its_columns() -> None:
    row = row_of(
        {"a": 1}, name="GET /", kind=3, parent_span_id=PARENT, flags=257, trace_state="ot=th:c", status=(1, "")
    )
    assert (row.trace_id, row.span_id, row.parent_span_id) == (TRACE_ID, bytes(7) + b"\x01", PARENT)
    assert (row.name, row.span_kind, row.flags, row.trace_state) == ("GET /", 3, 257, "ot=th:c")
    assert (row.start_ns, row.duration_ns) == (START_NS, 5 * MS)
    assert row.started_at == START_NS // 1000 - POSTGRES_EPOCH_US
    assert (row.status, row.status_code, row.status_message, row.service) == ("ok", 1, None, "shop")
    assert (row.events, row.links, row.extra, row.warnings, row.wire) == (None,) * 5


@pytest.mark.parametrize("bad", [b"", b"\x01", bytes(16), bytes(15), bytes(32)])
def test_a_bad_trace_id_costs_only_its_span(bad: bytes) -> None:
    batch = mapped(request_of([span(trace_id=bad), span(number=2)]))
    assert [row.span_id for row in batch.steps] == [bytes(7) + b"\x02"]
    assert [(refusal.reason, refusal.spans) for refusal in batch.refusals] == [("trace_id", 1)]


def test_bad_span_ids_are_counted_together() -> None:
    batch = mapped(request_of([span(), span(span_id=b"\x01"), span(span_id=bytes(8))]))
    assert [(refusal.reason, refusal.spans) for refusal in batch.refusals] == [("span_id", 2)]
    assert "16 bytes" not in batch.refusals[0].message


def test_spans_without_any_ids_look_like_logs() -> None:
    batch = mapped(request_of([span(trace_id=b"", span_id=b""), span(trace_id=b"", span_id=b"")]))
    [refusal] = batch.refusals
    assert (refusal.reason, refusal.spans) == ("not_spans", 2)
    assert "looks like OTLP logs" in refusal.message


@pytest.mark.parametrize("parent", [bytes(8), b"\x01", bytes(9)])
def test_an_odd_parent_is_none(parent: bytes) -> None:
    row = row_of(parent_span_id=parent)
    assert row.parent_span_id is None
    assert "parent" in held(row.warnings)[0]
    assert span_of(row).parent_span_id == parent


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "duration_ns", "warning"),
    [
        (0, 0, None, "no start time"),
        (0, START_NS, None, "no start time"),
        (START_NS, 0, None, "no end time"),
        (START_NS, START_NS - 1, None, "ends before it starts"),
        (2**64 - 1, 2**64 - 1, 0, "2262"),
        (START_NS, 2**64 - 1, 2**63 - 1 - START_NS, "2262"),
    ],
)
def test_impossible_times_are_kept_and_told(start_ns: int, end_ns: int, duration_ns: int | None, warning: str) -> None:
    row = row_of(start_time_unix_nano=start_ns, end_time_unix_nano=end_ns)
    assert row.duration_ns == duration_ns
    assert warning in " ".join(held(row.warnings))
    assert -POSTGRES_EPOCH_US <= row.started_at <= LATEST_US
    assert 0 <= row.start_ns < 2**63
    back = span_of(row)
    assert (back.start_time_unix_nano, back.end_time_unix_nano) == (start_ns, end_ns)


def test_no_length_is_a_length() -> None:
    assert row_of(end_time_unix_nano=START_NS).duration_ns == 0


def test_values_in_attributes() -> None:
    given = {
        "int": 2**63 - 1,
        "low": -(2**63),
        "float": 1.0,
        "bool": False,
        "zero": 0,
        "text": "",
        "list": [1, "a", None],
        "map": {},
    }
    row = row_of({**given, "none": AnyValue()})
    assert held(row.attributes) == {**given, "none": None}
    assert '"float":1.0' in row.attributes
    assert row.wire is None


@pytest.mark.parametrize("value", [b"\x00\xff", math.nan, math.inf, -math.inf, [b"x"], {"a": math.nan}])
def test_what_json_cannot_tell_is_kept_as_it_came(value: Any) -> None:
    row = row_of({"a": value})
    assert row.wire is not None
    assert row.warnings is None
    assert normal(span_of(row)) == normal(span({"a": value}))


def test_how_json_tells_it() -> None:
    row = row_of({"bytes": b"\x00\xff", "nan": math.nan, "inf": math.inf, "low": -math.inf})
    assert held(row.attributes) == {"bytes": "AP8=", "nan": "NaN", "inf": "Infinity", "low": "-Infinity"}


def test_of_equal_names_the_last_counts() -> None:
    made = span()
    made.attributes.extend([*pairs_of({"a": 1}), *pairs_of({"a": 2})])
    [row] = mapped(request_of([made])).steps
    assert held(row.attributes) == {"a": 2}
    assert "same key" in held(row.warnings)[0]
    assert normal(span_of(row)) == normal(made)


def test_an_index_into_a_string_table_counts_as_absent() -> None:
    made = span()
    made.attributes.append(KeyValue(key="a", value=AnyValue(string_value_strindex=3)))
    [row] = mapped(request_of([made])).steps
    assert held(row.attributes) == {"a": None}
    assert row.wire is not None
    assert len(held(row.warnings)) == 1


def test_nul_becomes_u_fffd_everywhere() -> None:
    made = span(
        {"a\x00": "b\x00", "gen_ai.request.model": "m\x00"}, name="n\x00", trace_state="t\x00", status=(2, "s\x00")
    )
    made.events.add(name="e\x00").attributes.extend(pairs_of({"k": ["v\x00"]}))
    made.links.add(trace_id=TRACE_ID, span_id=PARENT, trace_state="l\x00")
    [row] = mapped(request_of([made], resource={"service.name": "shop\x00"})).steps
    assert not any("\x00" in value or "\\u0000" in value for value in row if isinstance(value, str))
    assert (row.name, row.status_message, row.service, row.model) == ("n\ufffd", "s\ufffd", "shop\ufffd", "m\ufffd")
    assert held(row.attributes)["a\ufffd"] == "b\ufffd"
    assert any("U+FFFD" in warning for warning in held(row.warnings))
    assert normal(span_of(row)) == normal(made)


def test_a_text_that_only_spells_nul_is_left_alone() -> None:
    row = row_of({"a": "\\u0000", "xray.step.input": '{"b": "\\\\u0000"}'})
    assert held(row.attributes) == {"a": "\\u0000"}
    assert (row.warnings, row.wire) == (None, None)


def test_a_nul_inside_of_json_text() -> None:
    row = row_of({"xray.step.input": '{"b": "x\\u0000"}'})
    assert held(row.input) == {"b": "x\ufffd"}
    assert row.wire is not None


def test_dropped_data_is_told() -> None:
    row = row_of(dropped_attributes_count=3, dropped_links_count=1)
    assert held(row.warnings) == ["the sender dropped 3 attributes", "the sender dropped 1 links"]
    assert span_of(row).dropped_attributes_count == 3


def test_repairs_of_the_decoder_are_told_and_kept() -> None:
    batch = map_traces(request_of([span(), span(number=2)]), lambda _: 1, {bytes(7) + b"\x02": ["bad text"]})
    assert [row.warnings for row in batch.steps] == [None, '["bad text"]']


def test_moved_texts_come_back() -> None:
    for text in ("plain", '{"a": 1}', '[1, "x"]', '{"not json', "  {}", "", '"quoted"', "null", "7", "ü\n\\"):
        made = span({"xray.step.input": text, "xray.step.output": text, "b": 1})
        [row] = mapped(request_of([made])).steps
        assert normal(span_of(row)) == normal(made)
        assert row.wire is None


def test_events_and_links_are_kept() -> None:
    made = span(events=[("retry", {"attempt": 2})])
    made.links.add(trace_id=TRACE_ID, span_id=PARENT, flags=1).attributes.extend(pairs_of({"why": "batch"}))
    [row] = mapped(request_of([made])).steps
    assert held(row.events) == [{"name": "retry", "time_unix_nano": str(START_NS + MS), "attributes": {"attempt": 2}}]
    assert held(row.links) == [
        {"trace_id": TRACE_ID.hex(), "span_id": PARENT.hex(), "flags": 1, "attributes": {"why": "batch"}}
    ]


def test_projects_and_origins() -> None:
    request = request_of([span()], resource={"xray.project": "films", "service.name": "shop"}, scope="lib")
    request.resource_spans.add().scope_spans.add().spans.append(span(number=2))
    ids = {"films": 7, None: 1}
    assert projects_in(request) == {"films"}
    batch = map_traces(request, ids.__getitem__)
    assert [row.project_id for row in batch.steps] == [7, 1]
    assert set(batch.origins) == {(row.project_id, row.origin_id) for row in batch.steps}
    origin = batch.origins[7, batch.steps[0].origin_id]
    assert held(origin.resource) == {"attributes": {"xray.project": "films", "service.name": "shop"}}
    assert held(origin.scope) == {"name": "lib", "version": "", "attributes": {}}
    assert batch.size_bytes == 2 * ROW_BYTES


def test_one_origin_for_equal_resources() -> None:
    first, second = (mapped(request_of([span(number=number)])) for number in (1, 2))
    assert first.origins == second.origins
    assert mapped(request_of([span()], scope="other")).origins.keys() != first.origins.keys()


def test_a_session_of_the_resource_holds_for_spans_without_one() -> None:
    resource = {"session.id": "r"}
    assert row_of({}, resource=resource).session_id == "r"
    assert row_of({"session.id": "s"}, resource=resource).session_id == "s"


def test_unknown_status_codes_are_kept() -> None:
    made = Span.FromString(span().SerializeToString() + b"\x7a\x02\x18\x4d")
    [row] = mapped(request_of([made])).steps
    assert (row.status, row.status_code) == ("unset", 77)
