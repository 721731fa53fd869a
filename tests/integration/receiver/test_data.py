"""OTLP.md section 5: the data model, by all three routes."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from collector.receiver.wire import delimited, fields
from tests.integration.receiver.conftest import JSON, PROTOBUF, SHARED, Receiver
from tests.integration.receiver.otlp import START_NS, logs, otlp_json, span, traces

pytestmark = SHARED


@pytest.fixture
def receiver(shared_receiver: Receiver) -> Receiver:
    return shared_receiver


BINARY = pytest.mark.parametrize("route", ["grpc", "http"])


async def stored(receiver: Receiver, route: str, sent: Span, **resource: Any) -> Any:
    outcome = await receiver.send(route, traces(sent, resource=resource))
    assert (outcome.code, outcome.rejected, outcome.message) == (0, 0, "")
    (step,) = await receiver.rows("SELECT * FROM steps WHERE trace_id = $1", sent.trace_id)
    return step


async def stored_raw(receiver: Receiver, route: str, body: bytes) -> list[Any]:
    outcome = await receiver.raw(route, body)
    assert (outcome.code, outcome.rejected, outcome.message) == (0, 0, "")
    return await receiver.steps()


def warnings(step: Any) -> str:
    return " ".join(orjson.loads(step["warnings"] or "[]"))


def attributes(step: Any) -> Any:
    return orjson.loads(step["attributes"])


async def test_D1_invalid_ids_cost_their_span(receiver: Receiver, route: str) -> None:
    bad = [
        *(span(trace_id=bytes([1]) * size) for size in (0, 1, 3, 15, 17, 32)),
        *(span(span_id=bytes([1]) * size) for size in (0, 1, 3, 7, 9, 16)),
        *(span(trace_id=bytes(16)), span(span_id=bytes(8))),
    ]
    outcome = await receiver.send(route, traces(span("first"), *bad, span("last")))
    assert (outcome.code, outcome.rejected) == (0, len(bad))
    assert outcome.message
    assert [row["name"] for row in await receiver.steps()] == ["first", "last"]
    rejected = sum(receiver.counted("xray_spans_rejected_total", reason=word) for word in ("trace_id", "span_id"))
    assert rejected == len(bad)
    assert receiver.counted("xray_spans_accepted_total") == 2


async def test_D1_a_batch_of_bad_spans_is_answered_ok(receiver: Receiver, route: str) -> None:
    outcome = await receiver.send(route, traces(span(span_id=b"x"), span(span_id=b"y")))
    assert (outcome.code, outcome.rejected) == (0, 2)


async def test_D2_a_parent_of_the_wrong_form_is_absent(receiver: Receiver, route: str) -> None:
    for parent in (b"", bytes(8), b"abc", b"x" * 16):
        step = await stored(receiver, route, span(parent_span_id=parent))
        assert step["parent_span_id"] is None
        assert bool(parent) == ("parent" in warnings(step))


async def test_D3_a_parent_may_never_come(receiver: Receiver, route: str) -> None:
    step = await stored(receiver, route, span(parent_span_id=b"missing!"))
    assert step["parent_span_id"] == b"missing!"


async def test_D4_sent_again_changes_nothing(receiver: Receiver, route: str) -> None:
    message = traces(span("one"), span("two"))
    for _ in range(3):
        assert (await receiver.send(route, message)).body in (b"", b"{}")
    assert len(await receiver.steps()) == 2
    assert receiver.counted("xray_spans_duplicate_total") == 4


async def test_D5_D6_no_name_and_unknown_kind(receiver: Receiver, route: str) -> None:
    step = await stored(receiver, route, span("", kind=77))
    assert (step["name"], step["span_kind"]) == ("", 77)


@pytest.mark.parametrize(
    "times", [(0, 0), (1, 0), (START_NS, 0), (START_NS, START_NS - 1), (2**63, 2**64 - 1), (2**64 - 1, 1)]
)
async def test_D7_any_time_is_stored_and_marked(receiver: Receiver, route: str, times: tuple[int, int]) -> None:
    step = await stored(receiver, route, span(start_time_unix_nano=times[0], end_time_unix_nano=times[1]))
    assert step["duration_ns"] is None or step["duration_ns"] >= 0
    assert warnings(step)


async def test_D7_nanoseconds_are_exact(receiver: Receiver, route: str) -> None:
    step = await stored(receiver, route, span(start_time_unix_nano=START_NS, end_time_unix_nano=START_NS + 1))
    assert (step["start_ns"], step["duration_ns"]) == (START_NS, 1)


async def test_D8_D9_flags_and_trace_state(receiver: Receiver, route: str) -> None:
    step = await stored(receiver, route, span(flags=0xFFFFFFFF, trace_state="ot=th:c,other=1"))
    assert (step["flags"], step["trace_state"]) == (0xFFFFFFFF, "ot=th:c,other=1")


async def test_D10_what_the_sender_dropped_is_told(receiver: Receiver, route: str) -> None:
    dropped = {"dropped_attributes_count": 3, "dropped_events_count": 4, "dropped_links_count": 2**32 - 1}
    step = await stored(receiver, route, span(**dropped))
    for count in dropped.values():
        assert str(count) in warnings(step)


async def test_D11_links(receiver: Receiver, route: str) -> None:
    sent = span()
    sent.links.add(trace_id=b"t" * 16, span_id=b"s" * 8, trace_state="a=b", flags=257)
    sent.links.add(trace_id=bytes(16), span_id=bytes(8))
    links = orjson.loads((await stored(receiver, route, sent))["links"])
    assert [link["trace_id"] for link in links] == [(b"t" * 16).hex(), "00" * 16]
    assert links[0]["trace_state"] == "a=b"
    assert links[0]["flags"] == 257


async def test_D12_status(receiver: Receiver, route: str) -> None:
    for code, status in ((0, "unset"), (1, "ok"), (2, "error")):
        step = await stored(receiver, route, span(status=Status(code=code, message="m")))
        assert (step["status"], step["status_code"], step["status_message"]) == (status, code, "m")
    assert (await stored(receiver, route, span(status=Status(code=9))))["status_code"] == 9


async def test_D13_D14_D15_scopes_and_resources(receiver: Receiver, route: str) -> None:
    message = ExportTraceServiceRequest()
    first = message.resource_spans.add(schema_url="https://schema/resource")
    first.scope_spans.add(schema_url="https://schema/scope").spans.append(span("of the first"))
    first.scope_spans.add().spans.append(span("without a scope"))
    message.resource_spans.add().scope_spans.add().spans.append(span("without a resource"))
    assert (await receiver.send(route, message)).ok
    assert len(await receiver.steps()) == 3
    origins = " ".join(row["scope"] + row["resource"] for row in await receiver.rows("SELECT * FROM origins"))
    assert "https://schema/resource" in origins
    assert "https://schema/scope" in origins


async def test_D16_entities_are_no_error(receiver: Receiver, route: str) -> None:
    message = traces(span("one"))
    message.resource_spans[0].resource.entity_refs.add(type="service", id_keys=["service.name"])
    assert (await receiver.send(route, message)).body in (b"", b"{}")
    assert len(await receiver.steps()) == 1


async def test_D17_every_type_of_value(receiver: Receiver, route: str) -> None:
    sent: dict[str, Any] = {
        "text": "ü",
        "no text": "",
        "true": True,
        "false": False,
        "int": 2**63 - 1,
        "zero": 0,
        "double": 1.5,
        "no double": 0.0,
        "bytes": b"\0\xff",
        "empty": None,
        "mixed": [1, "a", None, [], {"k": [True]}],
        "no array": [],
        "map": {"a": {"b": [1.5]}},
        "no map": {},
    }
    step = await stored(receiver, route, span(attributes=sent))
    assert attributes(step) == sent | {"bytes": "AP8="}
    assert type(attributes(step)["no double"]) is float


async def test_D18_the_last_of_two_equal_keys_wins(receiver: Receiver, route: str) -> None:
    sent = span()
    for value in ("first", "last"):
        sent.attributes.add(key="k").value.string_value = value
    step = await stored(receiver, route, sent)
    assert attributes(step) == {"k": "last"}
    assert "same key" in warnings(step)


async def test_D19_indices_of_a_string_table_are_absent(receiver: Receiver, route: str) -> None:
    sent = span(attributes={"k": "v"})
    sent.attributes.append(KeyValue(key="i", value=AnyValue(string_value_strindex=3)))
    step = await stored(receiver, route, sent)
    assert attributes(step) == {"k": "v", "i": None}
    assert warnings(step)


async def test_D20_D21_keys(receiver: Receiver, route: str) -> None:
    step = await stored(receiver, route, span(attributes={"": 1, "Key": 2, "key": 3}))
    assert attributes(step)["Key"] == 2
    assert attributes(step)["key"] == 3


async def test_D22_numbers_that_json_has_not(receiver: Receiver, route: str) -> None:
    numbers = {"nan": float("nan"), "list": [float("inf"), float("-inf"), None]}
    assert attributes(await stored(receiver, route, span(attributes=numbers))) == {
        "nan": "NaN",
        "list": ["Infinity", "-Infinity", None],
    }


@pytest.mark.parametrize("depth", [1, 40, 47, 48, 52, 64, 100, 1000, 10_000])
@BINARY
async def test_D23_D27_depth(receiver: Receiver, route: str, depth: int) -> None:
    """What protobuf's parser takes keeps its form; the rest becomes text, and costs nothing around it."""
    sent = traces(span("deep", attributes={"deep": "MARKED!", "k": 1}), span("plain"))
    steps = await stored_raw(receiver, route, deepened(sent.SerializeToString(), depth))
    deep, plain = sorted(steps, key=lambda step: step["name"])
    assert attributes(deep)["k"] == 1
    assert bool(warnings(deep)) == (depth > 48)
    assert not warnings(plain)
    assert ("core" in deep["attributes"]) == (depth <= 200)


@BINARY
async def test_D27_depth_of_maps(receiver: Receiver, route: str) -> None:
    """A map costs the parser three levels where an array costs two; on an event one more."""
    sent = span("deep", attributes={"deep": "MARKED!", "k": 1})
    sent.events.add().attributes.append(KeyValue(key="deep", value=AnyValue(string_value="MARKED!")))
    (step,) = await stored_raw(receiver, route, deepened(traces(sent).SerializeToString(), 64, in_map))
    assert attributes(step)["k"] == 1
    assert "core" in step["attributes"]
    assert "core" in step["events"]
    assert "JSON text" in warnings(step)


async def test_D24_long_values(receiver: Receiver, route: str) -> None:
    texts = {"prompt": "ü" * 500_000, "list": ["x" * 1000] * 500}
    assert attributes(await stored(receiver, route, span(attributes=texts))) == texts


MARK, BAD = b"MARKED!", b"caf\xe9 \xf0\x9f"
MENDED = "caf\ufffd \ufffd"


@BINARY
async def test_D25_bad_text_costs_its_characters(receiver: Receiver, route: str) -> None:
    sent = span("MARKED!", attributes={"k": "MARKED!", "list": ["MARKED!", {"MARKED!": 1}]}, trace_state="MARKED!")
    sent.status.message = "MARKED!"
    event = sent.events.add(name="MARKED!")
    event.attributes.append(KeyValue(key="MARKED!", value=AnyValue(string_value="MARKED!")))
    body = traces(sent, span("plain")).SerializeToString().replace(MARK, BAD)
    first, second = sorted(await stored_raw(receiver, route, body), key=lambda step: step["name"])
    assert first["name"] == MENDED
    assert attributes(first) == {"k": MENDED, "list": [MENDED, {MENDED: 1}]}
    assert (first["trace_state"], first["status_message"]) == (MENDED, MENDED)
    assert orjson.loads(first["events"])[0]["attributes"] == {MENDED: MENDED}
    assert "UTF-8" in warnings(first)
    assert second["name"] == "plain"
    assert not warnings(second)
    assert receiver.counted("xray_spans_repaired_total") == 1


@BINARY
async def test_D25_bad_text_in_a_resource_or_scope(receiver: Receiver, route: str) -> None:
    message = traces(span("one"), resource={"host.name": "MARKED!"})
    message.resource_spans[0].scope_spans[0].scope.version = "MARKED!"
    (step,) = await stored_raw(receiver, route, message.SerializeToString().replace(MARK, BAD))
    (origin,) = await receiver.rows("SELECT * FROM origins WHERE origin_id = $1", step["origin_id"])
    assert orjson.loads(origin["resource"])["attributes"]["host.name"] == MENDED
    assert orjson.loads(origin["scope"])["version"] == MENDED
    assert "UTF-8" in warnings(step)


async def test_D26_NUL_anywhere(receiver: Receiver, route: str) -> None:
    sent = span("a\0b", attributes={"k\0": "v\0", "list": ["\0"]}, trace_state="\0")
    sent.status.message = "\0"
    sent.events.add(name="\0")
    step = await stored(receiver, route, sent, **{"host.name": "h\0"})
    assert step["name"] == "a\ufffdb"
    assert attributes(step) == {"k\ufffd": "v\ufffd", "list": ["\ufffd"]}
    assert "NUL" in warnings(step)


@BINARY
async def test_D28_unknown_fields_are_skipped(receiver: Receiver, route: str) -> None:
    new = delimited(90, b"\xff new") + b"\xd8\x05\x01"
    body = rebuild(traces(span("one")).SerializeToString(), depth=4, more=new)
    (step,) = await stored_raw(receiver, route, body)
    assert step["name"] == "one"


@BINARY
async def test_D28_unknown_fields_beside_bad_text(receiver: Receiver, route: str) -> None:
    body = rebuild(
        traces(span("MARKED!")).SerializeToString().replace(MARK, BAD), depth=4, more=delimited(90, b"\xff new")
    )
    (step,) = await stored_raw(receiver, route, body)
    assert step["name"] == MENDED


@pytest.mark.parametrize("with_ids", [True, False])
async def test_D29_logs_at_the_traces_door(receiver: Receiver, route: str, with_ids: bool) -> None:
    ids = {"trace_id": b"t" * 16, "span_id": b"s" * 8} if with_ids else {}
    message = logs(*({"body": AnyValue(string_value="hello"), **ids} for _ in range(3)))
    body = otlp_json(message) if route == "json" else message.SerializeToString()
    outcome = await receiver.raw(route, body)
    assert (outcome.code, outcome.rejected) == (0, 3)
    assert "OTLP logs" in outcome.message
    assert receiver.counted("xray_spans_rejected_total", reason="not_spans") == 3


@BINARY
async def test_D1_a_broken_span_costs_itself(receiver: Receiver, route: str) -> None:
    """A span whose bytes break off, inside of a request whose frame is whole."""
    whole, broken = span("whole").SerializeToString(), span("broken", attributes={"k": "v"}).SerializeToString()[:-2]
    body = delimited(1, delimited(2, delimited(2, whole) + delimited(2, broken)))
    outcome = await receiver.raw(route, body)
    assert (outcome.code, outcome.rejected) == (0, 1)
    assert [row["name"] for row in await receiver.steps()] == ["whole"]
    assert receiver.counted("xray_spans_rejected_total", reason="malformed") == 1


@pytest.mark.parametrize("cut", [1, 10, 40])
async def test_D1_a_request_that_breaks_off_is_bad_data(receiver: Receiver, cut: int) -> None:
    body = traces(span("one"), span("two")).SerializeToString()[:-cut]
    assert (await receiver.http(body, PROTOBUF)).http_status == 400
    assert (await receiver.http(otlp_json(traces(span("one")))[:-cut], JSON)).http_status == 400
    assert await receiver.steps() == []


def rebuild(data: bytes, depth: int, more: bytes) -> bytes:
    """Fields added behind every message down to `depth`: request, resource spans, scope spans, span."""
    out = bytearray()
    for field in fields(data):
        is_child = field.wire_type == 2 and field.number == (1 if depth == 4 else 2) and depth > 1
        out += delimited(field.number, rebuild(bytes(field.payload), depth - 1, more)) if is_child else field.raw
    return bytes(out) + more


def in_array(value: bytes) -> bytes:
    return delimited(5, delimited(1, value))


def in_map(value: bytes) -> bytes:
    return delimited(6, delimited(1, delimited(1, b"key") + delimited(2, value)))


def deepened(body: bytes, depth: int, wrap: Callable[[bytes], bytes] = in_array) -> bytes:
    """The body with `depth` wraps around a value in the place of the mark: more than protobuf itself would write."""
    value = AnyValue(string_value="core").SerializeToString()
    for _ in range(depth):
        value = wrap(value)
    return _replaced(body, AnyValue(string_value=MARK.decode()).SerializeToString(), value)


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    if data == old:
        return new
    out = bytearray()
    for field in fields(data):
        payload = bytes(field.payload)
        out += delimited(field.number, _replaced(payload, old, new)) if old in payload else field.raw
    return bytes(out)
