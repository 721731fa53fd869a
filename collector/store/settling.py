"""Many executions settled at once: what all steps together say, and what they give to the rollups."""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import asyncpg

from collector.model import ExecutionKey, Facts, Step
from collector.store import rollups
from collector.store.executions import SAVED_FIELDS, TOKEN_COLUMNS, facts_values

COLUMNS = (*SAVED_FIELDS, *TOKEN_COLUMNS, "warnings", "root_status")


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
        await rollups.record(conn, [rollups.Settled(one.key, one.revision, one.steps) for one in ordered])


@cache
def save_facts() -> str:
    """The facts of one execution, by primary key."""
    values = ", ".join(f"{column} = ${number}" for number, column in enumerate(COLUMNS, 4))
    return (
        f"UPDATE executions SET {values}, settled = settled OR revision = $3 "  # noqa: S608 - names of columns
        "WHERE project_id = $1 AND trace_id = $2"
    )


def _arguments(one: Settled) -> tuple[object, ...]:
    values = facts_values(one.facts)
    return (*one.key, one.revision, *(values[column] for column in COLUMNS))
