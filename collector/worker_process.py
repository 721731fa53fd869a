"""One of several receiving processes: started by the supervisor, told its settings on stdin, gone with its parent."""

import asyncio
import ctypes
import os
import signal
import sys
from typing import Any

from collector.app import Address, run_receiver
from collector.config import Settings
from collector.errors import Misconfigured
from collector.supervisor import READY, decode

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs until SIGTERM, or until the supervisor is gone; says `ready` on stdout."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    settings = decode(sys.stdin.buffer.read())

    def announce(_: Address) -> None:
        os.write(sys.stdout.fileno(), READY)

    try:
        _run(settings, announce)
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _run(settings: Settings, announce: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(run_receiver(settings, announce))
    else:
        uvloop.run(run_receiver(settings, announce))


if __name__ == "__main__":
    sys.exit(main())
