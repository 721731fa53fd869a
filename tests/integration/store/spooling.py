"""A process that appends to a spool as fast as it can, and says what was acknowledged: for tests that kill it."""

import asyncio
import sys
from pathlib import Path

from collector.store.spool import Spool
from collector.store.spool_file import Spooled
from collector.telemetry import Telemetry


async def main(folder: Path) -> None:
    spool = Spool(folder, 1 << 30, Telemetry())
    await spool.open()

    async def append(number: int) -> None:
        await spool.append(Spooled("traces", "protobuf", None, b"%d " % number + bytes(number * 7919 % 100_000)))
        sys.stdout.buffer.raw.write(b"%d\n" % number)

    for start in range(0, 1_000_000, 4):
        await asyncio.gather(*(append(number) for number in range(start, start + 4)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
