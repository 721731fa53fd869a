"""Where the embedded Postgres lies: its data, its socket, its log, and the account that may run it."""

import hashlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

import msgspec

from collector.errors import Misconfigured

MAJOR = "18"
SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un holds 107 bytes; the lock file beside the socket has ".lock" behind its name.
LONGEST_SOCKET_PATH = 100
LOG_LIMIT_BYTES = 4 << 20


class Account(msgspec.Struct, frozen=True):
    """Who runs the server: Postgres refuses root."""

    uid: int
    gid: int

    @classmethod
    def own(cls) -> Self:
        return cls(os.geteuid(), os.getegid())

    @classmethod
    def for_cluster(cls, cluster: Path) -> Self:
        """As root: the account that owns the cluster, else `nobody`; everyone else: themselves."""
        if os.geteuid() != 0:
            return cls.own()
        if cluster.exists() and cluster.stat().st_uid != 0:
            owner = cluster.stat()
            return cls(owner.st_uid, owner.st_gid)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    @property
    def is_other(self) -> bool:
        return self.uid != os.geteuid()


class Places(msgspec.Struct, frozen=True):
    """The folders of one server, as this process names them."""

    data_dir: Path
    account: Account

    @classmethod
    def below(cls, data_dir: Path) -> Self:
        return cls(data_dir, Account.for_cluster(data_dir / MAJOR))

    @property
    def cluster(self) -> Path:
        return self.data_dir / MAJOR

    @property
    def draft(self) -> Path:
        """Where a cluster is made first; named by process, as an `initdb` that lost its service clears its own."""
        return self.data_dir / f"{MAJOR}.new-{os.getpid()}"

    def drafts(self) -> Iterator[Path]:
        return self.data_dir.glob(f"{MAJOR}.new-*")

    @property
    def log_file(self) -> Path:
        return self.data_dir / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """In the data folder, or below the system's folder of temporary files where its path would not do."""
        inside = self.data_dir / "run"
        if len(os.fsencode(inside / SOCKET_NAME)) <= LONGEST_SOCKET_PATH and "," not in str(inside):
            return inside  # a comma parts the hosts of a URL
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"xray-{os.geteuid()}" / digest

    def make_socket_dir(self) -> None:
        if self.socket_dir.parent != self.data_dir:
            own_folder(self.socket_dir.parent, Account.own())
        own_folder(self.socket_dir, self.account)

    def open_log(self) -> IO[bytes]:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return self.log_file.open("ab")

    def last_words(self) -> str:
        """What the log says about a failed start."""
        lines = self.log_file.read_text(errors="replace").splitlines()[-20:]
        telling = [line for line in lines if any(mark in line for mark in ("FATAL:", "DETAIL:", "error:"))]
        return f"{' '.join((telling or lines)[-2:])} (more in {self.log_file})"


def own_folder(folder: Path, account: Account) -> None:
    """Make a folder that the account alone may use; one that somebody else made first is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), account.uid):
        raise Misconfigured(
            f"{folder} belongs to somebody else. Remove it, or start X-Ray as its owner; "
            "for a folder of temporary files you may also set TMPDIR."
        )
    folder.chmod(0o700)
    if account.is_other:
        os.chown(folder, account.uid, account.gid)


@contextmanager
def as_seen(folder: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The folder's name for the server, with the descriptors that the server must inherit.

    Another account may not pass the folders above (root's home has mode 0700), but it can use one that is open.
    """
    if not account.is_other:
        yield str(folder), ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)
