"""What `Database` promises about connections, codecs, lost servers and refused starts."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import insert, literal_column, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from collector.errors import Misconfigured, Unavailable
from collector.store import database as module
from collector.store.database import Database, classify
from collector.store.embedded import EmbeddedPostgres
from collector.store.schema import origins, projects
from tests.conftest import free_port

ODD_JSON = '{"a":  1.0, "b":[ 12345678901234567890, "\\u0001" ]}'
MAKE_ORIGIN = "INSERT INTO origins (project_id, origin_id, resource, scope, wire) VALUES (1, $1, $2, $2, '')"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def raising(state: str) -> str:
    """SQL that ends in an error with this SQLSTATE."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'asked for' USING ERRCODE = '{state}'; END $$"


@asynccontextmanager
async def opened(url: str, pool_size: int = 2) -> AsyncIterator[Database]:
    database = await Database.open(url, pool_size=pool_size)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """A server of our own, for what no real Postgres does on demand."""
    handlers = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://somebody:hidden-word@127.0.0.1:{port}/traces"
    finally:
        server.close()
        async with asyncio.timeout(10):
            await asyncio.gather(*handlers)


# --- what goes in comes out ------------------------------------------------------------------------------------------


async def test_json_text_comes_back_as_it_was_written_on_every_way(database: Database) -> None:
    async with database.connection() as pooled:
        await pooled.execute(MAKE_ORIGIN, b"pooled", ODD_JSON)
    async with database.begin() as composed:
        row = {"origin_id": b"composed", "resource": ODD_JSON, "scope": ODD_JSON}
        await composed.execute(insert(origins).values(project_id=1, wire=b"", **row))
    own = await database.connect()
    columns = ("project_id", "origin_id", "resource", "scope", "wire")
    await own.copy_records_to_table("origins", records=[(1, b"copied", ODD_JSON, ODD_JSON, b"")], columns=columns)
    by_own = [row["resource"] for row in await own.fetch("SELECT resource FROM origins")]
    await own.close()
    async with database.connection() as pooled:
        by_pooled = [row["resource"] for row in await pooled.fetch("SELECT resource FROM origins")]
    async with database.begin() as composed:
        by_composed = list((await composed.execute(select(origins.c.resource))).scalars())
    assert by_own == by_pooled == by_composed == [ODD_JSON] * 3


async def test_times_are_datetimes_with_a_zone(database: Database) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT $1::timestamptz", moment) == moment
        assert await connection.fetchval("SHOW timezone") == "UTC"


async def test_every_connection_says_whose_it_is(database: Database) -> None:
    question = "SELECT current_setting('application_name')"
    own = await database.connect()
    async with database.connection() as pooled, database.begin() as composed:
        names = [await own.fetchval(question), await pooled.fetchval(question)]
        names.append((await composed.execute(text(question))).scalar())
    await own.close()
    assert names == ["xray"] * 3


# --- transactions ----------------------------------------------------------------------------------------------------


async def test_begin_commits_at_its_end_and_takes_everything_back_after_an_error(database: Database) -> None:

    async def make_projects(*names: str) -> None:
        async with database.begin() as connection:
            for name in names:
                await connection.execute(insert(projects).values(name=name))

    await make_projects("kept")
    with pytest.raises(IntegrityError):
        await make_projects("lost", "kept")
    async with database.begin() as connection:
        names = set((await connection.execute(select(projects.c.name))).scalars())
    assert names == {"default", "kept"}


async def test_nobody_inherits_half_a_transaction(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        async with database.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO projects (name) VALUES ('half')")
        async with database.connection() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM projects WHERE name = 'half'") == 0


async def test_a_conflict_runs_the_whole_transaction_again(database: Database) -> None:
    """Each of two serializable transactions reads what the other writes: one must run again, and sees the other's."""
    both_have_read = asyncio.Barrier(2)
    runs: list[str] = []

    async def add(name: str) -> int:
        runs.append(name)
        async with database.connection() as connection, connection.transaction(isolation="serializable"):
            count: int = await connection.fetchval("SELECT count(*) FROM projects")
            if len(runs) <= 2:
                await both_have_read.wait()
            await connection.execute("INSERT INTO projects (name) VALUES ($1)", f"{name} saw {count}")
            return count

    counts = await asyncio.gather(*(database.retrying(lambda name=name: add(name)) for name in ("a", "b")))
    assert sorted(counts) == [1, 2]
    assert len(runs) == 3


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_an_endless_conflict_ends_as_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(module, "MOST_TRIES", 3)
    tries = 0

    async def conflict() -> None:
        nonlocal tries
        tries += 1
        async with database.begin() as connection:
            await connection.exec_driver_sql(raising(state))

    with pytest.raises(Unavailable):
        await database.retrying(conflict)
    assert tries == 3


async def test_other_errors_are_not_tried_again(database: Database) -> None:
    tries = 0

    async def double() -> None:
        nonlocal tries
        tries += 1
        async with database.begin() as connection:
            await connection.execute(insert(projects).values(name="default"))

    with pytest.raises(IntegrityError):
        await database.retrying(double)
    assert tries == 1


# --- a server that goes away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["08006", "53100", "53300", "57014", "57P01", "58030", "25006"])
async def test_what_passes_by_itself_is_unavailable(database: Database, state: str) -> None:
    with pytest.raises(Unavailable):
        async with database.connection() as connection:
            await connection.execute(raising(state))
    with pytest.raises(Unavailable):
        async with database.begin() as composed:
            await composed.exec_driver_sql(raising(state))


@pytest.mark.parametrize("state", ["22021", "23505", "40001", "42P01", "XX000"])
async def test_what_does_not_pass_keeps_its_own_error(database: Database, state: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as raw:
        async with database.connection() as connection:
            await connection.execute(raising(state))
    with pytest.raises(DBAPIError) as composed:
        async with database.begin() as transaction:
            await transaction.exec_driver_sql(raising(state))
    assert module.sqlstate(raw.value) == module.sqlstate(composed.value) == state
    assert classify(raw.value) is raw.value
    assert classify(composed.value) is composed.value


async def test_a_wrong_argument_is_not_called_a_lost_server(database: Database) -> None:
    with pytest.raises(asyncpg.DataError):
        async with database.connection() as connection:
            await connection.fetchval("SELECT $1::int", "seven")


async def test_a_cut_connection_is_unavailable_and_the_next_one_works(database_url: str) -> None:
    async with opened(database_url, pool_size=1) as database:
        with pytest.raises(Unavailable):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        with pytest.raises(Unavailable):
            async with database.begin() as composed:
                await composed.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        async with database.begin() as composed:
            assert (await composed.execute(text("SELECT 1"))).scalar() == 1


async def test_a_table_that_changes_under_a_connection_is_a_passing_fault(database_url: str) -> None:
    async def read(database: Database) -> str:
        async with database.connection() as connection, connection.transaction():
            return str(await connection.fetchval("SELECT name FROM projects"))

    async with opened(database_url, pool_size=1) as database, opened(database_url) as migrator:
        assert await read(database) == "default"
        async with migrator.connection() as connection:
            await connection.execute("ALTER TABLE projects ALTER name TYPE varchar(99)")
        with pytest.raises(Unavailable):
            await read(database)
        assert await read(database) == "default"


async def test_a_restarted_server_is_used_again_at_once(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data")
    try:
        async with opened(await postgres.start(), pool_size=3) as database:
            async with database.connection(), database.connection():  # the pool holds more than one by now
                await postgres.stop()
            with pytest.raises(Unavailable):
                async with database.connection() as connection:
                    await connection.fetchval("SELECT 1")
            with pytest.raises(Unavailable):
                await database.connect()
            await postgres.start()
            for _ in range(3):
                async with database.connection() as connection, database.begin() as composed:
                    assert await connection.fetchval("SELECT 1") == 1
                    assert (await composed.execute(text("SELECT 1"))).scalar() == 1
    finally:
        await postgres.stop()


async def test_a_statement_without_an_answer_is_given_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMAND_LIMIT_S", 0.2)
    async with opened(database_url) as database:
        with pytest.raises(Unavailable):
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(30)")
        with pytest.raises(Unavailable):
            async with database.begin() as composed:
                await composed.execute(text("SELECT pg_sleep(30)"))


async def test_a_used_up_pool_is_unavailable(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_LIMIT_S", 0.1)
    async with opened(database_url, pool_size=1) as database, database.connection():
        with pytest.raises(Unavailable):
            async with database.connection():
                pytest.fail("the pool gave more than it has")


# --- poolers ---------------------------------------------------------------------------------------------------------


async def test_behind_a_pooler_no_statement_is_kept_in_the_server(tcp_database_url: str) -> None:
    kept = {}
    async with pooler_before(tcp_database_url) as pooled_url:
        for way, url in (("direct", tcp_database_url), ("pooled", pooled_url)):
            async with opened(url, pool_size=1) as database:
                async with database.begin() as composed:
                    await composed.execute(select(projects.c.id).where(projects.c.name == "default"))
                async with database.connection() as connection:
                    await connection.fetch("SELECT id FROM projects WHERE name = $1", "default")
                async with database.begin() as composed:
                    names = select(literal_column("name")).select_from(text("pg_prepared_statements"))
                    kept[way] = set((await composed.execute(names)).scalars()) - {""}
    assert len(kept["direct"]) >= 2
    assert kept["pooled"] == set()


@asynccontextmanager
async def pooler_before(url: str) -> AsyncIterator[str]:
    """What a client sees of a pooler: a process id that is not the server's."""
    found = re.search(r"127\.0\.0\.1:(\d+)", url)
    assert found

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
        while data := await reader.read(65536):
            head, mark, rest = data.partition(key)
            writer.write(head + mark + b"\x00\x00\x00\x01" + rest[4:] if mark else data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(found[1]))
        backend_key_data = b"K\x00\x00\x00\x0c"
        await asyncio.gather(forward(reader, to_server, b"no key"), forward(from_server, writer, backend_key_data))

    async with listening(serve) as own_url:
        port = own_url.rpartition(":")[2].partition("/")[0]
        yield url.replace(found[0], f"127.0.0.1:{port}")


# --- refused starts --------------------------------------------------------------------------------------------------


async def test_an_external_server_over_tcp_with_a_password_works(tcp_database_url: str) -> None:
    async with opened(tcp_database_url) as database, database.connection() as connection:
        assert await connection.fetchval("SELECT inet_server_port()") is not None
        assert await database.project_id("default") == 1


async def test_a_wrong_password_is_named_and_not_shown(tcp_database_url: str) -> None:
    wrong = re.sub(r"(//\w+):[^@]+@", r"\1:hidden-word@", tcp_database_url)
    with pytest.raises(Misconfigured, match=r"refuses the login.*password in XRAY_DATABASE_URL") as refusal:
        await Database.open(wrong)
    assert "hidden-word" not in str(refusal.value)


async def test_a_missing_database_is_named(tcp_database_url: str) -> None:
    with pytest.raises(Misconfigured, match=r'database "missing" does not exist.*[Cc]reate'):
        await Database.open(tcp_database_url.rpartition("/")[0] + "/missing")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hidden-word@127.0.0.1:{port}/traces", r"127\.0\.0\.1:\d+/traces \(.*refused"),
        ("postgresql://me:hidden-word@/traces?host={folder}", r"No Postgres can be reached at .*nothing-here/traces"),
        ("postgresql://me:hidden-word@127.0.0.1:port/traces", "can't be read"),
    ],
)
async def test_an_unreachable_server_is_named_with_what_to_do(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said) as refusal:
        await Database.open(url.format(port=free_port(), folder=tmp_path / "nothing-here"))
    assert "XRAY_DATABASE_URL" in str(refusal.value)
    assert "hidden-word" not in str(refusal.value)


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_LIMIT_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(say_nothing) as url:
        with pytest.raises(Misconfigured, match="no answer in time"):
            await Database.open(url)


async def test_an_old_server_is_refused_by_its_version_after_it_has_started() -> None:
    """It says first that it is starting up: that alone must not end our start."""
    visits = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        await reader.readexactly(8)
        writer.write(b"N")  # no TLS
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        if visits == 1:
            writer.write(message(b"E", b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"))
        else:
            writer.write(message(b"R", bytes(4)) + message(b"S", b"server_version\x0013.22\0"))
            writer.write(message(b"K", bytes(8)) + message(b"Z", b"I"))
            await reader.readexactly(5)  # goodbye

    async with listening(serve) as url:
        with pytest.raises(Misconfigured, match=r"is version 13; X-Ray needs 14 or newer\. Upgrade"):
            await Database.open(url)
    assert visits == 2


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


# --- projects --------------------------------------------------------------------------------------------------------


async def test_a_project_is_made_once_by_however_many_ask(database: Database) -> None:
    ids = await asyncio.gather(*(database.project_id("shop") for _ in range(20)))
    assert len(set(ids)) == 1
    assert await database.project_id("default") == 1
    async with database.begin() as connection:
        names = list((await connection.execute(select(projects.c.name).order_by(projects.c.id))).scalars())
    assert names == ["default", "shop"]
