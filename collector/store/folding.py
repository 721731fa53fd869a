"""The loop that folds what executions gave into the hourly rollups."""

from collector.store.database import Database
from collector.store.loop import Loop
from collector.store.rollups import fold
from collector.telemetry import Telemetry

FOLD_S = 5.0
MOST = 500


class Folding(Loop):
    """Any number of processes may run one: the lock lets one fold at a time."""

    def __init__(self, database: Database, telemetry: Telemetry, every_s: float = FOLD_S) -> None:
        super().__init__("rollups", telemetry, every_s)
        self._database = database
        self._every_s = every_s

    async def turn(self) -> float:
        await self.fold_all()
        return self._every_s

    async def fold_all(self) -> int:
        """Fold until nothing waits; says of how many executions."""
        folded = 0
        while True:
            async with self._database.connection() as conn, conn.transaction():
                done = await fold(conn, MOST)
            folded += done
            if done < MOST:
                return folded
