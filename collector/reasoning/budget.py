"""What a project may spend on models in a day: checked before a call; `cache.py` books it after."""

import msgspec

from collector.reasoning.reasoner import OverBudget
from collector.store.database import Database
from collector.store.spending import spent_today

LEAST_WAIT_S = 60.0


class Allowance(msgspec.Struct, frozen=True):
    usd_per_day: float | None = None
    tokens_per_day: int | None = None

    @property
    def exist(self) -> bool:
        return self.usd_per_day is not None or self.tokens_per_day is not None


class Budget:
    """Days are those of the database's clock in UTC; calls that run at the same time may overshoot by their cost."""

    def __init__(self, database: Database, allowance: Allowance) -> None:
        self._database = database
        self._allowance = allowance

    async def check(self, project_id: int) -> None:
        """Raises OverBudget where nothing is left for today."""
        limits = self._allowance
        if not limits.exist:
            return
        async with self._database.connection() as conn:
            spent = await spent_today(conn, project_id)
        wait_s = max(spent.day_left_s, LEAST_WAIT_S)
        if limits.usd_per_day is not None and spent.cost_usd >= limits.usd_per_day:
            told = f"waits for tomorrow: the budget of ${limits.usd_per_day:g} a day is spent (${spent.cost_usd:.2f})"
            raise OverBudget(told, wait_s)
        if limits.tokens_per_day is not None and spent.tokens >= limits.tokens_per_day:
            told = f"waits for tomorrow: the budget of {limits.tokens_per_day:,} tokens a day is spent"
            raise OverBudget(told, wait_s)
