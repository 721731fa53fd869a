"""grpc.health.v1 in a few lines: two methods with one field each."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from collector.receiver.wire import BYTES, Malformed, fields

POLL_S = 0.5
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def health_handlers(is_serving: Callable[[], bool], services: frozenset[str]) -> Any:
    """Check and Watch for the server ("") and the services it has; they need no key."""

    def status(request: bytes) -> bytes:
        service = _service(request)
        if service and service not in services:
            return SERVICE_UNKNOWN
        return SERVING if is_serving() else NOT_SERVING

    async def check(request: bytes, context: Any) -> bytes:
        answer = status(request)
        if answer == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answer

    async def watch(request: bytes, _: Any) -> AsyncIterator[bytes]:
        last = b""
        while True:
            if (answer := status(request)) != last:
                last = answer
                yield answer
            await asyncio.sleep(POLL_S)

    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(check, None, None),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, None, None),
    }
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods)


def _service(request: bytes) -> str:
    try:
        names = [str(each.payload, "utf-8", "replace") for each in fields(request) if each.wire_type == BYTES]
    except Malformed:
        return "?"
    return names[-1] if names else ""
