"""OTLP.md section 3: gRPC."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from collector.errors import Forbidden, Overloaded, Rejected, Unauthenticated, Unavailable
from collector.model import Batch, Refusal
from tests.integration.receiver.conftest import MEBIBYTE, SERVICES, SHARED, Receiver, Setup
from tests.integration.receiver.h2 import Http2
from tests.integration.receiver.otlp import logs, metrics, span, traces

CODES = grpc.StatusCode
ERRORS = {
    "unavailable": (Unavailable("Postgres is away."), CODES.UNAVAILABLE, True),
    "unavailable long": (Unavailable("Postgres is away.", 30.0), CODES.UNAVAILABLE, True),
    "overloaded": (Overloaded("no room"), CODES.RESOURCE_EXHAUSTED, True),
    "rejected": (Rejected("wrong"), CODES.INVALID_ARGUMENT, False),
    "unauthenticated": (Unauthenticated("no key"), CODES.UNAUTHENTICATED, False),
    "forbidden": (Forbidden("read only"), CODES.PERMISSION_DENIED, False),
    "unexpected": (RuntimeError("secret"), CODES.UNAVAILABLE, True),
    "a bug": (AssertionError("secret"), CODES.UNAVAILABLE, True),
    "recursion": (RecursionError("secret"), CODES.UNAVAILABLE, True),
}


class Failing:
    """A store in which something happens."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def write(self, _: Batch) -> list[Refusal]:
        raise self.error


class FailingProjects(Failing):
    async def project_id(self, _: str, **_limits: bool) -> int:
        raise self.error


@SHARED
@pytest.mark.parametrize(
    ("signal", "message"), [("traces", traces(span())), ("logs", logs({})), ("metrics", metrics())]
)
async def test_G1_G8_each_signal_has_its_service(shared_receiver: Receiver, signal: str, message: Any) -> None:
    outcome = await shared_receiver.send("grpc", message, signal)
    assert outcome.ok
    assert outcome.body == b""


async def test_G2_G3_twenty_mebibytes_are_taken(receiver: Receiver) -> None:
    big = span("big", attributes={"text": "x" * (20 * MEBIBYTE)})
    assert (await receiver.grpc(traces(big).SerializeToString())).ok
    (size,) = (await receiver.rows("SELECT length(attributes::text) AS size FROM steps"))[0]
    assert size > 20 * MEBIBYTE


async def test_G2_over_64_mebibytes_is_refused_for_good(receiver: Receiver) -> None:
    outcome = await receiver.grpc(b"\0" * (65 * MEBIBYTE))
    assert outcome.code == CODES.RESOURCE_EXHAUSTED.value[0]
    assert outcome.retry_after_s is None
    assert receiver.counted("xray_exports_total", door="grpc", signal="traces", answer="too_large") == 1
    assert (await receiver.send("grpc", traces(span()))).ok


@SHARED
async def test_G2_a_bomb_is_refused_for_good(shared_receiver: Receiver) -> None:
    outcome = await shared_receiver.grpc(b"\0" * (65 * MEBIBYTE), compression=grpc.Compression.Gzip)
    assert outcome.code == CODES.RESOURCE_EXHAUSTED.value[0]
    assert outcome.retry_after_s is None


@pytest.mark.parametrize("setup", [Setup(grpc={"max_message_bytes": 1000})])
async def test_G2_the_limit_is_a_setting(receiver: Receiver) -> None:
    assert (await receiver.grpc(traces(span()).SerializeToString())).ok
    assert (await receiver.grpc(b"x" * 1001)).code == CODES.RESOURCE_EXHAUSTED.value[0]


@pytest.mark.parametrize(
    ("setup", "code", "retryable"),
    [(Setup(store=Failing(error)), code, retryable) for error, code, retryable in ERRORS.values()],
    ids=ERRORS,
)
async def test_G4_G5_G6_G10_errors_by_what_the_client_should_do(
    receiver: Receiver, code: grpc.StatusCode, retryable: bool
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await receiver.channel.unary_unary(f"/{SERVICES['traces'][0]}/Export")(traces(span()).SerializeToString())
    error = caught.value
    trailers = dict(error.trailing_metadata() or ())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert error.code() == code
    assert (status.code, status.message) == (code.value[0], error.details())
    assert "secret" not in str(error)
    assert ("google.rpc.retryinfo-bin" in trailers) == retryable
    if retryable:
        wait = RetryInfo()
        assert status.details[0].Unpack(wait)
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]) == wait
        assert 1 <= wait.retry_delay.ToTimedelta().total_seconds() <= 3


async def test_G4_waits_are_spread() -> None:
    from collector.receiver.fault import fault_of

    waits = {fault_of(Unavailable("away")).retry_after_s for _ in range(50)}
    assert len(waits) > 10


@pytest.mark.parametrize(("signal", "message"), [("traces", traces(span())), ("logs", logs({"trace_id": b"t" * 16}))])
@pytest.mark.parametrize("setup", [Setup(projects=FailingProjects(KeyError("secret")))])
async def test_G7_an_exception_in_any_stage_is_unavailable(receiver: Receiver, signal: str, message: Any) -> None:
    outcome = await receiver.send("grpc", message, signal)
    assert outcome.code == CODES.UNAVAILABLE.value[0]
    assert "secret" not in outcome.message


@SHARED
async def test_G6_G7_undecodable_is_invalid_argument(shared_receiver: Receiver) -> None:
    for signal in SERVICES:
        outcome = await shared_receiver.grpc(b"\xff\xff\xff", signal)
        violations = BadRequest()
        assert outcome.code == CODES.INVALID_ARGUMENT.value[0]
        assert Status.FromString(outcome.body).details[0].Unpack(violations)
        assert violations.field_violations[0].description == outcome.message


@SHARED
async def test_G9_partial_success(shared_receiver: Receiver) -> None:
    outcome = await shared_receiver.send("grpc", traces(span("good"), span(trace_id=bytes(16)), span(span_id=bytes(8))))
    assert outcome.ok
    assert outcome.rejected == 2
    assert outcome.message
    assert [row["name"] for row in await shared_receiver.steps()] == ["good"]


@SHARED
async def test_G9_empty_request(shared_receiver: Receiver) -> None:
    for signal in SERVICES:
        outcome = await shared_receiver.grpc(b"", signal)
        assert (outcome.code, outcome.body) == (0, b"")


@pytest.mark.parametrize("setup", [Setup(store=Failing(Unavailable("away")))])
async def test_G11_errors_come_as_trailers_only(receiver: Receiver) -> None:
    """One HEADERS frame that ends the stream: Java reads `grpc-status` from the first headers."""
    async with Http2.connect(receiver.grpc_port) as connection:
        connection.headers(f"/{SERVICES['traces'][0]}/Export")
        connection.message(traces(span()).SerializeToString())
        async with asyncio.timeout(5):
            while (frame := await connection.frame()).stream != 1 or frame.kind != Http2.HEADERS:
                assert frame.kind != Http2.DATA
        assert frame.flags & Http2.END_STREAM
        assert b"grpc-status" in frame.payload


async def check_key(metadata: Any) -> str | None:
    """Keys in both places where they may stand."""
    key = metadata.get("authorization", "").removeprefix("Bearer ") or metadata.get("x-api-key")
    if key is None:
        raise Unauthenticated("An API key is needed.")
    if key != "right":
        raise Unauthenticated("This API key is not known.")
    return "team"


KEYS = pytest.mark.parametrize("setup", [Setup(grpc={"authorize": check_key}, http={"authorize": check_key})])


@KEYS
@pytest.mark.parametrize("header", [("authorization", "Bearer right"), ("x-api-key", "right")])
async def test_G12_a_key_opens_and_names_the_project(receiver: Receiver, header: tuple[str, str]) -> None:
    body = traces(span("one"), resource={"xray.project": "someone else's"}).SerializeToString()
    assert (await receiver.grpc(body, metadata=(header,))).ok
    rows = await receiver.rows("SELECT p.name FROM steps s JOIN projects p ON p.id = s.project_id")
    assert [row["name"] for row in rows] == ["team"]


@KEYS
@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("x-api-key", "wrong"),)])
async def test_G12_strangers_are_refused(receiver: Receiver, metadata: tuple[tuple[str, str], ...]) -> None:
    outcome = await receiver.grpc(traces(span()).SerializeToString(), metadata=metadata)
    assert outcome.code == CODES.UNAUTHENTICATED.value[0]
    assert outcome.retry_after_s is None
    assert await receiver.steps() == []


@KEYS
async def test_G12_strangers_are_refused_before_their_bytes_are_read(receiver: Receiver) -> None:
    """Only headers are sent: the refusal does not wait for the message."""
    async with Http2.connect(receiver.grpc_port) as connection:
        connection.headers(f"/{SERVICES['traces'][0]}/Export")
        async with asyncio.timeout(5):
            while (frame := await connection.frame()).kind != Http2.HEADERS:
                pass
        assert frame.flags & Http2.END_STREAM


@KEYS
async def test_G12_health_needs_no_key(receiver: Receiver) -> None:
    stub = health_pb2_grpc.HealthStub(receiver.channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", *(name for name, _ in SERVICES.values())):
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == serving
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() == CODES.NOT_FOUND


class Light:
    def __init__(self) -> None:
        self.is_green = True

    def __call__(self) -> bool:
        return self.is_green


LIGHT = Light()


@pytest.mark.parametrize("setup", [Setup(grpc={"is_serving": LIGHT})])
async def test_G12_health_is_watched(receiver: Receiver) -> None:
    stub = health_pb2_grpc.HealthStub(receiver.channel)
    states = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await states.read()).status == health_pb2.HealthCheckResponse.SERVING
    LIGHT.is_green = False
    assert (await states.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    states.cancel()


@pytest.mark.parametrize("setup", [Setup(grpc={"read_within_s": 0.2})])
async def test_G4_a_message_that_never_comes_holds_no_room(receiver: Receiver) -> None:
    async with Http2.connect(receiver.grpc_port) as connection:
        connection.headers(f"/{SERVICES['traces'][0]}/Export")
        async with asyncio.timeout(5):
            while (frame := await connection.frame()).kind != Http2.HEADERS:
                pass
        assert frame.flags & Http2.END_STREAM
    assert receiver.ingest.admission.used_bytes == 0


@SHARED
async def test_G1_unknown_services_are_unimplemented(shared_receiver: Receiver) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await shared_receiver.channel.unary_unary("/opentelemetry.proto.collector.profiles.v1.ProfilesService/Export")(
            b""
        )
    assert caught.value.code() == CODES.UNIMPLEMENTED
