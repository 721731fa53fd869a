"""`migrate` in a process of its own: Alembic is needed once, and would stay in the memory of a process that runs on."""

import asyncio
import contextlib
import sys

from collector.errors import Misconfigured, XRayError
from collector.store.migrate import is_current, migrate

COMMAND = (sys.executable, "-m", "collector.store.upgrading")
WRONG_USE = 2


async def migrate_apart(url: str) -> None:
    """Bring the database to the newest schema; one that is current costs one query. Raises what `migrate` raises."""
    if await is_current(url):
        return
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stderr=pipe)
    try:
        _, said = await process.communicate(url.encode())  # not an argument: it may hold a password
    except asyncio.CancelledError:
        # A migration that is cut off is taken back whole.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        raise
    if process.returncode == WRONG_USE:
        raise Misconfigured(said.decode(errors="replace").strip())
    if process.returncode:
        raise XRayError(f"The schema could not be brought up to date: {said.decode(errors='replace').strip()[-1000:]}")


def main() -> int:
    try:
        asyncio.run(migrate(sys.stdin.read()))
    except Misconfigured as error:
        sys.stderr.write(str(error))
        return WRONG_USE
    return 0


if __name__ == "__main__":
    sys.exit(main())
