"""The loop that folds what executions gave into the hourly rollups; start, wake, do, stop."""

import asyncio
from random import uniform

from collector.errors import Unavailable
from collector.store.database import Database
from collector.store.rollups import fold
from collector.telemetry import Telemetry

FOLD_S = 5.0
MOST = 500


class Folding:
    """Any number of processes may run one: the lock lets one fold at a time."""

    def __init__(self, database: Database, telemetry: Telemetry, every_s: float = FOLD_S) -> None:
        self._database = database
        self._telemetry = telemetry
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    @property
    def is_healthy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="folding")

    async def stop(self) -> None:
        """Safe twice, and without a start; a fold that is cut off is taken back whole."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fold_all(self) -> int:
        """Fold until nothing waits; says of how many executions."""
        folded = 0
        while True:
            async with self._database.connection() as conn, conn.transaction():
                done = await fold(conn, MOST)
            folded += done
            if done < MOST:
                return folded

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s * uniform(0.8, 1.2))  # noqa: S311 - jitter
            try:
                await self.fold_all()
            except Unavailable as error:
                self._telemetry.errors.report("rollups_waiting", error)
            except Exception as error:  # noqa: BLE001 - the loop goes on; what failed is folded the next time
                self._telemetry.errors.report("rollups", error)
