"""The database of the settings, for commands that work on it themselves."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import rich_click as click

from collector.config import Settings, load
from collector.store import migrate as migration
from collector.store.database import Database
from collector.store.embedded import DATABASE, USER, EmbeddedPostgres
from collector.store.places import SOCKET_NAME, Places


def migrate(options: Mapping[str, Any]) -> None:
    settings = load(options, os.environ)
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    async with database_url(settings) as url:
        await (await Database.open(url, pool_size=1)).close()  # says what is wrong where it can't be used
        before = await migration.schema_revision(url)
        await migration.migrate(url)
        after = await migration.schema_revision(url)
    click.echo(f"The schema is at {after}" + (", as before." if before == after else f" (it was {before or 'empty'})."))


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """A URL that can be connected to: the settings' own, a running X-Ray's embedded Postgres, or one started here."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    running = running_url(settings)
    if running is not None:
        yield running
        return
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        yield await postgres.start()
    finally:
        await postgres.stop()


def running_url(settings: Settings) -> str | None:
    """The embedded Postgres of an X-Ray that runs on this data folder; None where none does."""
    folder = Places.below(settings.data_dir.absolute()).socket_dir
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(folder / SOCKET_NAME))
        except OSError:  # not there, or left behind by one that was killed
            return None
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(folder))}"
