"""Work in hand that outlasts an outage of the database: what was found out, or paid for, is worth waiting for."""

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from typing import TypeVar

from collector.errors import Unavailable

Result = TypeVar("Result")
PAUSE_S = 0.5


async def outlast(work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, again and again while the database is away; whoever holds its lease ends it by cancelling."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(PAUSE_S * (0.5 + random()))  # noqa: S311 - jitter
