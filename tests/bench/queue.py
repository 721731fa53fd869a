"""The job queue beside pgqueuer with work that does nothing, in turns; and the rules over executions of ten steps."""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

from collector.mapping.steps import map_traces
from collector.model import ExecutionKey
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.reasoning.reasoner import Engine
from collector.reasoning.rules import Rules
from collector.reasoning.work import Outcome
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.database import Database
from collector.store.embedded import EmbeddedPostgres
from collector.store.jobs import Taken
from collector.store.migrate import migrate
from collector.store.waiting import Outline
from collector.store.writer import Writer, WriterOptions
from collector.telemetry import Telemetry
from tests.bench import load
from tests.bench.processes import cpu_s, tree

BATCH = 100
JOBS_OF_ONE = (10, 1)
"""Jobs of one execution: with nine steps worth explaining, and with none (its gate alone)."""
FILL = """
INSERT INTO reasoning_jobs (project_id, trace_id, span_id, run_at)
SELECT 1, decode(md5($2 || g::text), 'hex'), CASE WHEN s = 0 THEN '' ELSE int8send(s) END,
    CASE WHEN s = 0 THEN now() ELSE 'infinity' END
FROM generate_series(1, $1::int) g, generate_series(0, $3::int - 1) s
"""


async def load_nothing(takings: Sequence[Taken]) -> list[Outcome]:
    """Work that does nothing: no steps are read, no result is kept."""
    return [Outcome(taken) for taken in takings]


async def look_at_nothing(takings: Sequence[Taken]) -> dict[ExecutionKey, Outline]:
    return {}


class Spent(NamedTuple):
    seconds: float
    own_cpu_s: float
    cpu_s: float
    """With Postgres; where cores are shared this says more than the time."""


async def timed(work: Callable[[], Awaitable[None]]) -> Spent:
    processes = tree(os.getpid())  # Postgres is a child
    before, own, began = cpu_s(processes), time.process_time(), time.perf_counter()
    await work()
    seconds, own = time.perf_counter() - began, time.process_time() - own
    return Spent(seconds, own, cpu_s(tree(os.getpid())) - before)


async def until_done(worker: Worker, executions: int) -> None:
    """Starts the worker; returns when it has committed so many executions."""
    done, committed = asyncio.Event(), 0

    def count(keys: list[ExecutionKey]) -> None:
        nonlocal committed
        committed += len(keys)
        if committed >= executions:
            done.set()

    worker.on_commit.append(count)
    await worker.start()
    await done.wait()


class Rate(NamedTuple):
    per_s: float
    cpu_us: float
    """For a job, Postgres included."""


async def measure_ours(database: Database, jobs: int, of_one: int) -> Rate:
    """Jobs done: look, lease, dispatch, beat, complete, by a worker as it stands in the product."""
    executions = jobs // of_one
    async with database.connection() as conn:
        await conn.execute(FILL, executions, os.urandom(4).hex(), of_one)
        await conn.execute("VACUUM ANALYZE reasoning_jobs")
    worker = Worker(database, None, WorkerOptions(batch=BATCH // of_one, listen=False))
    worker._work.look_over = look_at_nothing
    worker._work.load = load_nothing
    spent = await timed(lambda: until_done(worker, executions))
    await worker.stop()
    return Rate(jobs / spent.seconds, spent.cpu_s / jobs * 1e6)


async def measure_pgqueuer(url: str, jobs: int) -> Rate:
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    await Queries(driver).enqueue(["nothing"] * jobs, [b"x"] * jobs, [0] * jobs)
    queue, done = PgQueuer(driver), 0

    @queue.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        nonlocal done
        done += 1
        if done == jobs:
            queue.shutdown.set()

    spent = await timed(lambda: queue.run(batch_size=BATCH))
    await connection.close()
    return Rate(jobs / spent.seconds, spent.cpu_s / jobs * 1e6)


class Explained(NamedTuple):
    steps_per_s: float
    explanations_per_s: float
    own_cpu_us: float
    """Of the worker's process, for a step."""
    cpu_us: float
    """With Postgres."""


async def measure_rules(database: Database, executions: int, seed: int) -> Explained:
    """From committed spans to committed reasoning."""
    batches = [
        map_traces(ExportTraceServiceRequest.FromString(body), lambda _: 1)
        for body in load.requests_of("genai", executions * load.TRACE_SPANS, seed)
    ]
    steps = sum(len(batch.steps) for batch in batches)
    options = WriterOptions(explained_kinds=EXPLAINED_KINDS, settle_ms=0, notify=False)
    writer = Writer(database, options)
    await writer.start()
    for batch in batches:
        await writer.write(batch)
    await writer.stop()
    worker = Worker(database, Engine(Rules(), "rules"), WorkerOptions(listen=False), Telemetry())

    spent = await timed(lambda: until_done(worker, executions))
    await worker.stop()
    async with database.connection() as conn:
        explained = await conn.fetchval("SELECT count(*) FROM reasonings")
        await conn.execute("TRUNCATE reasonings, reasoning_jobs, steps, executions")
    each = 1e6 / steps
    return Explained(steps / spent.seconds, explained / spent.seconds, spent.own_cpu_s * each, spent.cpu_s * each)


def shown(rate: Rate) -> str:
    return f"{rate.per_s:.0f} jobs/s, {rate.cpu_us:.0f} µs CPU a job"


async def run(jobs: int, executions: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="xray-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await postgres.start()
        try:
            await migrate(url)
            database = await Database.open(url)
            installer = await asyncpg.connect(url)
            await Queries(AsyncpgDriver(installer)).install()
            await installer.close()
            await _report(database, url, (jobs, executions, rounds))
            await database.close()
        finally:
            await postgres.stop()


async def _report(database: Database, url: str, sizes: tuple[int, int, int]) -> None:
    jobs, executions, rounds = sizes
    theirs: list[Rate] = []
    ours: dict[int, list[Rate]] = {of_one: [] for of_one in JOBS_OF_ONE}
    for number in range(rounds):
        theirs.append(await measure_pgqueuer(url, jobs))
        for of_one, rates in ours.items():
            rates.append(await measure_ours(database, jobs, of_one))
        told = "; ".join(f"{shown(rates[-1])} ({of_one} an execution)" for of_one, rates in ours.items())
        print(f"round {number + 1}: {told}; pgqueuer {shown(theirs[-1])}", flush=True)
    for of_one, rates in ours.items():
        ratio, cpu = (statistics.median(column) for column in zip(*rates, strict=True))
        their_rate, their_cpu = (statistics.median(column) for column in zip(*theirs, strict=True))
        print(
            f"queue, no-op work, batch {BATCH}, {of_one} jobs an execution: {ratio / their_rate:.2f} times the rate of "
            f"pgqueuer, with {cpu / their_cpu:.2f} times its CPU a job"
        )
    for number in range(rounds):
        found = await measure_rules(database, executions, number)
        print(
            f"rules: {found.steps_per_s:.0f} steps/s, {found.explanations_per_s:.0f} explanations/s, "
            f"{found.own_cpu_us:.0f} µs of the worker's CPU a step, {found.cpu_us:.0f} with Postgres's "
            "(at least 3000 steps/s)",
            flush=True,
        )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench queue", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--executions", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args(arguments)
    asyncio.run(run(asked.jobs, asked.executions, asked.rounds))
