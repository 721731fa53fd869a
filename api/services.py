"""What the handlers are given: the database, the settings, and what the composition root knows."""

from collections.abc import Awaitable, Callable

import msgspec

from api.hub import Hub
from collector.mapping.prices import PriceTable
from collector.store.database import Database
from collector.telemetry import Telemetry


async def _nothing() -> None:
    return None


async def _always() -> dict[str, str]:
    return {}


class Services(msgspec.Struct, kw_only=True):
    database: Database
    telemetry: Telemetry
    hub: Hub
    prices: PriceTable = msgspec.field(default_factory=PriceTable)
    explains: bool = True
    """False: the reasoner is off, and nobody takes jobs."""
    ready: Callable[[], Awaitable[dict[str, str]]] = _always
    """Every part of the process: "ok", or what keeps it from its work."""
    before_metrics: Callable[[], Awaitable[None]] = _nothing
    """Brings the gauges up to date before they are read."""
