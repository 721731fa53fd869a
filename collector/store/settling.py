"""Many executions settled at once: what all steps together say, what calls cost, and what goes to the rollups."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

import asyncpg

from collector.mapping.times import LATEST_NS
from collector.model import ExecutionKey, Facts, Step
from collector.store import rollups
from collector.store.executions import SAVED_FIELDS, TOKEN_COLUMNS, facts_values

# What the price table says of executions' calls; a sender's cost stays. By primary key, in the days of these steps.
SAVE_COSTS = """
UPDATE steps s SET cost_usd = u.cost_usd, cost_source = CASE WHEN u.cost_usd IS NOT NULL THEN 'prices' END
FROM unnest($1::int[], $2::bytea[], $3::bytea[], $4::timestamptz[], $5::float8[])
    AS u (project_id, trace_id, span_id, started_at, cost_usd)
WHERE s.project_id = u.project_id AND s.trace_id = u.trace_id AND s.span_id = u.span_id AND s.started_at = u.started_at
    AND s.started_at BETWEEN $6 AND $7
    AND s.cost_source IS DISTINCT FROM 'sender' AND s.cost_usd IS DISTINCT FROM u.cost_usd
"""
COLUMNS = (*SAVED_FIELDS, *TOKEN_COLUMNS, "warnings", "root_status")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Settled(NamedTuple):
    """An execution with all of its steps as of a revision."""

    key: ExecutionKey
    revision: int
    facts: Facts
    steps: list[Step]


async def settle(conn: asyncpg.Connection, settled: Iterable[Settled]) -> None:
    """Write down what executions say, in the caller's transaction, in key order; many in one round trip.

    What came since the revision keeps an execution open until the next time.
    """
    ordered = sorted(settled, key=lambda one: one.key)
    if ordered:
        await conn.executemany(save_facts(), [_arguments(one) for one in ordered])
        await _save_costs(conn, ordered)
        await rollups.record(conn, [rollups.Settled(one.key, one.revision, one.steps) for one in ordered])


@cache
def save_facts() -> str:
    """The facts of one execution, by primary key."""
    values = ", ".join(f"{column} = ${number}" for number, column in enumerate(COLUMNS, 4))
    return (
        f"UPDATE executions SET {values}, settled = settled OR revision = $3 "  # noqa: S608 - names of columns
        "WHERE project_id = $1 AND trace_id = $2"
    )


async def _save_costs(conn: asyncpg.Connection, ordered: Iterable[Settled]) -> None:
    calls = [
        (*one.key, step.span_id, stored_at(step.start_ns), step.cost_usd)
        for one in ordered
        for step in one.steps
        # One without a start stands at its end, which nobody knows here: its cost is known when it is read.
        if step.tokens is not None and step.cost_source != "sender" and step.start_ns
    ]
    if calls:
        columns = [list(column) for column in zip(*calls, strict=True)]
        times = columns[3]
        await conn.execute(SAVE_COSTS, *columns, min(times), max(times))


def stored_at(start_ns: int) -> datetime:
    """`started_at` of a step."""
    return EPOCH + timedelta(microseconds=min(start_ns, LATEST_NS) // 1000)


def _arguments(one: Settled) -> tuple[object, ...]:
    values = facts_values(one.facts)
    return (*one.key, one.revision, *(values[column] for column in COLUMNS))
