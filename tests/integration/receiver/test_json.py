"""OTLP.md section 4: OTLP/JSON is not protobuf's JSON."""

import json
import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.integration.receiver.conftest import JSON, SHARED, Outcome, Receiver
from tests.integration.receiver.otlp import START_NS

pytestmark = SHARED


@pytest.fixture
def receiver(shared_receiver: Receiver) -> Receiver:
    return shared_receiver


TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def one_span(**fields: Any) -> dict[str, Any]:
    known = {"traceId": os.urandom(16).hex(), "spanId": SPAN_ID, "name": "one", "startTimeUnixNano": str(START_NS)}
    return known | {"endTimeUnixNano": str(START_NS + 1)} | fields


def document(*spans: Any, **fields: Any) -> dict[str, Any]:
    return {
        "resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]
    } | fields


async def post(receiver: Receiver, body: Any) -> Outcome:
    return await receiver.http(body if isinstance(body, bytes) else json.dumps(body).encode(), JSON)


async def stored(receiver: Receiver, **fields: Any) -> Any:
    """The one step that a span with these fields becomes."""
    span = one_span(**fields)
    outcome = await post(receiver, document(span))
    assert (outcome.code, outcome.rejected, outcome.message) == (0, 0, "")
    (step,) = await receiver.rows("SELECT * FROM steps WHERE trace_id = $1", bytes.fromhex(span["traceId"]))
    return step


async def stored_value(receiver: Receiver, value: Any) -> Any:
    step = await stored(receiver, attributes=[{"key": "k", "value": value}])
    return orjson.loads(step["attributes"])["k"]


def warnings(step: Any) -> str:
    return " ".join(orjson.loads(step["warnings"] or "[]"))


@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_J1_ids_are_hex_in_any_case(receiver: Receiver, case: Any) -> None:
    link = {"traceId": case("aa" * 16), "spanId": case("bb" * 8)}
    step = await stored(
        receiver, traceId=case(TRACE_ID), spanId=case(SPAN_ID), parentSpanId=case("ab" * 8), links=[link]
    )
    assert (step["trace_id"].hex(), step["span_id"].hex(), step["parent_span_id"].hex()) == (
        TRACE_ID,
        SPAN_ID,
        "ab" * 8,
    )
    assert orjson.loads(step["links"])[0]["trace_id"] == "aa" * 16


NOT_HEX = ("W47/95gDgQPSabYzgT/GDA==", "zz" * 16, "abc", "", 5, "ab cd ef", "é" * 8, [1], {"a": 1}, True)


@pytest.mark.parametrize("field", ["traceId", "spanId"])
async def test_J1_an_id_that_is_not_hex_costs_its_span(receiver: Receiver, field: str) -> None:
    for count, wrong in enumerate(NOT_HEX, start=1):
        outcome = await post(receiver, document(one_span(), one_span(**{field: wrong})))
        assert (outcome.code, outcome.rejected) == (0, 1), wrong
        assert outcome.message
        assert len(await receiver.steps()) == count


async def test_J1_a_parent_that_is_not_hex_is_left_out(receiver: Receiver) -> None:
    for wrong in ("zz", "7+", 5, "é"):
        step = await stored(receiver, parentSpanId=wrong, links=[{"traceId": wrong, "spanId": wrong}])
        assert step["parent_span_id"] is None
        assert "parent" in warnings(step)


async def test_J2_bytes_are_base64_also_as_other_writers_spell_it(receiver: Receiver) -> None:
    for text in ("AAEC/w==", "AAEC_w==", "AAEC_w", "AAEC/w"):
        assert await stored_value(receiver, {"bytesValue": text}) == "AAEC/w=="


async def test_J3_enums_as_numbers_or_names(receiver: Receiver) -> None:
    for kind, number in ((2, 2), ("SPAN_KIND_CLIENT", 3), ("4", 4), (77, 77)):
        assert (await stored(receiver, kind=kind))["span_kind"] == number


async def test_J3_status_by_name(receiver: Receiver) -> None:
    assert (await stored(receiver, status={"code": "STATUS_CODE_ERROR", "message": "no"}))["status"] == "error"


async def test_J4_unknown_keys_at_every_level(receiver: Receiver) -> None:
    new = {"new": {"deep": [1]}, "another": None}
    value = {"key": "k", "value": {"stringValue": "v", **new}, **new}
    span = one_span(attributes=[value], events=[{"name": "e", **new}], status={"code": 1, **new}, **new)
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span], "scope": new, **new}], "resource": new, **new}], **new}
    assert (await post(receiver, body)).body == b"{}"
    (step,) = await receiver.steps()
    assert orjson.loads(step["attributes"]) == {"k": "v"}


async def test_J5_snake_case_is_read_too(receiver: Receiver) -> None:
    span = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "parent_span_id": "ab" * 8,
        "name": "one",
        "start_time_unix_nano": START_NS,
        "attributes": [{"key": "k", "value": {"string_value": "v"}}, {"key": "n", "value": {"int_value": "5"}}],
    }
    body = {"resource_spans": [{"scope_spans": [{"spans": [span]}]}]}
    assert (await post(receiver, body)).body == b"{}"
    (step,) = await receiver.steps()
    assert step["start_ns"] == START_NS
    assert orjson.loads(step["attributes"]) == {"k": "v", "n": 5}


@pytest.mark.parametrize("form", [str, int])
async def test_J6_64_bit_integers_are_exact(receiver: Receiver, form: Any) -> None:
    for number in (2**63 - 1, -(2**63), 2**53 + 1, 0):
        assert await stored_value(receiver, {"intValue": form(number)}) == number
    step = await stored(
        receiver, startTimeUnixNano=form(1_699_999_999_123_456_789), endTimeUnixNano=form(1_699_999_999_123_456_790)
    )
    assert (step["start_ns"], step["duration_ns"]) == (1_699_999_999_123_456_789, 1)


async def test_J7_doubles(receiver: Receiver) -> None:
    for value, expected in {0.5: 0.5, 3: 3.0, "2.5": 2.5, None: None}.items():
        found = await stored_value(receiver, {"doubleValue": value})
        assert (found, type(found)) == (expected, type(expected))
    for text in ("NaN", "Infinity", "-Infinity"):
        assert await stored_value(receiver, {"doubleValue": text}) == text


async def test_J7_a_bare_NaN_is_read(receiver: Receiver) -> None:
    body = json.dumps(document(one_span(attributes=[{"key": "k", "value": {"doubleValue": float("nan")}}])))
    assert "NaN" in body
    assert (await post(receiver, body.encode())).body == b"{}"
    assert orjson.loads((await receiver.steps())[0]["attributes"]) == {"k": "NaN"}


async def test_J8_null_is_absent(receiver: Receiver) -> None:
    fields = (
        "parentSpanId",
        "kind",
        "attributes",
        "events",
        "links",
        "status",
        "flags",
        "traceState",
        "droppedLinksCount",
    )
    step = await stored(receiver, **dict.fromkeys(fields))
    assert (step["parent_span_id"], step["span_kind"], step["attributes"]) == (None, 0, "{}")


async def test_J9_values_as_javascript_writes_them(receiver: Receiver) -> None:
    attributes = [
        {"key": "temperature", "value": {"intValue": 0}},
        {"key": "top_p", "value": {"doubleValue": 0.7}},
        {"key": "huge", "value": {"intValue": 1e21}},
        {"key": "empty", "value": {}},
        {"key": "none"},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {}, {"doubleValue": 1.5}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": False}}]}}},
        {"key": "nothing", "value": {"arrayValue": {}}},
    ]
    step = await stored(receiver, attributes=attributes)
    assert orjson.loads(step["attributes"]) == {
        "temperature": 0,
        "top_p": 0.7,
        "huge": 1e21,
        "empty": None,
        "none": None,
        "list": [1, None, 1.5],
        "map": {"a": False},
        "nothing": [],
    }
    assert "double" in warnings(step)


HOSTILE = {
    "lone surrogate": rb'"\ud800"',
    "bytes that are not UTF-8": b'"\xff\xfe"',
    "NUL": rb'"a\u0000b"',
    "long number": b"9" * 6000,
    "very long number in text": b'"' + b"9" * 6000 + b'"',
    "exponent": b"1e999999",
    "deep array": b"[" * 5000 + b"]" * 5000,
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "unclosed": b"[" * 100_000,
    "wrong type": b"[[1], {}, null]",
    "true": b"true",
}


def places() -> Iterator[bytes]:
    """Documents with an X in the place of one value."""
    ids = {"traceId": os.urandom(16).hex(), "spanId": SPAN_ID}
    for fields in (
        {"name": "X"},
        {"new": "X"},
        {"startTimeUnixNano": "X"},
        {"kind": "X"},
        {"traceState": "X"},
        {"attributes": [{"key": "X", "value": {"intValue": 1}}]},
        {"attributes": [{"key": "k", "value": "X"}]},
        *({"attributes": [{"key": "k", "value": {kind: "X"}}]} for kind in ("stringValue", "intValue", "bytesValue")),
    ):
        yield json.dumps(document(ids | fields)).encode()
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "X"}}]}
    yield json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [ids]}]}]}).encode()
    yield b'"X"'


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_J10_hostile_documents_are_never_a_crash(receiver: Receiver, hostile: str) -> None:
    for template in places():
        outcome = await post(receiver, template.replace(b'"X"', HOSTILE[hostile]))
        assert outcome.http_status in (200, 400), (template, outcome)
    assert receiver.counted("xray_errors_total", event="export_failed") == 0


@pytest.mark.parametrize("text", [rb"a\ud800b", b"a\xffb", rb"a\u0000b"])
async def test_J10_bad_text_costs_one_character(receiver: Receiver, text: bytes) -> None:
    body = (
        json.dumps(document(one_span(name="X"), one_span(spanId="bb" * 8))).encode().replace(b'"X"', b'"' + text + b'"')
    )
    assert (await post(receiver, body)).body == b"{}"
    altered, untouched = await receiver.steps()
    names = {altered["name"], untouched["name"]}
    assert names == {"a\ufffdb", "one"}
    step = altered if altered["name"] != "one" else untouched
    assert "U+FFFD" in warnings(step)


async def test_J10_the_last_of_two_equal_keys_wins(receiver: Receiver) -> None:
    body = json.dumps(document(one_span(name="first"))).replace('"name": "first"', '"name": "first", "name": "last"')
    await post(receiver, body.encode())
    assert (await receiver.steps())[0]["name"] == "last"


@pytest.mark.parametrize("depth", [64, 300])
async def test_J10_deep_values_become_text(receiver: Receiver, depth: int) -> None:
    value: Any = {"stringValue": "core"}
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    attributes = [{"key": "deep", "value": value}, {"key": "k", "value": {"intValue": 1}}]
    step = await stored(receiver, attributes=attributes)
    assert orjson.loads(step["attributes"])["k"] == 1
    assert "deep" in warnings(step)
    if depth == 64:
        assert "core" in step["attributes"]


@pytest.mark.parametrize("attributes", [{"k": "v"}, {}])
async def test_J11_attributes_as_an_object(receiver: Receiver, attributes: Any) -> None:
    for body in (
        document(one_span(attributes=attributes)),
        {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [one_span()]}]}]},
        document(one_span(events=[{"name": "e", "attributes": attributes}])),
    ):
        outcome = await post(receiver, body)
        assert outcome.http_status == 400
        assert "attributes" in outcome.message
        assert "key" in outcome.message
    assert await receiver.steps() == []


SHAPES = (
    *(b"[]", b"1", b'"text"', b"null", b"{"),
    *(b'{"resourceSpans": {}}', b'{"resourceSpans": 5}', b'{"resourceSpans": [1]}'),
    *(b'{"resourceSpans": [{"scopeSpans": "x"}]}', b'{"resourceSpans": [{"scopeSpans": [{"spans": 1}]}]}'),
    b'{"resourceSpans": [{"resource": []}]}',
)


async def test_J10_documents_of_another_shape_are_bad_data(receiver: Receiver) -> None:
    for body in SHAPES:
        outcome = await post(receiver, body)
        assert outcome.http_status == 400, body
        assert outcome.message


async def test_J3_a_fault_in_a_span_costs_that_span(receiver: Receiver) -> None:
    for fault in ({"kind": "NO_SUCH_KIND"}, {"name": 5}, {"startTimeUnixNano": "soon"}, {"status": [1]}):
        outcome = await post(receiver, document(one_span(**fault), one_span(), 7))
        assert (outcome.code, outcome.rejected) == (0, 2), fault
    assert len(await receiver.steps()) == 4


async def test_J6_times_out_of_range_are_clamped(receiver: Receiver) -> None:
    step = await stored(receiver, startTimeUnixNano="-5", endTimeUnixNano=str(2**64))
    assert "clamped" in warnings(step)


async def test_J6_answers_count_as_text(receiver: Receiver) -> None:
    outcome = await post(receiver, document(one_span(traceId="no")))
    assert json.loads(outcome.body)["partialSuccess"]["rejectedSpans"] == "1"


async def test_J10_a_byte_order_mark_is_skipped(receiver: Receiver) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(document(one_span())).encode()
    assert (await post(receiver, body)).body == b"{}"
    assert len(await receiver.steps()) == 1


async def test_J1_logs_use_hex_ids_too(receiver: Receiver) -> None:
    record = {"traceId": TRACE_ID, "spanId": SPAN_ID, "timeUnixNano": str(START_NS), "body": {"stringValue": "hello"}}
    records = [record, record | {"traceId": "not hex"}, {"body": {"stringValue": "no trace"}}]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    outcome = await receiver.http(json.dumps(body).encode(), JSON, "logs")
    assert (outcome.code, outcome.rejected) == (0, 1)
    rows = await receiver.rows("SELECT trace_id, body FROM records")
    assert [(row["trace_id"].hex(), row["body"]) for row in rows] == [(TRACE_ID, '"hello"')]


async def test_J12_each_line_of_a_file_exporter_is_a_request(receiver: Receiver) -> None:
    file = b"\n".join(json.dumps(document(one_span(name=name))).encode() for name in ("one", "two"))
    for line in file.splitlines():
        assert (await post(receiver, line)).ok
    assert {row["name"] for row in await receiver.steps()} == {"one", "two"}
    whole = await post(receiver, file)
    assert (whole.http_status, len(await receiver.steps())) == (400, 2)
