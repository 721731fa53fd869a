"""OTLP.md section 2: requests and answers over HTTP, byte for byte."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.errors import Forbidden, Overloaded, Unauthenticated, Unavailable
from collector.model import Batch, Refusal
from tests.integration.receiver.conftest import JSON, MEBIBYTE, PROTOBUF, SHARED, Receiver, Setup
from tests.integration.receiver.otlp import otlp_json, post_head, span, traces

BOTH = pytest.mark.parametrize("headers", [PROTOBUF, JSON], ids=["protobuf", "json"])
SMALL = pytest.mark.parametrize("setup", [Setup(http={"max_message_bytes": 64 * 1024, "drain_within_s": 2.0})])


class Failing:
    """A store in which something happens."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def write(self, _: Batch) -> list[Refusal]:
        raise self.error


def body_of(message: Any, headers: dict[str, str]) -> bytes:
    return otlp_json(message) if headers == JSON else message.SerializeToString()


async def refuse_key(_: Any) -> str | None:
    raise Unauthenticated("An API key is needed.")


async def forbid_key(_: Any) -> str | None:
    raise Forbidden("This key reads only.")


@SHARED
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
async def test_H1_H3_full_success_is_empty(shared_receiver: Receiver, signal: str) -> None:
    from tests.integration.receiver.otlp import logs, metrics

    message = {"traces": traces(span()), "logs": logs({}), "metrics": metrics()}[signal]
    assert (await shared_receiver.http(message.SerializeToString(), PROTOBUF, signal)).body == b""
    assert (await shared_receiver.http(otlp_json(message), JSON, signal)).body == b"{}"


@SHARED
@BOTH
async def test_H2_content_type_of_the_request(shared_receiver: Receiver, headers: dict[str, str]) -> None:
    for body in (body_of(traces(span()), headers), b"\xff"):
        answer = await shared_receiver.client.post("/v1/traces", content=body, headers=headers)
        assert answer.headers["content-type"] == headers["content-type"]


@SHARED
async def test_H4_H5_partial_success(shared_receiver: Receiver) -> None:
    message = traces(span("good"), span(trace_id=b"short"), span(span_id=b""), span(span_id=b"x" * 9))
    answer = await shared_receiver.http(message.SerializeToString(), PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert partial.rejected_spans == 3
    assert "trace" in partial.error_message
    assert [row["name"] for row in await shared_receiver.steps()] == ["good"]


@SHARED
async def test_H4_json_counts_as_text(shared_receiver: Receiver) -> None:
    answer = await shared_receiver.http(otlp_json(traces(span("good"), span(span_id=b"ab"))), JSON)
    partial = json.loads(answer.body)["partialSuccess"]
    assert partial["rejectedSpans"] == "1"
    assert partial["errorMessage"]


@SHARED
@BOTH
@pytest.mark.parametrize("body", [b"\xff\xff", b"["])
async def test_H7_H8_bad_data(shared_receiver: Receiver, headers: dict[str, str], body: bytes) -> None:
    answer = await shared_receiver.client.post("/v1/traces", content=body, headers=headers)
    assert answer.status_code == 400
    if headers == JSON:
        status = answer.json()
        assert status["message"]
        assert status["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
        assert status["details"][0]["fieldViolations"][0]["description"]
    else:
        decoded = Status.FromString(answer.content)
        violations = BadRequest()
        assert decoded.message
        assert decoded.details[0].Unpack(violations)
        assert violations.field_violations[0].description


@SHARED
@BOTH
async def test_H7_status_bodies_of_other_refusals(shared_receiver: Receiver, headers: dict[str, str]) -> None:
    for answer in (
        await shared_receiver.client.put("/v1/traces", content=b"x", headers=headers),
        await shared_receiver.client.post("/v1/traces", content=b"x", headers=headers | {"content-encoding": "br"}),
    ):
        assert answer.status_code in (405, 415)
        assert answer.headers["content-type"] == headers["content-type"]
        message = answer.json()["message"] if headers == JSON else Status.FromString(answer.content).message
        assert message


@SMALL
@BOTH
async def test_H9_body_over_the_limit(receiver: Receiver, headers: dict[str, str]) -> None:
    outcome = await receiver.http(b" " * (64 * 1024 + 1), headers)
    assert outcome.http_status == 413
    assert "65536" in outcome.message
    assert outcome.retry_after_s is None


@SMALL
async def test_H9_chunked_body_over_the_limit(receiver: Receiver) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 4096

    assert (await receiver.http(endless(), PROTOBUF)).http_status == 413


@SMALL
@BOTH
async def test_H9_over_the_limit_after_decompression(receiver: Receiver, headers: dict[str, str]) -> None:
    bomb = gzip.compress(b" " * MEBIBYTE)
    assert len(bomb) < 64 * 1024
    outcome = await receiver.http(bomb, headers | {"content-encoding": "gzip"})
    assert outcome.http_status == 413
    assert "decompression" in outcome.message


@SMALL
async def test_H9_the_refused_client_can_read_its_answer(receiver: Receiver) -> None:
    """A client that writes all before it reads gets 413, not a reset connection; then the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
    size = 4 * MEBIBYTE
    writer.write(post_head(size))
    for _ in range(size // 65536):
        writer.write(b"x" * 65536)
        await writer.drain()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    writer.close()


@pytest.mark.parametrize("setup", [Setup(http={"max_message_bytes": 1000, "drain_within_s": 0.2})])
async def test_H9_draining_ends(receiver: Receiver) -> None:
    """A client that never ends its body is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
    writer.write(post_head(999999) + b"x")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
    writer.close()


@SHARED
async def test_H10_long_messages_are_shortened(shared_receiver: Receiver) -> None:
    bad = [
        {"traceId": "00" * 16, "spanId": "11" * 8, "kind": f"unknown {number} " + "x" * 200} for number in range(500)
    ]
    document = {"resourceSpans": [{"scopeSpans": [{"spans": bad}]}]}
    outcome = await shared_receiver.http(json.dumps(document).encode(), JSON)
    assert outcome.rejected == 500
    assert len(outcome.body) < 8192


@BOTH
@pytest.mark.parametrize(
    "setup",
    [
        Setup(store=Failing(Unavailable("Postgres is away."))),
        Setup(store=Failing(Unavailable("Postgres is away.", 60))),
        Setup(store=Failing(Overloaded("full"))),
    ],
    ids=["unavailable", "long", "overloaded"],
)
async def test_H11_H12_temporary_faults_are_503_with_a_short_wait(receiver: Receiver, headers: dict[str, str]) -> None:
    answer = await receiver.client.post("/v1/traces", content=body_of(traces(span()), headers), headers=headers)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) in (1, 2, 3)
    if headers == PROTOBUF:
        wait = RetryInfo()
        assert Status.FromString(answer.content).details[0].Unpack(wait)
        assert 1 <= wait.retry_delay.ToTimedelta().total_seconds() <= 3


@BOTH
@pytest.mark.parametrize("setup", [Setup(store=Failing(RuntimeError("secret text")))])
async def test_H12_what_nobody_foresaw_is_503_without_its_text(receiver: Receiver, headers: dict[str, str]) -> None:
    answer = await receiver.client.post("/v1/traces", content=body_of(traces(span()), headers), headers=headers)
    assert answer.status_code == 503
    assert b"secret" not in answer.content
    assert b"RuntimeError" not in answer.content
    assert receiver.counted("xray_errors_total", event="export_failed") == 1


@pytest.mark.parametrize("setup", [Setup(store=Failing(RuntimeError("never asked")))])
@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json", "text/plain", None])
async def test_H13_empty_body_is_a_success(receiver: Receiver, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await receiver.client.post("/v1/traces", content=b"", headers=headers)
    assert answer.status_code == 200
    assert answer.content == (b"" if content_type == "application/x-protobuf" else b"{}")


@SHARED
async def test_H13_H14_empty_requests_and_envelopes(shared_receiver: Receiver) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = ExportTraceServiceRequest()
    message.resource_spans.add()
    message.resource_spans.add().scope_spans.add()
    for body in (b"{}", b'{"resourceSpans":[]}', b'{"resourceSpans":null}', b'{"resourceSpans":[{"scopeSpans":[{}]}]}'):
        assert (await shared_receiver.http(body, JSON)).body == b"{}"
    assert (await shared_receiver.http(message.SerializeToString(), PROTOBUF)).body == b""
    assert (await shared_receiver.http(gzip.compress(b""), PROTOBUF | {"content-encoding": "gzip"})).body == b""


@SHARED
@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "APPLICATION/JSON;x=y"]
)
async def test_H15_content_type_with_parameters(shared_receiver: Receiver, content_type: str) -> None:
    answer = await shared_receiver.client.post(
        "/v1/traces", content=otlp_json(traces(span())), headers={"content-type": content_type}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


@SHARED
async def test_H6_what_was_mended_is_no_warning(shared_receiver: Receiver) -> None:
    """SDKs log every partial success as an error; the step itself says what was altered."""
    body = traces(span("MENDED")).SerializeToString().replace(b"MENDED", b"MEND\xff\xff")
    assert (await shared_receiver.http(body, PROTOBUF)).body == b""
    assert shared_receiver.counted("xray_spans_repaired_total") == 1


@SHARED
@BOTH
async def test_H16_answers_are_plain_whatever_is_accepted(shared_receiver: Receiver, headers: dict[str, str]) -> None:
    body = body_of(traces(span(span_id=b"short")), headers)
    answer = await shared_receiver.client.post(
        "/v1/traces", content=body, headers=headers | {"accept-encoding": "gzip"}
    )
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == headers["content-type"]
    assert b"span id" in answer.content


@SHARED
@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "", None])
async def test_H15_wrong_type(shared_receiver: Receiver, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type is not None else {}
    answer = await shared_receiver.client.post("/v1/traces", content=b"x", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["message"]


@SHARED
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_H15_wrong_method(shared_receiver: Receiver, method: str) -> None:
    answer = await shared_receiver.client.request(method, "/v1/traces")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@SHARED
async def test_H17_expect_100_continue(shared_receiver: Receiver) -> None:
    body = traces(span("one")).SerializeToString()
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_receiver.http_port)
    head = post_head(len(body), "application/x-protobuf", expect="100-continue")
    writer.write(head)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert [row["name"] for row in await shared_receiver.steps()] == ["one"]


@SMALL
async def test_H17_a_refused_expectation_is_answered_at_once(receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
    writer.write(post_head(99999999, expect="100-continue"))
    async with asyncio.timeout(1.5):
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
    writer.close()


@SHARED
@BOTH
async def test_H17_chunked(shared_receiver: Receiver, headers: dict[str, str]) -> None:
    body = body_of(traces(span("one")), headers)

    async def pieces() -> Any:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    assert (await shared_receiver.http(pieces(), headers)).ok
    assert [row["name"] for row in await shared_receiver.steps()] == ["one"]


@BOTH
@pytest.mark.parametrize(
    ("setup", "status"),
    [(Setup(http={"authorize": refuse_key}), 401), (Setup(http={"authorize": forbid_key}), 403)],
    ids=["401", "403"],
)
async def test_H18_keys(receiver: Receiver, headers: dict[str, str], status: int) -> None:
    answer = await receiver.client.post("/v1/traces", content=body_of(traces(span()), headers), headers=headers)
    assert answer.status_code == status
    assert "retry-after" not in answer.headers
    assert ("www-authenticate" in answer.headers) == (status == 401)
    message = answer.json()["message"] if headers == JSON else Status.FromString(answer.content).message
    assert "key" in message


@pytest.mark.parametrize("setup", [Setup(http={"authorize": refuse_key, "drain_within_s": 0.1})])
async def test_H18_strangers_are_refused_by_their_headers(receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
    writer.write(post_head(9999))
    async with asyncio.timeout(2):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 401 ")
    writer.close()


@pytest.mark.parametrize("setup", [Setup(http={"read_within_s": 0.2, "drain_within_s": 0.1})])
async def test_H17_a_body_that_never_comes_holds_no_room(receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
    writer.write(post_head(9999) + b"{")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    assert receiver.ingest.admission.used_bytes == 0


@SHARED
async def test_H17_a_client_that_hangs_up_disturbs_nobody(shared_receiver: Receiver) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", shared_receiver.http_port)
    writer.write(post_head(9999) + b"{")
    await writer.drain()
    writer.close()
    assert (await shared_receiver.send("http", traces(span()))).ok
    async with asyncio.timeout(5):
        while shared_receiver.ingest.admission.used_bytes:
            await asyncio.sleep(0.01)
