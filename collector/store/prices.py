"""Model prices set by REST, kept in Postgres for all processes: each reads them again every few seconds."""

from datetime import date

import asyncpg
import msgspec

from collector.errors import Conflict
from collector.mapping.prices import Listing, PriceTable
from collector.mapping.rates import Rates
from collector.store.database import Database
from collector.store.loop import Loop
from collector.telemetry import Telemetry

READ_S = 5.0
"""How old what a process knows may be."""
MOST = 1000

# The whole table; it is small.
READ = "SELECT name, rates, priced_on FROM model_prices ORDER BY name"
SET = """
INSERT INTO model_prices (name, rates, priced_on)
SELECT $1, $2::json, COALESCE($3::date, CURRENT_DATE)
ON CONFLICT (name) DO UPDATE SET
    rates = EXCLUDED.rates, priced_on = EXCLUDED.priced_on, changed_at = EXCLUDED.changed_at
"""
FORGET = "DELETE FROM model_prices WHERE name = $1 RETURNING name"


async def read_prices(conn: asyncpg.Connection) -> list[Listing]:
    """All prices set by REST, by name."""
    rows = await conn.fetch(READ)
    return [Listing(name, msgspec.json.decode(rates, type=Rates), at, "rest") for name, rates, at in rows]


async def set_price(conn: asyncpg.Connection, name: str, rates: Rates, priced_on: date | None) -> None:
    """Set a model's price in place of an earlier one, of today where no day is named.

    Raises Conflict where there are too many.
    """
    known = {listing.name for listing in await read_prices(conn)}
    if name.lower() not in known and len(known) >= MOST:
        raise Conflict(f"There are {MOST} prices set already: delete some, or use * in a name to cover several models.")
    await conn.execute(SET, name.lower(), msgspec.json.encode(rates).decode(), priced_on)


async def forget_price(conn: asyncpg.Connection, name: str) -> bool:
    """Whether there was one."""
    return await conn.fetchval(FORGET, name.lower()) is not None


async def refresh(database: Database, table: PriceTable) -> None:
    """Bring a table up to date."""
    async with database.connection() as conn:
        table.override(await read_prices(conn))


class PriceKeeper(Loop):
    """Keeps a process's table up to date."""

    def __init__(self, database: Database, table: PriceTable, telemetry: Telemetry) -> None:
        super().__init__("prices", telemetry, READ_S)
        self._database = database
        self._table = table

    async def turn(self) -> float:
        await refresh(self._database, self._table)
        return READ_S
