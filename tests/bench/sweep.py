"""Offered rates from idle to past saturation: what is stored, how fast it is answered, what memory it takes.

First the most that eight clients get through, each waiting for its answer; then rates as shares of it, offered by the
clock whether answers come or not, as many independent senders do. What is refused is not sent again. Lost are spans
that were acknowledged and are not stored afterwards.

    python -m tests.bench sweep --seconds 20 --kind genai
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg
import grpc
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.store.embedded import EmbeddedPostgres
from tests.bench import load
from tests.bench.processes import memory, tree
from tests.processes import XRay, wait_for

SHARES = (0.25, 0.5, 0.75, 1.0, 1.5)
CLIENTS, MOST_IN_FLIGHT = 8, 256
TEMPLATES = 40
MARK = b"xray-swp"
"""Begins the trace ids of a template; each request that is made of it gets another beginning."""
STORED = "SELECT count(*) FROM steps WHERE substring(trace_id FOR 8) = ANY ($1::bytea[])"


@dataclass
class Step:
    """What became of the requests that were offered at one rate."""

    seconds: float = 0.0
    sent: int = 0
    refused: int = 0
    """Told to come again."""
    failed: int = 0
    waits_ms: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """How the trace ids of each request begin."""

    def wait_ms(self, share: float) -> float:
        ordered = sorted(self.waits_ms) or [0.0]
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def templates(kind: str) -> Iterator[bytes]:
    for request in load.requests_of(kind, TEMPLATES * load.BATCH_SPANS, seed=9):
        message = ExportTraceServiceRequest.FromString(request)
        for span in message.resource_spans[0].scope_spans[0].spans:
            span.trace_id = MARK + span.trace_id[8:]
        yield message.SerializeToString()


async def offer(target: str, bodies: list[bytes], rate: float, seconds: float) -> Step:
    """Requests at the rate given (a second), or, where that is 0, as many as the clients get through."""
    step, free = Step(), asyncio.Semaphore(MOST_IN_FLIGHT if rate else CLIENTS)
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CLIENTS)]
    calls = [channel.unary_unary(load.EXPORT) for channel in channels]
    began = time.perf_counter()

    async def send(number: int) -> None:
        beginning = os.urandom(8)
        body, sent = bodies[number % len(bodies)].replace(MARK, beginning), time.perf_counter()
        try:
            await calls[number % CLIENTS](body, timeout=30)
        except grpc.aio.AioRpcError as error:
            step.refused += error.code() in load.RETRYABLE
            step.failed += error.code() not in load.RETRYABLE
        else:
            step.waits_ms.append((time.perf_counter() - sent) * 1e3)
            step.acknowledged.append(beginning.hex())
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        while (now := time.perf_counter() - began) < seconds:
            if rate and (ahead_s := step.sent / rate - now) > 0:
                await asyncio.sleep(ahead_s)
            await free.acquire()
            group.create_task(send(step.sent))
            step.sent += 1
    step.seconds = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    return step


def offered(xray: XRay, file: Path, rate: float, seconds: float) -> tuple[Step, float]:
    """The step, and the most memory (MB) that the receiver took; sent from a process of its own."""
    assert xray.process is not None
    command = [sys.executable, "-m", "tests.bench.sweep", str(file), xray.target, str(rate), str(seconds)]
    most = 0.0
    with tempfile.TemporaryFile() as told, subprocess.Popen(command, stdout=told) as sender:
        while sender.poll() is None:
            most = max(most, memory(tree(xray.process.pid)).rss_mb)
            time.sleep(0.25)  # between two looks at the memory
        told.seek(0)
        return Step(**json.loads(told.read())), most


async def lost_spans(url: str, step: Step) -> int:
    connection = await asyncpg.connect(url)
    try:
        stored = await connection.fetchval(STORED, [bytes.fromhex(each) for each in step.acknowledged])
    finally:
        await connection.close()
    return len(step.acknowledged) * load.BATCH_SPANS - int(stored)


def spool_is_empty(xray: XRay) -> bool:
    return "xray_spool_bytes 0.0" in httpx.get(f"{xray.url}/metrics", timeout=10).text


async def sweep(kind: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="xray-sweep-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "templates"
        file.write_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in templates(kind)))
        postgres = EmbeddedPostgres(folder / "postgres")
        url = await postgres.start()
        xray = XRay(folder / "xray", {"XRAY_DATABASE_URL": url}).start()
        try:
            most, _ = offered(xray, file, 0, seconds)
            most_per_s = len(most.acknowledged) / most.seconds
            print(f"{kind}: at most {most_per_s * load.BATCH_SPANS:.0f} spans/s, {os.cpu_count()} cores")
            print("offered   spans/s  stored/s  p50 ms  p99 ms  RSS MB  refused  failed  lost")
            for share in SHARES:
                step, rss_mb = offered(xray, file, most_per_s * share, seconds)
                wait_for("the spool to be empty", lambda: spool_is_empty(xray), 300)
                print(row(share, step, rss_mb, await lost_spans(url, step)), flush=True)
        finally:
            xray.stop()
            await postgres.stop()


def row(share: float, step: Step, rss_mb: float, lost: int) -> str:
    sent, stored = (count * load.BATCH_SPANS / step.seconds for count in (step.sent, len(step.acknowledged)))
    waits = f"{step.wait_ms(0.5):8.0f}{step.wait_ms(0.99):8.0f}"
    return f"{share:>6.0%}{sent:11.0f}{stored:10.0f}{waits}{rss_mb:8.0f}{step.refused:9}{step.failed:8}{lost:6}"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench sweep", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each rate is offered")
    parser.add_argument("--kind", choices=sorted(load.FILL), action="append")
    given = parser.parse_args(arguments)
    for kind in given.kind or sorted(load.FILL):
        asyncio.run(sweep(kind, given.seconds))


def send() -> None:
    """The sender's process: file, target, rate, seconds."""
    file, target, rate, seconds = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(offer(target, load.read(Path(file)), float(rate), float(seconds))))))


if __name__ == "__main__":
    send()
