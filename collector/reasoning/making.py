"""The worker that the settings ask for."""

from collector.config import Settings
from collector.mapping.prices import PriceTable
from collector.reasoning.reasoner import Engine
from collector.reasoning.rules import Rules
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.database import Database
from collector.telemetry import Telemetry


def make_worker(
    settings: Settings, database: Database, telemetry: Telemetry, prices: PriceTable | None = None
) -> Worker:
    """A worker with the reasoner of the settings, not yet started."""
    kind = settings.resolved_reasoner
    engine = None if kind == "off" else Engine(Rules(), "rules")
    worker = Worker(database, engine, WorkerOptions.of(settings), telemetry)
    worker.use(prices=prices)
    return worker
