"""Both doors in a process of their own, with a store that keeps nothing, so that their memory can be measured."""

import asyncio
import json
import sys
from typing import Any

from collector.http_server import bind, serving
from collector.model import Batch, Refusal
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcOptions, start_grpc
from collector.receiver.http import HttpOptions, OtlpHttp
from collector.receiver.ingest import Ingest
from collector.telemetry import Telemetry

LIMIT_BYTES = 16 << 20


class Nowhere:
    async def write(self, _: Batch) -> list[Refusal]:
        return []

    async def project_id(self, _: str, **_limits: bool) -> int:
        return 1


async def lifespan_only(_: Any, receive: Any, send: Any) -> None:
    for part in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{part}.complete"})


async def main() -> None:
    ingest = Ingest(Nowhere(), Nowhere(), Admission(2 * LIMIT_BYTES, patience_s=2.0), Telemetry())
    server = await start_grpc(ingest, GrpcOptions(port=0, max_message_bytes=LIMIT_BYTES))
    listener = bind("127.0.0.1", 0)
    door = OtlpHttp(ingest, HttpOptions(max_message_bytes=LIMIT_BYTES), lifespan_only)
    async with serving(door, listener):
        print(json.dumps({"grpc": server.port, "http": listener.getsockname()[1]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await server.stop(1)


if __name__ == "__main__":
    asyncio.run(main())
