"""One of several receiving processes: started by the supervisor, told its settings on stdin, gone with its parent."""

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

from collector.errors import Misconfigured
from collector.running import run_process
from collector.supervisor import READY, decode

if TYPE_CHECKING:
    from collector.app import Address

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs until SIGTERM, or until the supervisor is gone; says `ready` on stdout."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    settings = decode(sys.stdin.buffer.read())

    def announce(_: "Address") -> None:
        os.write(sys.stdout.fileno(), READY)

    try:
        run_process(settings, announce, "run_receiver")
    except Misconfigured as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
