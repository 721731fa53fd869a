"""The spool's file: SQLite with a write-ahead log, where COMMIT means fsynced. Synchronous; one thread uses it."""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from collector.store.ballast import Ballast

FILE_NAME = "spool.db"
LOCK_LIMIT_S = 10.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    set_aside INTEGER NOT NULL DEFAULT 0,
    signal TEXT NOT NULL,
    encoding TEXT NOT NULL,
    project TEXT,
    body BLOB NOT NULL
)
"""
COLUMNS = "size, checksum, signal, encoding, project, body"
INSERT = f"INSERT INTO requests ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of columns
SAVE = f"INSERT OR IGNORE INTO requests (id, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of columns
OLDEST = """
SELECT id, checksum, signal, encoding, project, body FROM requests WHERE id > ? AND NOT set_aside ORDER BY id LIMIT ?
"""
SIZE = "SELECT COALESCE(SUM(size), 0) FROM requests"
LOOK = "SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(SUM(set_aside), 0) FROM requests"
ANY = "SELECT EXISTS (SELECT 1 FROM requests)"
WAITING = "SELECT COUNT(*) FROM requests WHERE NOT set_aside"


class Spooled(NamedTuple):
    """A request as it came."""

    signal: str
    encoding: str
    project: str | None
    body: bytes


class Entry(NamedTuple):
    id: int
    request: Spooled


class Damage(NamedTuple):
    """What was lost of a file that was not whole."""

    kept_as: Path
    """Where the damaged file is now."""
    saved: int
    """Requests that could be read from it."""


class Kept(NamedTuple):
    """What a spool's folder holds."""

    requests: int
    size_bytes: int
    set_aside: int
    """Of the requests those that could not be stored, whatever the reason was; they are tried again at each start."""
    damaged: list[Path]
    """Files that were found damaged, and put aside."""


def look(folder: Path) -> Kept:
    """What the folder holds, without changing it; raises sqlite3.Error where that can't be read."""
    damaged = [
        path for path in folder.glob(f"{FILE_NAME}.damaged-*") if path.suffix.removeprefix(".damaged-").isdigit()
    ]
    if not (folder / FILE_NAME).exists():
        return Kept(0, 0, 0, damaged)
    with closing(sqlite3.connect(f"{(folder / FILE_NAME).as_uri()}?mode=ro", uri=True, timeout=1.0)) as database:
        requests, size_bytes, set_aside = database.execute(LOOK).fetchone()
    return Kept(requests, size_bytes, set_aside, damaged)


class SpoolFile:
    """Requests in the order in which they came. Several processes may have the same file open."""

    def __init__(self, folder: Path) -> None:
        self.damage: Damage | None = None
        """Set where the file was found damaged when it was opened."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        self._ballast = Ballast(folder / "ballast")
        self._database = self._open()

    def close(self) -> None:
        self._database.close()

    @property
    def size_bytes(self) -> int:
        return int(self._database.execute(SIZE).fetchone()[0])

    @property
    def waiting(self) -> int:
        """Requests that are still to be stored, without those set aside."""
        return int(self._database.execute(WAITING).fetchone()[0])

    def append(self, requests: Sequence[Spooled]) -> None:
        """All or none, and on disk when this returns. Nothing is taken without room to forget it again (OSError)."""
        self._ballast.take()
        with self._transaction():
            self._database.executemany(INSERT, map(_row, requests))

    def oldest(self, after: int, most_bytes: int, limit: int) -> list[Entry]:
        """The first requests behind `after`, up to the bounds; at least one where there is one."""
        found: list[Entry] = []
        size_bytes = 0
        damaged: list[int] = []
        for number, checksum, *request in self._database.execute(OLDEST, (after, limit)):
            spooled = Spooled(*request)
            if zlib.crc32(spooled.body) != checksum:
                damaged.append(number)
                continue
            found.append(Entry(number, spooled))
            size_bytes += len(spooled.body)
            if size_bytes >= most_bytes:
                break
        if damaged:
            self.settle((), damaged)
        return found

    def settle(self, stored: Iterable[int], bad: Iterable[int]) -> None:
        """Forget what is stored, and keep what can't be stored out of the way until the next start.

        An empty file gives its room back.
        """
        numbers = list(stored), list(bad)
        try:
            self._settle(*numbers)
        except sqlite3.OperationalError:
            if not self._ballast.drop():
                raise
            self._settle(*numbers)
        if not self._database.execute(ANY).fetchone()[0]:
            with suppress(sqlite3.OperationalError):  # another process is at it
                self._database.execute("VACUUM")
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._ballast.drop()

    def _settle(self, stored: Iterable[int], bad: Iterable[int]) -> None:
        with self._transaction():
            self._database.executemany("DELETE FROM requests WHERE id = ?", ((number,) for number in stored))
            self._database.executemany("UPDATE requests SET set_aside = 1 WHERE id = ?", ((number,) for number in bad))

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:  # locked, full, not writable: nothing is wrong with the file
            raise
        except sqlite3.DatabaseError:
            damaged = _put_aside(self._path)
        database = _connect(self._path)
        self.damage = Damage(damaged, _salvage(damaged, database))
        return database

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database)


class _Transaction:
    """Takes the write lock at once, so that nothing fails half-way for want of it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _row(request: Spooled) -> tuple[int, int, str, str, str | None, bytes]:
    return len(request.body), zlib.crc32(request.body), *request


def _connect(path: Path) -> sqlite3.Connection:
    """Open and check; raises DatabaseError where the file is damaged."""
    database = sqlite3.connect(path, timeout=LOCK_LIMIT_S, isolation_level=None, check_same_thread=False)
    try:
        path.chmod(0o600)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(SCHEMA)
        _check(database)
        database.execute("UPDATE requests SET set_aside = 0 WHERE set_aside")
    except BaseException:  # also when it is interrupted: the file must not stay locked
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)


def _put_aside(path: Path) -> Path:
    aside = path.with_name(f"{FILE_NAME}.damaged-{time.time_ns()}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def _salvage(path: Path, into: sqlite3.Connection) -> int:
    """Save what can still be read of a damaged file: from the front to the damage, then from the end to it."""
    with closing(sqlite3.connect(path, timeout=LOCK_LIMIT_S)) as damaged, _Transaction(into):
        for order in ("ASC", "DESC"):
            query = f"SELECT id, {COLUMNS} FROM requests ORDER BY id {order}"  # noqa: S608 - names of columns
            with suppress(sqlite3.DatabaseError):
                for row in damaged.execute(query):
                    if zlib.crc32(row[-1]) == row[2]:
                        into.execute(SAVE, row)
    return int(into.execute(WAITING).fetchone()[0])
