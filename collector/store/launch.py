"""Become the server's account, tie this process to its parent's life, and turn into the program that is named.

Run as a script by `embedded.py`: a process with threads may do hardly anything between fork and exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def launch(uid: int, gid: int, parent: int, command: list[str]) -> None:
    os.setsid()  # Ctrl-C in a terminal reaches the service alone, which then stops the server in order
    os.umask(0o077)
    if os.getuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of account, which would clear it. SIGINT: the server writes a checkpoint and ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        sys.exit("The service that asked for this server has ended already.")
    os.execv(command[0], command)  # noqa: S606 - the programs are our own


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
