"""Whatever comes: a decoder gives a request or says Rejected, and what it gives can be stored."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.errors import Rejected
from collector.mapping.logs import map_logs
from collector.mapping.pairs import Unreadable
from collector.mapping.steps import map_traces
from collector.receiver.decode import Decoder, Encoding
from collector.receiver.deep import text_of_json, text_of_wire
from collector.receiver.json_text import json_text, parse_json, without_surrogates
from collector.receiver.salvage import salvage
from collector.receiver.shape import TRACES
from collector.receiver.wire import Malformed, delimited, fields

DECODER = Decoder()
SPAN = {
    "traceId": "5b8efff798038103d269b633813fc60c",
    "spanId": "eee19b7ec3c1b174",
    "parentSpanId": "eee19b7ec3c1b173",
    "name": "step",
    "kind": 2,
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": 1544712661000000000,
    "attributes": [{"key": "k", "value": {"stringValue": "v"}}, {"key": "n", "value": {"intValue": "5"}}],
    "events": [{"name": "e", "timeUnixNano": "1", "attributes": []}],
    "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}],
    "status": {"code": 2, "message": "no"},
}
DOCUMENT = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{"scope": {"name": "s", "attributes": []}, "spans": [SPAN, SPAN]}],
        }
    ]
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["\ud800", "\0", "NaN", "1e21", ""]),
)
JSON_VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def check_decoding(body: bytes, encoding: Encoding, signal: str = "traces") -> None:
    """As ingest does: decoded, then mapped; leniently, where mapping can't read an attribute."""
    try:
        decoded = (DECODER.traces if signal == "traces" else DECODER.logs)(body, encoding)
        if signal == "logs":
            map_logs(decoded.request, lambda _: 1)
        else:
            try:
                map_traces(decoded.request, lambda _: 1, decoded.findings.repairs)
            except Unreadable:
                decoded = DECODER.traces(body, encoding, leniently=True)
                map_traces(decoded.request, lambda _: 1, decoded.findings.repairs)
    except Rejected as refusal:
        assert str(refusal)  # noqa: PT017 - both ways out are right
        return
    for refusal in decoded.findings.refusals:
        assert refusal.message
        assert refusal.spans > 0


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, child in inner for path in paths(child, (*at, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def wire(document: Any) -> bytes:
    return bytes(DECODER.traces(json.dumps(document).encode(), Encoding.JSON).request.SerializeToString())


WIRE = wire(DOCUMENT)


@given(st.binary(max_size=300), st.sampled_from(Encoding), st.sampled_from(["traces", "logs"]))
def test_any_bytes(body: bytes, encoding: Encoding, signal: str) -> None:
    check_decoding(body, encoding, signal)


@given(st.lists(st.tuples(st.integers(0, len(WIRE) - 1), st.integers(0, 255)), max_size=6), st.integers(0, len(WIRE)))
@settings(max_examples=400)
def test_a_request_with_bytes_changed_or_cut(changes: list[tuple[int, int]], length: int) -> None:
    body = bytearray(WIRE)
    for at, byte in changes:
        body[at] = byte
    check_decoding(bytes(body), Encoding.PROTOBUF)
    check_decoding(bytes(body), Encoding.PROTOBUF, "logs")
    check_decoding(bytes(body[:length]), Encoding.PROTOBUF)


@given(JSON_VALUES, st.sampled_from(["traces", "logs"]))
def test_any_json(document: Any, signal: str) -> None:
    check_decoding(json.dumps(document).encode(), Encoding.JSON, signal)


@given(st.sampled_from(paths(DOCUMENT)), JSON_VALUES)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_a_document_with_one_value_changed(path: tuple[Any, ...], value: Any) -> None:
    check_decoding(json.dumps(replaced(DOCUMENT, path, value)).encode(), Encoding.JSON)


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=50))
def test_any_text_in_json_is_stored_whole_or_with_marks(text: str) -> None:
    body = json.dumps(replaced(DOCUMENT, ("resourceSpans", 0, "scopeSpans", 0, "spans", 0, "name"), text)).encode()
    decoded = DECODER.traces(body, Encoding.JSON)
    name = decoded.request.resource_spans[0].scope_spans[0].spans[0].name
    assert name == without_surrogates(text)
    assert (name != text) == bool(decoded.findings.repairs)


@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_in_a_string_cost_their_characters(text: bytes) -> None:
    span = ExportTraceServiceRequest.FromString(WIRE).resource_spans[0].scope_spans[0].spans[0]
    span.ClearField("name")
    body = delimited(1, delimited(2, delimited(2, span.SerializeToString() + delimited(5, text))))
    decoded = DECODER.traces(body, Encoding.PROTOBUF)
    (found,) = decoded.request.resource_spans[0].scope_spans[0].spans
    assert found.name == text.decode("utf-8", "replace")
    assert Span.FromString(found.SerializeToString()).attributes == span.attributes


@given(st.binary(max_size=200))
def test_salvage_gives_what_the_parser_gives(body: bytes) -> None:
    """Whatever protobuf takes, the lenient way takes, too, and gives back the same."""
    try:
        strict = ExportTraceServiceRequest.FromString(body)
    except Exception:  # the parser's own error class differs by implementation
        return
    request, findings = salvage(TRACES, body)
    assert [len(each.scope_spans) for each in request.resource_spans] == [
        len(each.scope_spans) for each in strict.resource_spans
    ]
    assert not findings.repairs


def test_salvage_gives_the_same_request() -> None:
    request, findings = salvage(TRACES, WIRE)
    assert request.SerializeToString() == WIRE
    assert not findings.repairs
    assert not findings.refusals


@given(st.binary(max_size=100))
def test_the_wire_is_walked_whole_or_not_at_all(data: bytes) -> None:
    try:
        found = list(fields(data))
    except Malformed:
        return
    assert b"".join(field.raw for field in found) == data


@pytest.mark.parametrize("depth", [10, 199, 250, 5000])
def test_deep_values_as_text(depth: int) -> None:
    document: Any = {"stringValue": "core"}
    data = b"\x0a\x04core"
    for _ in range(min(depth, 300)):
        document = {"arrayValue": {"values": [document]}}
    for _ in range(depth):
        data = delimited(5, delimited(1, data))
    for text in (text_of_json(document), text_of_wire(data)):
        assert ("core" in text) == (depth < 200)
        json.loads(text)


def test_values_of_all_types_as_text() -> None:
    document = {
        "kvlistValue": {
            "values": [
                {"key": "s", "value": {"stringValue": "ü"}},
                {"key": "i", "value": {"intValue": "9223372036854775807"}},
                {"key": "b", "value": {"boolValue": True}},
                {"key": "d", "value": {"doubleValue": 0.5}},
                {"key": "x", "value": {"bytesValue": "AAE="}},
                {"key": "n", "value": {}},
                {"key": "l", "value": {"arrayValue": {"values": [{"intValue": 1}]}}},
            ]
        }
    }
    span = dict(SPAN, attributes=[{"key": "k", "value": document}])
    body = wire(replaced(DOCUMENT, ("resourceSpans", 0, "scopeSpans", 0, "spans"), [span]))
    value = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0].attributes[0].value
    expected = {"s": "ü", "i": 2**63 - 1, "b": True, "d": 0.5, "x": "AAE=", "n": None, "l": [1]}
    assert json.loads(text_of_wire(value.SerializeToString())) == expected
    assert json.loads(text_of_json(document)) == expected | {"i": "9223372036854775807"}


@given(JSON_VALUES)
def test_json_text_is_always_json(value: Any) -> None:
    text = json_text(value)
    assert json_text(json.loads(text)) == text


@pytest.mark.parametrize("read", [parse_json, lambda body: DECODER.metrics(body, Encoding.JSON)])
@given(body=st.binary(max_size=100))
def test_any_bytes_as_json(read: Callable[[bytes], Any], body: bytes) -> None:
    try:
        read(body)
    except Rejected as refusal:
        assert str(refusal)  # noqa: PT017 - both ways out are right


def test_wide_garbage_is_refused_soon() -> None:
    """Many small fields that mean nothing: no time grows faster than the bytes do."""
    check_decoding(os.urandom(64) * 20_000, Encoding.PROTOBUF)
    check_decoding(b"\x0a\x00" * 500_000, Encoding.PROTOBUF)
    assert len(ExportLogsServiceRequest.FromString(b"\x0a\x00" * 10).resource_logs) == 10
