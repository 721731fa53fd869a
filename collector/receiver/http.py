"""The HTTP door: an ASGI app that answers OTLP and hands every other request to the app behind it.

It stands in front of the router because it reads bodies itself: a body is refused by its headers, counted while it
arrives, and what a client still sends after a refusal is drained for a moment, so that it can read the answer.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from collector.asgi import ASGIApp, Receive, Scope, Send
from collector.errors import Rejected, TooLarge, Unavailable
from collector.receiver.admission import READ_AHEAD_BYTES, Seat
from collector.receiver.answer import json_answer, protobuf_answer
from collector.receiver.auth import Authorize, anyone
from collector.receiver.cors import Cors, Headers
from collector.receiver.decode import Encoding
from collector.receiver.fault import Fault, WrongMediaType, WrongMethod, fault_of
from collector.receiver.inflate import CODINGS, inflate
from collector.receiver.ingest import Export, Ingest, Reply, Signal

PATHS = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS, "/v1/metrics": Signal.METRICS}
TYPES = {"application/x-protobuf": Encoding.PROTOBUF, "application/json": Encoding.JSON}
PROTOBUF, JSON = b"application/x-protobuf", b"application/json"


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    max_message_bytes: int = 64 << 20
    cors_origins: tuple[str, ...] = ()
    authorize: Authorize = anyone
    read_within_s: float = 30.0
    drain_within_s: float = 5.0


class OtlpHttp:
    """`POST /v1/traces`, `/v1/logs`, `/v1/metrics`, also below a prefix or with a slash behind; `POST /` is traces."""

    def __init__(self, ingest: Ingest, options: HttpOptions, then: ASGIApp) -> None:
        self._ingest = ingest
        self._options = options
        self._then = then
        self._cors = Cors(options.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        signal = _signal_of(scope["path"], scope["method"]) if scope["type"] == "http" else None
        if signal is None:
            await self._then(scope, receive, send)
            return
        call = _Call(scope, receive, send)
        if self._cors.is_preflight(call.method, call.headers):
            await call.answer(204, self._cors.preflight_headers(call.headers), b"")
            return
        extra = self._cors.answer_headers(call.headers)
        try:
            reply = await self._export(call, signal)
        except _Gone:
            self._count(signal, "gone")
        except Exception as error:  # noqa: BLE001 - what leaves here unnamed would be a 500, and be dropped
            fault = fault_of(error)
            if fault.word == "unexpected":
                self._ingest.telemetry.errors.report("export_failed", error, door="http", signal=signal.value)
            self._count(signal, fault.word)
            await call.refuse(fault, extra, self._options.drain_within_s)
        else:
            self._count(signal, "ok" if reply == Reply() else "partial")
            render = protobuf_answer if call.encoding is Encoding.PROTOBUF else json_answer
            await call.answer(200, extra, render(signal, reply))

    async def _export(self, call: "_Call", signal: Signal) -> Reply:
        if call.method != "POST":
            raise WrongMethod("OTLP is sent with POST.")
        project = await self._options.authorize(call.headers)
        if call.declared_bytes == 0:
            return Reply()
        coding = _coding(call.headers)
        if call.encoding is None and call.declared_bytes is not None:
            raise _wrong_type(call.headers)
        async with self._ingest.admission.seat(min(call.declared_bytes or READ_AHEAD_BYTES, READ_AHEAD_BYTES)) as seat:
            body = await self._read(call, seat)
            if coding and body:
                body = await inflate(body, coding, self._options.max_message_bytes, seat)
            if not body:
                return Reply()
            if call.encoding is None:
                raise _wrong_type(call.headers)
            request = Export(signal=signal, encoding=call.encoding, body=body, project=project)
            return await self._ingest.export(request, seat)

    async def _read(self, call: "_Call", seat: Seat) -> bytes:
        try:
            async with asyncio.timeout(self._options.read_within_s):
                body = await call.read(self._options.max_message_bytes)
        except TimeoutError:
            raise Unavailable("The body did not arrive in time; send it again.") from None
        await seat.resize(len(body))
        return body

    def _count(self, signal: Signal, answer: str) -> None:
        self._ingest.telemetry.metrics.exports.labels("http", signal.value, answer).inc()


class _Gone(Exception):
    """The client hung up before its request was whole."""


class _Call:
    """One HTTP request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send: Any = send
        self._is_whole = False
        self.method: str = scope["method"]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self.encoding = TYPES.get(self.headers.get("content-type", "").split(";", 1)[0].strip().lower())
        self.declared_bytes = _declared_bytes(self.headers)

    async def read(self, limit_bytes: int) -> bytes:
        if self.declared_bytes is not None and self.declared_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        pieces, size = list[bytes](), 0
        while not self._is_whole:
            piece = await self._next()
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _next(self) -> bytes:
        message: Any = await self._receive()
        if message["type"] != "http.request":
            raise _Gone
        self._is_whole = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def refuse(self, fault: Fault, extra: Headers, drain_within_s: float) -> None:
        """Answers with a google.rpc.Status, then reads on for a moment what the client is still sending."""
        is_protobuf = self.encoding is Encoding.PROTOBUF
        body = fault.status().SerializeToString() if is_protobuf else fault.status_json()
        headers = [*extra, *_fault_headers(fault)]
        unread = not self._is_whole and self.declared_bytes != 0
        if unread:
            headers.append((b"connection", b"close"))
        await self._start(fault.http_status, headers, body, more=unread)
        if unread:
            if "expect" not in self.headers:
                await self._drain(drain_within_s)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        await self._start(status, headers, body, more=False)

    async def _start(self, status: int, headers: Headers, body: bytes, *, more: bool) -> None:
        media = PROTOBUF if self.encoding is Encoding.PROTOBUF else JSON
        own = [(b"content-type", media), (b"content-length", str(len(body)).encode())] if status != 204 else []
        await self._send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _drain(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError, _Gone):
            async with asyncio.timeout(within_s):
                while not self._is_whole:
                    await self._next()


def _signal_of(path: str, method: str) -> Signal | None:
    path = path.rstrip("/")
    if path in PATHS:
        return PATHS[path]
    if method not in ("POST", "OPTIONS"):
        return None
    if not path:
        return Signal.TRACES
    return next((signal for suffix, signal in PATHS.items() if path.endswith(suffix)), None)


def _declared_bytes(headers: Mapping[str, str]) -> int | None:
    """None: only the end of the body will tell."""
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    return int(length) if length.isdigit() else None


def _coding(headers: Mapping[str, str]) -> str:
    coding = headers.get("content-encoding", "").strip().lower().removeprefix("x-")
    if coding in ("", "identity"):
        return ""
    if coding not in CODINGS:
        raise WrongMediaType(f"This Content-Encoding is not read here. Use one of {', '.join(CODINGS)}, or none.")
    return coding


def _fault_headers(fault: Fault) -> Headers:
    headers: Headers = []
    if fault.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(fault.retry_after_s))).encode()))
    if fault.http_status == 405:
        headers.append((b"allow", b"POST"))
    if fault.http_status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def _wrong_type(headers: Mapping[str, str]) -> Rejected:
    given = "without a Content-Type" if "content-type" not in headers else "of a Content-Type that is not OTLP's"
    return WrongMediaType(f"The body came {given}. Send application/x-protobuf or application/json.")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body is over the limit of {limit_bytes} bytes. Send smaller batches.")
