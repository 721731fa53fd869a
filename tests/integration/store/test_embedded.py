"""The embedded Postgres with real processes: it starts anywhere, dies with its service, and loses nothing."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from collector.errors import Misconfigured
from collector.store import predecessors, programs
from collector.store.embedded import EmbeddedPostgres
from collector.store.places import Account, Places

REPOSITORY = Path(__file__).parents[3]
NOBODY = 65534

# A service that commits a row, says so, and goes on until it is killed.
SERVICE = """
import asyncio, sys
from pathlib import Path
import asyncpg
from collector.store.embedded import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    connection = await asyncpg.connect(await postgres.start())
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
    print("pid", postgres.pid, flush=True)
    for number in range(1_000_000):
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
        print(number, flush=True)

asyncio.run(main())
"""

# A program that starts the server, asks it one thing, and stops it.
VISIT = """
import asyncio, sys
from pathlib import Path
import asyncpg
from collector.errors import Misconfigured
from collector.store.embedded import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    try:
        connection = await asyncpg.connect(await postgres.start())
    except Misconfigured as refusal:
        print(refusal)
        sys.exit(2)
    print(await connection.fetchval("SELECT 40 + 2"))
    await connection.close()
    await postgres.stop()

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a cluster, made once; below a folder that only its owner may enter."""
    folder = tmp_path_factory.mktemp("made") / "data"
    postgres = EmbeddedPostgres(folder)
    await postgres.start()
    await postgres.stop()
    return folder


@pytest.fixture
def data_dir(made_folder: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", made_folder, tmp_path / "data"], check=True)
    return tmp_path / "data"


@pytest.fixture
def service(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with spawn(SERVICE, data_dir, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def spawn(script: str, *arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, text=True, **options)


def as_plain_user(command: list[str]) -> list[str]:
    """The command as somebody who is not root; with the right to read, as the interpreter may lie in root's home."""
    if os.geteuid() != 0:
        return command
    reading = [] if programs.is_open_to_all(Path(sys.executable)) else ["+dac_read_search"]
    rights = [f"--{kind}-caps={right}" for kind in ("inh", "ambient") for right in reading]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights, *command]


def visit_as_plain_user(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = as_plain_user([sys.executable, "-B", "-c", VISIT, str(folder)])
    return subprocess.run(command, cwd=REPOSITORY, text=True, capture_output=True, timeout=50, check=False)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[EmbeddedPostgres, asyncpg.Connection]]:
    postgres = EmbeddedPostgres(folder)
    try:
        connection = await asyncpg.connect(await postgres.start())
        yield postgres, connection
        await connection.close()
    finally:
        await postgres.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_starts_with_nothing_and_keeps_rows_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path / "new" / "data") as (_, connection):
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS id")
    async with running(tmp_path / "new" / "data") as (_, connection):
        assert await connection.fetchval("SELECT id FROM kept") == 7


async def test_it_is_durable_and_not_on_the_network(data_dir: Path) -> None:
    async with running(data_dir) as (_, connection):
        shown = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "listen_addresses")
        }
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
    }


async def test_nobody_else_may_enter_its_folders(data_dir: Path) -> None:
    places = Places.below(data_dir)
    async with running(data_dir):
        modes = {folder.stat().st_mode & 0o777 for folder in (places.cluster, places.socket_dir)}
    assert modes == {0o700}


async def test_stop_is_safe_without_a_start_and_twice(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    await postgres.stop()
    await postgres.start()
    pid = postgres.pid
    assert pid is not None
    await postgres.stop()
    await postgres.stop()
    assert postgres.pid is None
    assert not is_alive(pid)


async def test_a_killed_service_leaves_no_orphan(service: "subprocess.Popen[str]") -> None:
    assert service.stdout is not None
    pid = int(service.stdout.readline().split()[1])
    assert is_alive(pid)
    service.kill()
    await until(lambda: not is_alive(pid))


async def test_a_killed_service_loses_no_committed_row(service: "subprocess.Popen[str]", data_dir: Path) -> None:
    assert service.stdout is not None
    service.stdout.readline()
    acknowledged = [int(service.stdout.readline()) for _ in range(200)]
    service.kill()
    acknowledged += [int(line) for line in service.stdout]
    # At once: the server of the killed one is still on its way out.
    async with running(data_dir) as (_, connection):
        kept = {row["id"] for row in await connection.fetch("SELECT id FROM kept")}
    assert set(acknowledged) <= kept
    assert len(acknowledged) >= 200


async def test_a_second_service_on_the_same_folder_is_told_who_has_it(
    service: "subprocess.Popen[str]", data_dir: Path
) -> None:
    assert service.stdout is not None
    service.stdout.readline()
    with pytest.raises(Misconfigured) as refusal:
        await EmbeddedPostgres(data_dir).start()
    assert f"(process {service.pid})" in str(refusal.value)
    assert str(data_dir) in str(refusal.value)
    assert "XRAY_DATA_DIR" in str(refusal.value)
    assert is_alive(service.pid)


@pytest.mark.parametrize("owner", ["dead", "zombie", "another program"])
async def test_stale_pid_files_do_not_stop_the_start(data_dir: Path, owner: str) -> None:
    pid_file, lock = predecessors.pid_file_of(data_dir / "18"), predecessors.socket_lock_of(data_dir / "run")
    async with running(data_dir):
        left = {file: file.read_text() for file in (pid_file, lock)}
    command = ["cat"] if owner == "another program" else ["true"]
    account = Places.below(data_dir).account.uid
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=account if os.geteuid() == 0 else None) as process:
        if owner != "another program":
            await until(lambda: not is_alive(process.pid))
        if owner == "dead":
            process.wait()
        for file, content in left.items():
            file.write_text(content.replace(content.splitlines()[0], str(process.pid), 1))
        async with running(data_dir) as (_, connection):
            assert await connection.fetchval("SELECT 1") == 1
        assert is_alive(process.pid) == (owner == "another program")


async def test_a_server_that_is_killed_comes_back_under_the_same_url(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    try:
        url = await postgres.start()
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS id")
        killed = postgres.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        places = Places.below(data_dir)
        await until(
            lambda: (
                postgres.pid != killed
                and predecessors.is_ready(predecessors.pid_file_of(places.cluster), postgres.pid or 0)
            )
        )
        connection.terminate()
        again = await asyncpg.connect(url)
        assert await again.fetchval("SELECT id FROM kept") == 7
        await again.close()
    finally:
        await postgres.stop()


async def test_an_orphan_that_does_not_end_by_itself_is_ended(data_dir: Path) -> None:
    """As on a system that does not end the server with its service."""
    first = EmbeddedPostgres(data_dir)
    await first.start()
    assert first.pid is not None
    orphan, first_lock = first.pid, first._lock
    assert first._guard is not None
    assert first_lock is not None
    first._guard.cancel()
    first_lock.close()
    async with running(data_dir) as (_, connection):
        assert not is_alive(orphan)
        assert await connection.fetchval("SELECT 1") == 1
    assert first._process is not None
    first._process.wait()


@pytest.mark.parametrize("name", ["a b, \"c'% ü", "long" * 40])
async def test_it_starts_in_a_folder_of_any_name(made_folder: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    subprocess.run(["cp", "-a", made_folder, folder], check=True)
    async with running(folder) as (_, connection):
        assert await connection.fetchval("SELECT 1") == 1
    if Places.below(folder).socket_dir.parent != folder:
        shutil.rmtree(Places.below(folder).socket_dir)


def test_it_works_for_a_plain_user(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    open_for_plain_user(folder)
    done = visit_as_plain_user(folder)
    assert done.stdout.split() == ["42"], done.stderr


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    open_for_plain_user(folder)
    folder.chmod(0o555)
    done = visit_as_plain_user(folder)
    assert done.returncode == 2
    assert done.stdout.startswith(f"The data folder {folder} can't be written (Permission denied).")
    assert "XRAY_DATA_DIR" in done.stdout
    assert "Traceback" not in done.stderr


def open_for_plain_user(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        for place in folder.parents:
            if place.stat().st_uid == 0 and place.is_relative_to(Path("/tmp")) and place != Path("/tmp"):
                place.chmod(place.stat().st_mode | 0o011)


def test_the_programs_run_from_a_copy_for_another_account(tmp_path: Path) -> None:
    found = programs.find_programs(Account.own()).parents[1]
    folder = tmp_path / "public"
    folder.mkdir()
    first, second = programs.copy_for_all(found, folder), programs.copy_for_all(found, folder)
    assert first == second
    assert [entry.name for entry in folder.iterdir()] == [first.parent.name]
    open_for_plain_user(folder)
    for name in programs.USED_PROGRAMS:
        command = as_plain_user([str(first / "pginstall/bin" / name), "--version"])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{name} (PostgreSQL) 18.")


async def test_a_cluster_of_another_version_is_refused_with_the_servers_words(data_dir: Path) -> None:
    (data_dir / "18" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Misconfigured, match=r"did not start: .*incompatible.* version 17.*postgres\.log"):
        await EmbeddedPostgres(data_dir).start()
    (data_dir / "18" / "PG_VERSION").write_text("18\n")
    async with running(data_dir) as (_, connection):  # nothing holds the folder
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_machine_without_the_package_is_told_to_name_a_database(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "PACKAGE", "no_such_package")
    with pytest.raises(Misconfigured, match="Set XRAY_DATABASE_URL"):
        await EmbeddedPostgres(data_dir).start()


async def test_it_refuses_a_thread_that_would_take_the_server_with_it(data_dir: Path) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(lambda: asyncio.run(EmbeddedPostgres(data_dir).start()))


async def test_what_senders_wrote_never_reaches_its_log(data_dir: Path) -> None:
    async with running(data_dir) as (_, connection):
        await connection.execute("CREATE TABLE kept (id text PRIMARY KEY)")
        for _ in range(2):
            try:
                await connection.execute("INSERT INTO kept VALUES ($1)", "a secret prompt")
            except asyncpg.UniqueViolationError:
                break
        else:
            pytest.fail("the second row was taken")
    log = (data_dir / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "secret" not in log
