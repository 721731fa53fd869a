"""OTLP.md section 6: logs and metrics on the same receiver."""

import orjson
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.integration.receiver.conftest import SHARED, Receiver
from tests.integration.receiver.otlp import logs, metrics, pairs

pytestmark = SHARED


@pytest.fixture
def receiver(shared_receiver: Receiver) -> Receiver:
    return shared_receiver


TRACE_ID, SPAN_ID = b"t" * 16, b"s" * 8


async def test_records_of_a_trace_are_kept(receiver: Receiver, route: str) -> None:
    record = {
        "trace_id": TRACE_ID,
        "span_id": SPAN_ID,
        "event_name": "gen_ai.choice",
        "body": AnyValue(string_value="hello"),
        "attributes": pairs({"gen_ai.system": "openai"}),
    }
    outcome = await receiver.send(route, logs(record), "logs")
    assert outcome.body in (b"", b"{}")
    (row,) = await receiver.rows("SELECT * FROM records")
    assert (row["trace_id"], row["span_id"], row["event_name"]) == (TRACE_ID, SPAN_ID, "gen_ai.choice")
    assert orjson.loads(row["attributes"]) == {"gen_ai.system": "openai"}
    assert receiver.counted("xray_log_records_accepted_total") == 1


async def test_a_record_may_have_no_trace(receiver: Receiver, route: str) -> None:
    outcome = await receiver.send(route, logs({"body": AnyValue(string_value="started")}), "logs")
    assert outcome.body in (b"", b"{}")


async def test_a_record_sent_again_is_stored_once(receiver: Receiver, route: str) -> None:
    message = logs({"trace_id": TRACE_ID, "body": AnyValue(string_value="hello")})
    for _ in range(2):
        assert (await receiver.send(route, message, "logs")).ok
    assert len(await receiver.rows("SELECT * FROM records")) == 1


async def test_a_bad_text_in_a_record_costs_its_characters(receiver: Receiver) -> None:
    body = (
        logs({"trace_id": TRACE_ID, "body": AnyValue(string_value="XX")}).SerializeToString().replace(b"XX", b"\xe9!")
    )
    for route in ("grpc", "http"):
        assert (await receiver.raw(route, body, "logs")).ok
    (row,) = await receiver.rows("SELECT * FROM records")
    assert row["body"] == '"\ufffd!"'
    assert "not valid UTF-8" in row["warnings"]


async def test_metrics_are_accepted_and_counted(receiver: Receiver, route: str) -> None:
    outcome = await receiver.send(route, metrics(), "metrics")
    assert outcome.body in (b"", b"{}")
    assert receiver.counted("xray_metrics_accepted_total") == 1


async def test_metrics_that_are_none_are_bad_data(receiver: Receiver, route: str) -> None:
    body = b'{"resourceMetrics": {}}' if route == "json" else b"\xff\xff"
    assert (await receiver.raw(route, body, "metrics")).code == 3
