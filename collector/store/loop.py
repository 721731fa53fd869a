"""The one shape of work that is done again and again in the background: start, do, wait, stop."""

import asyncio
from abc import ABC, abstractmethod
from random import uniform

from collector.errors import Unavailable
from collector.telemetry import Telemetry


class Loop(ABC):
    """A turn that fails is told under the loop's name, and the next one comes."""

    def __init__(self, name: str, telemetry: Telemetry, again_s: float) -> None:
        self._name = name
        self._telemetry = telemetry
        self._again_s = again_s
        """How long to wait after a turn that failed."""
        self._task: asyncio.Task[None] | None = None

    @property
    def is_healthy(self) -> bool:
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Safe twice, and without a start; a transaction that is cut off is taken back whole."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @abstractmethod
    async def turn(self) -> float:
        """Do it once; says in how many seconds to do it again."""

    async def _run(self) -> None:
        while True:
            pause_s = self._again_s
            try:
                pause_s = await self.turn()
            except Unavailable as error:
                self._telemetry.errors.report(f"{self._name}_waiting", error)
            except Exception as error:  # noqa: BLE001 - the top of a loop: what failed is tried the next time
                self._telemetry.errors.report(self._name, error)
            await asyncio.sleep(pause_s * uniform(0.8, 1.2))  # noqa: S311 - jitter
