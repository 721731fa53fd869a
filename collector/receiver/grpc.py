"""The gRPC door: transport and status, nothing else.

Handlers get raw bytes, since a generated servicer answers what it can't decode with INTERNAL and any exception with
UNKNOWN, and clients drop the data on both. They are registered as stream-unary, which is the same on the wire: so a
handler runs as soon as the headers are there, and a caller without a key or room is refused before its bytes are read.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import msgspec

from collector.errors import Misconfigured, Rejected, Unavailable
from collector.receiver.admission import READ_AHEAD_BYTES
from collector.receiver.answer import protobuf_answer
from collector.receiver.auth import Authorize, anyone
from collector.receiver.decode import Encoding
from collector.receiver.fault import Fault, fault_of
from collector.receiver.health import health_handlers
from collector.receiver.ingest import Export, Ingest, Signal

SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": Signal.METRICS,
}
CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcOptions(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 4317
    max_message_bytes: int = 64 << 20
    share_port: bool = False
    """Several processes listen on the port."""
    credentials: Any = None
    """grpc.ServerCredentials; None: no TLS."""
    authorize: Authorize = anyone
    is_serving: Callable[[], bool] = lambda: True
    read_within_s: float = 30.0
    max_connection_age_s: int = 300
    """Then a client connects again, maybe to another replica."""
    max_connection_grace_s: int = 60


class GrpcServer:
    """A started server; `port` is the one it got."""

    def __init__(self, server: Any, port: int) -> None:
        self.port = port
        self._server = server

    async def stop(self, grace_s: float = 10.0) -> None:
        """No new calls; those that run may finish within the grace. Safe twice."""
        await self._server.stop(grace_s)


async def start_grpc(ingest: Ingest, options: GrpcOptions) -> GrpcServer:
    """Raises Misconfigured where the port can't be had."""
    server = grpc.aio.server(options=_channel_options(options))
    door = _Door(ingest, options)
    for service, signal in SERVICES.items():
        handler = grpc.stream_unary_rpc_method_handler(door.exporter(signal), None, None)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
    server.add_generic_rpc_handlers((health_handlers(options.is_serving, frozenset(SERVICES)),))
    port = _bind(server, options)
    await server.start()
    return GrpcServer(server, port)


def _bind(server: Any, options: GrpcOptions) -> int:
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.port}"
    try:
        if options.credentials is not None:
            port = server.add_secure_port(address, options.credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise Misconfigured(
            f"Port {options.port} on {options.host} can't be had for gRPC: another program (or X-Ray) listens there. "
            "Stop it, or choose another port with XRAY_GRPC_PORT (0 picks a free one)."
        )
    return int(port)


def _channel_options(options: GrpcOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.so_reuseport", int(options.share_port)),
        ("grpc.max_connection_age_ms", options.max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", options.max_connection_grace_s * 1000),
        # Else each stream's window grows to megabytes, and calls that wait for room fill memory unread.
        ("grpc.http2.bdp_probe", 0),
        # Dead peers are found by our own pings; theirs are welcome at any rate, with or without calls.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


class _NoMessage(Rejected):
    """The call ended without one; or it was over the size limit, and the transport has answered that already."""


class _Door:
    def __init__(self, ingest: Ingest, options: GrpcOptions) -> None:
        self._ingest = ingest
        self._options = options
        self._telemetry = ingest.telemetry

    def exporter(self, signal: Signal) -> Callable[[Any, Any], Any]:
        async def export(_: Any, context: Any) -> bytes:
            try:
                answer = await self._export(signal, context)
            except Exception as error:  # noqa: BLE001 - what leaves here unnamed would be UNKNOWN, and be dropped
                await self._refuse(signal, context, error)
                return b""
            self._count(signal, "partial" if answer else "ok")
            return answer

        return export

    async def _export(self, signal: Signal, context: Any) -> bytes:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        project = await self._options.authorize(metadata)
        async with self._ingest.admission.seat(READ_AHEAD_BYTES) as seat:
            body = await self._read(context)
            request = Export(signal=signal, encoding=Encoding.PROTOBUF, body=body, project=project)
            return protobuf_answer(signal, await self._ingest.export(request, seat))

    async def _read(self, context: Any) -> bytes:
        try:
            async with asyncio.timeout(self._options.read_within_s):
                body = await context.read()
        except TimeoutError:
            raise Unavailable("The message did not arrive in time; send it again.") from None
        if body is grpc.aio.EOF:
            raise _NoMessage("The call brought no message.")
        return bytes(body)

    async def _refuse(self, signal: Signal, context: Any, error: Exception) -> None:
        fault = fault_of(error)
        if fault.word == "unexpected":
            self._telemetry.errors.report("export_failed", error, door="grpc", signal=signal.value)
        try:
            await _abort(context, fault)
        except grpc.aio.AbortError:
            self._count(signal, fault.word)
            raise
        except grpc.aio.InternalError:  # the call is over: the transport has answered, or the client left
            self._count(signal, "too_large" if isinstance(error, _NoMessage) else "gone")

    def _count(self, signal: Signal, answer: str) -> None:
        self._telemetry.metrics.exports.labels("grpc", signal.value, answer).inc()


async def _abort(context: Any, fault: Fault) -> None:
    """Ends the call with a status, and the wait in both places where clients look for it."""
    trailers = [("grpc-status-details-bin", fault.status().SerializeToString())]
    if (wait := fault.retry_info()) is not None:
        trailers.append(("google.rpc.retryinfo-bin", wait.SerializeToString()))
    await context.abort(CODES[fault.code], fault.message, tuple(trailers))
