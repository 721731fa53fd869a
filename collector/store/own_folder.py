"""Which folder is a process's own: the first that no other process has, so that leftovers find a new owner."""

import fcntl
from pathlib import Path
from typing import IO

from collector.errors import Misconfigured

MOST_FOLDERS = 256


class OwnFolder:
    """A folder that is this process's alone until `free`, or until the process ends."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    def free(self) -> None:
        """Safe twice."""
        self._lock.close()


def take_folder(parent: Path, otherwise: str) -> OwnFolder:
    """The first free one in `parent`; Misconfigured where that can't be written, and what to do `otherwise`."""
    for number in range(MOST_FOLDERS):
        folder = parent / str(number)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder / "lock").open("a", encoding="ascii")
        except OSError as error:
            raise Misconfigured(
                f"The folder {folder} can't be written ({error.strerror}). Make it writable, name another data folder "
                f"with XRAY_DATA_DIR, or {otherwise}."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return OwnFolder(folder, lock)
    raise Misconfigured(f"{MOST_FOLDERS} processes share {parent}: give some of them another XRAY_DATA_DIR.")
