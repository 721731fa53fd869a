"""Fills the disk that the folder is on through a spool, drains it, and fills it again; says the numbers of requests."""

import asyncio
import sys
from pathlib import Path

from collector.errors import Unavailable
from collector.store.spool import Spool
from collector.store.spool_file import Spooled
from collector.telemetry import Telemetry, start_logging


async def fill(spool: Spool) -> int:
    """Appends until the disk takes no more; how many were acknowledged."""
    for number in range(1_000_000):
        try:
            await spool.append(Spooled("traces", "protobuf", None, b"x" * 10_000))
        except Unavailable:
            return number
    raise AssertionError("the disk is too large")


async def main(folder: Path) -> None:
    start_logging("critical")
    spool = Spool(folder, 1 << 30, Telemetry())
    await spool.open()
    stored = 0

    async def store(_: Spooled) -> None:
        nonlocal stored
        stored += 1

    acknowledged = await fill(spool)
    with (folder / "stranger").open("wb", buffering=0) as stranger:  # takes the last bytes, too
        try:
            while stranger.write(b"x" * 512):
                pass
        except OSError:
            pass
    await spool.drain(store)
    sys.stdout.write(f"{acknowledged} {stored} {await fill(spool)}\n")
    await spool.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
