"""An execution in the queue, and hands on it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.store import asking
from collector.store.completion import Finished, Quiet, Result, complete
from collector.store.database import Database
from collector.store.jobs import Lease, Places, Taken, beat, take
from collector.store.leases import Sweep, sweep
from collector.store.writer import Writer, WriterOptions
from tests.integration.store.writer_rows import batch, root, rows, step, trace

QUIET = Quiet(timedelta(seconds=2), timedelta(minutes=5))
AT_ONCE = WriterOptions(explained_kinds=frozenset({"llm", "tool", "agent"}), settle_ms=0, notify=False)
A, B = Lease("a", timedelta(seconds=60)), Lease("b", timedelta(seconds=60))


async def arrive(writer: Writer, steps: int = 2, trace_id: bytes | None = None, **columns: Any) -> ExecutionKey:
    """One more execution (or more of one): a root and some tools, given what no other one was given."""
    trace_id = trace_id or trace()
    columns = {"input": f'"{trace_id.hex()}"'} | columns
    tools = [step(trace_id, kind="tool", name=f"tool {n}", **columns) for n in range(steps)]
    await writer.write(batch([root(trace_id), *tools]))
    return ExecutionKey(1, trace_id)


async def take_one(database: Database, key: ExecutionKey, lease: Lease = A) -> Taken | None:
    async with database.connection() as conn, conn.transaction():
        takings = await take(conn, {key: uuid4()}, lease)
    return takings[0] if takings else None


async def must_take(database: Database, key: ExecutionKey, lease: Lease = A) -> Taken:
    taken = await take_one(database, key, lease)
    assert taken is not None
    return taken


async def beat_one(database: Database, taken: Taken, lease: Lease = A) -> tuple[Places, Places]:
    async with database.connection() as conn:
        return await beat(conn, [taken], lease)


def result(span_id: bytes, text: str = "It went well.", revision: int = 1) -> Result:
    return Result(span_id, text, '{"n":1}', None, "rules", None, None, revision, 0, 0, None)


async def complete_all(database: Database, taken: Taken, text: str = "It went well.") -> Places:
    """What a worker writes that explained all it had taken."""
    done = Finished(taken, [result(span, text) for span in taken.jobs])
    async with database.connection() as conn, conn.transaction():
        return await complete(conn, [done], QUIET)


async def job(database: Database, key: ExecutionKey, span_id: bytes = EXECUTION_SPAN) -> dict[str, Any]:
    (found,) = await rows(database, ONE_JOB, *key, span_id)
    return found


ONE_JOB = """
SELECT *, extract(epoch FROM run_at - now())::float AS due_in_s FROM reasoning_jobs
WHERE project_id = $1 AND trace_id = $2 AND span_id = $3 AND run_at < 'infinity'
"""


async def statuses(database: Database, key: ExecutionKey) -> list[str]:
    """The status of everything that was asked for of an execution, from the ledger."""
    query = "SELECT status FROM reasoning_ledger WHERE project_id = $1 AND trace_id = $2 ORDER BY span_id"
    return [row["status"] for row in await rows(database, query, *key)]


async def texts(database: Database, key: ExecutionKey) -> dict[bytes, str]:
    query = "SELECT span_id, text FROM reasonings WHERE project_id = $1 AND trace_id = $2"
    return {row["span_id"]: row["text"] for row in await rows(database, query, *key)}


async def pass_time(database: Database, key: ExecutionKey, **elapsed: float) -> None:
    """Let leases, due times and ages of an execution's jobs be as if this much time had passed."""
    async with database.connection() as conn:
        await conn.execute(
            """UPDATE reasoning_jobs SET lease_until = lease_until - $3::interval, created_at = created_at - $3,
                   run_at = CASE WHEN run_at = 'infinity' THEN run_at ELSE run_at - $3 END
               WHERE project_id = $1 AND trace_id = $2""",
            *key,
            timedelta(**elapsed),
        )


def token() -> UUID:
    return uuid4()


async def ask_again(conn: Any, key: ExecutionKey, *, forced: bool = False) -> int:
    return await asking.ask(conn, key, asking.Wish(EXPLAINED_KINDS, forced=forced))


async def cancel(conn: Any, key: ExecutionKey, span_id: bytes = EXECUTION_SPAN) -> dict[bytes, str]:
    return await asking.cancel(conn, key, span_id)


async def sweep_lost(conn: Any, most_attempts: int) -> Places:
    return await sweep(conn, Sweep([timedelta(0)], most_attempts))
