"""`xray remap`: today's mapping over stored spans, with a progress bar; stopped at any time, it goes on from there."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import rich_click as click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.query import moment
from collector.commands.database import database_url
from collector.config import Settings, load
from collector.errors import Misconfigured
from collector.pricing import price_table
from collector.store import remap as remapping
from collector.store.database import Database
from collector.store.prices import refresh


def remap(options: Mapping[str, Any], since: str | None) -> None:
    settings = load(options, os.environ)
    try:
        start = moment(since, datetime.now(UTC)) if since else None
    except (ValueError, OverflowError) as error:
        raise Misconfigured(f"--since={since!r}: {error}.") from error
    try:
        changed = asyncio.run(_remap(settings, start))
    except KeyboardInterrupt:
        again = f" --since {start.isoformat()}" if start else ""
        click.echo(f"Stopped. `xray remap{again}` goes on from here.", err=True)
        raise
    click.echo(f"{changed} steps changed.")


async def _remap(settings: Settings, since: datetime | None) -> int:
    columns = (TextColumn("executions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with database_url(settings) as url:
        database = await Database.open(url, pool_size=2)
        prices = price_table(settings)
        try:
            await refresh(database, prices)
            with Progress(*columns) as bar:
                task = bar.add_task("executions", total=None)
                return await remapping.remap(
                    database,
                    since,
                    lambda done, total: bar.update(task, completed=done, total=total),
                    prices,
                )
        finally:
            await database.close()
