"""What was paid to models by project and day, and answers that were paid for already."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import asyncpg

# Booked after each call, in a statement of its own: a call is paid for even where its answer comes too late.
BOOK = """
INSERT INTO reasoning_spend AS s (project_id, day, calls, tokens, cost_usd)
SELECT $1, (now() AT TIME ZONE 'UTC')::date, 1, $2, $3
ON CONFLICT (project_id, day) DO UPDATE SET calls = s.calls + EXCLUDED.calls, tokens = s.tokens + EXCLUDED.tokens,
    cost_usd = s.cost_usd + EXCLUDED.cost_usd
"""
SPENT = """
SELECT COALESCE(sum(s.tokens), 0)::bigint AS tokens, COALESCE(sum(s.cost_usd), 0)::float8 AS cost_usd,
    extract(epoch FROM (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '1 day') - (now() AT TIME ZONE 'UTC'))
        ::float8 AS day_left_s
FROM reasoning_spend s WHERE s.project_id = $1 AND s.day = (now() AT TIME ZONE 'UTC')::date
"""
HISTORY = "SELECT day, calls, tokens, cost_usd FROM reasoning_spend WHERE project_id = $1 ORDER BY day DESC LIMIT $2"

RECALL = "SELECT question, answer FROM reasoning_answers WHERE question = ANY ($1::bytea[])"
REMEMBER = """
INSERT INTO reasoning_answers (question, answer) SELECT * FROM unnest($1::bytea[], $2::json[])
ON CONFLICT (question) DO UPDATE SET answer = EXCLUDED.answer, created_at = EXCLUDED.created_at
"""
FORGET = """
DELETE FROM reasoning_answers WHERE question IN (
    SELECT question FROM reasoning_answers WHERE created_at < now() - $1::interval ORDER BY created_at LIMIT $2)
"""


class Spent(NamedTuple):
    tokens: int
    cost_usd: float
    day_left_s: float
    """Until the next day begins (UTC, the database's clock)."""


class Day(NamedTuple):
    day: date
    calls: int
    tokens: int
    cost_usd: float


async def book(conn: asyncpg.Connection, project_id: int, tokens: int, cost_usd: float) -> None:
    await conn.execute(BOOK, project_id, tokens, cost_usd)


async def spent_today(conn: asyncpg.Connection, project_id: int) -> Spent:
    return Spent(*await conn.fetchrow(SPENT, project_id))


async def spent_by_day(conn: asyncpg.Connection, project_id: int, days: int = 31) -> list[Day]:
    return [Day(*row) for row in await conn.fetch(HISTORY, project_id, days)]


async def recall(conn: asyncpg.Connection, questions: Sequence[bytes]) -> dict[bytes, str]:
    """Answers (JSON text) by the hash of what was asked."""
    return {row["question"]: row["answer"] for row in await conn.fetch(RECALL, questions)}


async def remember(conn: asyncpg.Connection, answers: dict[bytes, str]) -> None:
    if answers:
        questions = sorted(answers)
        await conn.execute(REMEMBER, questions, [answers[question] for question in questions])


async def forget(conn: asyncpg.Connection, age: timedelta, limit: int = 1_000) -> int:
    """Drop answers older than `age`, some at a time; says how many."""
    tag = await conn.execute(FORGET, age, limit)
    return int(str(tag).rpartition(" ")[2])
