"""Ingest beside its floor: a whole X-Ray under load, and bare COPY of the same rows, in turns.

The floor is what Postgres and a client can do here at best: two connections COPY the mapped rows of one request at a
time into `steps`; nobody is answered, there are no executions and no jobs. Machines differ, and so do their hours: only
ratios of what was measured in turns mean something.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping.steps import map_traces
from collector.model import StepRow
from collector.store.embedded import EmbeddedPostgres
from collector.store.migrate import migrate
from tests.bench import load
from tests.bench.processes import Memory, cpu_s, memory, tree
from tests.processes import XRay

KINDS = ("web", "genai")
SPANS = {"web": 100_000, "genai": 50_000}
CLIENTS = 8
ALONE_SPANS = 20_480


class Floor(msgspec.Struct):
    """Bare COPY."""

    rows_per_s: float
    cpu_us: float
    """Client and Postgres, a row."""


class Ours(msgspec.Struct):
    """A whole X-Ray, default settings, started on an empty folder."""

    spans_per_s: float
    resent_per_s: float
    p50_ms: float
    p99_ms: float
    alone_p50_ms: float
    """With a single client."""
    cpu_us: float
    """Receiver and Postgres, a span."""
    receiver_us: float
    cold_s: float
    warm_s: float
    idle: Memory
    loaded: Memory
    retries: int
    failed: int


class Round(msgspec.Struct):
    floor: Floor
    ours: Ours


def measure_floor(folder: Path, file: Path) -> Floor:
    requests = [map_traces(ExportTraceServiceRequest.FromString(body), lambda _: 1).steps for body in load.read(file)]
    rows = sum(map(len, requests))
    gc.collect()
    gc.freeze()
    seconds, spent_s = asyncio.run(_copy_all(folder, requests))
    gc.unfreeze()
    return Floor(rows / seconds, spent_s / rows * 1e6)


async def _copy_all(folder: Path, requests: list[list[StepRow]]) -> tuple[float, float]:
    """Wall and CPU seconds of COPY alone."""
    postgres = EmbeddedPostgres(folder)
    url = await postgres.start()
    try:
        await migrate(url)
        connections = [await _copying(url) for _ in range(2)]
        began, spent_s = time.perf_counter(), time.process_time() + cpu_s(tree(postgres.pid or 0))
        await asyncio.gather(*(_copy(connection, requests) for connection in connections))
        seconds = time.perf_counter() - began
        spent_s = time.process_time() + cpu_s(tree(postgres.pid or 0)) - spent_s
        for connection in connections:
            await connection.close()
        return seconds, spent_s
    finally:
        await postgres.stop()


async def _copying(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await connection.set_builtin_type_codec("timestamptz", schema="pg_catalog", codec_name="int8", format="binary")
    await connection.copy_records_to_table("steps", records=[], columns=StepRow._fields)
    return connection


async def _copy(connection: asyncpg.Connection, requests: list[list[StepRow]]) -> None:
    while requests:
        await connection.copy_records_to_table("steps", records=requests.pop(), columns=StepRow._fields)


def measure_ours(folder: Path, file: Path, alone: Path) -> Ours:
    xray = XRay(folder)
    cold_s = timed(xray.start)
    xray.stop()
    warm_s = timed(xray.start)
    try:
        pid = xray.process.pid if xray.process else 0
        parts = tree(pid)
        idle = memory(parts)
        before = cpu_s(parts[:1]), cpu_s(tree(pid))
        first, loaded = send(xray.target, file, pid)
        after = cpu_s(parts[:1]), cpu_s(tree(pid))
        again, _ = send(xray.target, file, pid)
        single, _ = send(xray.target, alone, pid, clients=1)
    finally:
        xray.stop()
    spans = first.requests * load.BATCH_SPANS
    return Ours(
        spans_per_s=spans / first.seconds,
        resent_per_s=spans / again.seconds,
        p50_ms=first.p50_ms,
        p99_ms=first.p99_ms,
        alone_p50_ms=single.p50_ms,
        cpu_us=(after[1] - before[1]) / spans * 1e6,
        receiver_us=(after[0] - before[0]) / spans * 1e6,
        cold_s=cold_s,
        warm_s=warm_s,
        idle=idle,
        loaded=loaded,
        retries=first.retries + again.retries + single.retries,
        failed=first.failed + again.failed + single.failed,
    )


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def send(target: str, file: Path, pid: int, clients: int = CLIENTS) -> tuple[load.Sent, Memory]:
    """Send from a process of its own, and watch the receiver's memory meanwhile."""
    command = [sys.executable, "-m", "tests.bench.load", "send", "--file", str(file), "--target", target]
    most = Memory(0, 0)
    with subprocess.Popen([*command, "--clients", str(clients)], stdout=subprocess.PIPE) as sender:
        while sender.poll() is None:
            most = max(most, memory(tree(pid)))
            time.sleep(0.5)  # memory_full_info walks page tables: seldom enough not to be felt
        assert sender.stdout is not None
        sent = msgspec.json.decode(sender.stdout.read(), type=load.Sent)
    return sent, most


def rounds(kind: str, count: int, spans: int) -> Iterator[Round]:
    with tempfile.TemporaryDirectory(prefix="xray-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file, alone = folder / "load", folder / "alone"
        load.make(kind, spans, file)
        load.make(kind, ALONE_SPANS, alone, seed=8)
        for number in range(count):
            floor = measure_floor(folder / f"floor{number}", file)
            yield Round(floor, measure_ours(folder / f"ours{number}", file, alone))


def summary(kind: str, measured: list[Round]) -> str:
    def middle(figure: Callable[[Round], float]) -> float:
        return statistics.median(map(figure, measured))

    lines = [
        ("durable spans/s", middle(lambda r: r.ours.spans_per_s), "{:.0f}"),
        ("  beside bare COPY, rows/s", middle(lambda r: r.floor.rows_per_s), "{:.0f}"),
        ("  ratio (≥ 0.40)", middle(lambda r: r.ours.spans_per_s / r.floor.rows_per_s), "{:.2f}"),
        ("CPU of receiver + Postgres, µs/span", middle(lambda r: r.ours.cpu_us), "{:.1f}"),
        ("  of it the receiver", middle(lambda r: r.ours.receiver_us), "{:.1f}"),
        ("  beside COPY client + Postgres, ratio (≤ 2.3)", middle(lambda r: r.ours.cpu_us / r.floor.cpu_us), "{:.2f}"),
        ("acknowledgement p50, ms, 8 clients", middle(lambda r: r.ours.p50_ms), "{:.0f}"),
        ("acknowledgement p99, ms, 8 clients", middle(lambda r: r.ours.p99_ms), "{:.0f}"),
        ("acknowledgement p50, ms, 1 client (≤ 20)", middle(lambda r: r.ours.alone_p50_ms), "{:.0f}"),
        ("resend / first send (≥ 0.6)", middle(lambda r: r.ours.resent_per_s / r.ours.spans_per_s), "{:.2f}"),
        ("idle tree, MB, PSS (≤ 100)", middle(lambda r: r.ours.idle.pss_mb), "{:.0f}"),
        ("idle tree, MB, RSS", middle(lambda r: r.ours.idle.rss_mb), "{:.0f}"),
        ("loaded tree, MB, PSS (≤ 220)", middle(lambda r: r.ours.loaded.pss_mb), "{:.0f}"),
        ("cold start to ready, s (≤ 2)", middle(lambda r: r.ours.cold_s), "{:.2f}"),
        ("warm start to ready, s (≤ 1.2)", middle(lambda r: r.ours.warm_s), "{:.2f}"),
        ("requests sent again / failed", middle(lambda r: r.ours.retries + r.ours.failed), "{:.0f}"),
    ]
    ratios = " ".join(f"{each.ours.spans_per_s / each.floor.rows_per_s:.2f}" for each in measured)
    table = "\n".join(f"  {label:<48}{form.format(value):>10}" for label, value, form in lines)
    return f"{kind}: medians of {len(measured)}, {os.cpu_count()} cores\n{table}\n  ratios one by one: {ratios}"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--spans", type=int, help="spans a round")
    parser.add_argument("--json", action="store_true", help="every figure of every round")
    given = parser.parse_args(arguments)
    for kind in given.kind or KINDS:
        measured = list(rounds(kind, given.rounds, given.spans or SPANS[kind]))
        print(json.dumps({kind: msgspec.to_builtins(measured)}) if given.json else summary(kind, measured), flush=True)
