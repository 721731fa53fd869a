"""Room on the disk that is held back, so that a full one can be made emptier: to forget something takes room, too."""

import os
from contextlib import suppress
from pathlib import Path

BALLAST_BYTES = 8 << 20


class Ballast:
    """A file that holds nothing but its place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> None:
        """Hold the room; raises OSError where there is not enough."""
        if self._path.exists():
            return
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
        except OSError:
            self.drop()
            raise

    def drop(self) -> bool:
        """Give the room back; False where there was none."""
        with suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False
