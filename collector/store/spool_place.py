"""Which folder holds a process's spool: the first that no other process has, so that leftovers find a new owner."""

import fcntl
from pathlib import Path
from typing import IO

from collector.errors import Misconfigured

MOST_PLACES = 256


class SpoolPlace:
    """A folder that is this process's alone until `free`, or until the process ends."""

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        self.folder = folder
        self._lock = lock

    def free(self) -> None:
        """Safe twice."""
        self._lock.close()


def take_place(data_dir: Path) -> SpoolPlace:
    """The first free place below the data folder; Misconfigured where the folder can't be written."""
    for number in range(MOST_PLACES):
        folder = data_dir / "spool" / str(number)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder / "lock").open("a", encoding="ascii")
        except OSError as error:
            raise Misconfigured(
                f"The spool's folder {folder} can't be written ({error.strerror}). Make it writable, name another data "
                "folder with XRAY_DATA_DIR, or do without a spool with XRAY_SPOOL_BYTES=0."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return SpoolPlace(folder, lock)
    raise Misconfigured(f"{MOST_PLACES} processes share {data_dir}: give some of them another XRAY_DATA_DIR.")
