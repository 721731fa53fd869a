"""Migrations: the declared schema, once however many start, and whole or not at all."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from collector.errors import Misconfigured
from collector.store import migrate as module
from collector.store.database import Database
from collector.store.embedded import USER
from collector.store.migrate import MIGRATIONS, known_revisions, migrate, newest_revision, schema_revision
from collector.store.schema import metadata
from tests.conftest import PASSWORD, Server, free_port

REPOSITORY = Path(__file__).parents[3]

# A service that only migrates; says what Alembic did, and whether it was needed at all.
MIGRATE = """
import asyncio, logging, sys
from collector.store.migrate import migrate
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
asyncio.run(migrate(sys.argv[1]))
print("alembic", "used" if "alembic" in sys.modules else "unused")
"""

# Everything that the server knows about a table, but for its partitions, which come and go with the days.
DESCRIBE = r"""
WITH tables AS (
    SELECT oid, relname, reloptions, relkind FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
      AND relname <> 'alembic_version'
)
SELECT relname, 'table', concat_ws(' ', relkind, reloptions, pg_get_partkeydef(oid)) FROM tables
UNION ALL
SELECT relname, 'column ' || attname,
       concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                 regexp_replace(pg_get_expr(adbin, adrelid), $$^'(\d+)'::.*$$, '\1'))
FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = tables.oid AND adnum = attnum
UNION ALL
SELECT relname, 'index', pg_get_indexdef(indexrelid) FROM tables JOIN pg_index ON indrelid = tables.oid
UNION ALL
SELECT relname, 'constraint ' || conname, pg_get_constraintdef(pg_constraint.oid)
FROM tables JOIN pg_constraint ON conrelid = tables.oid
"""

STEP = """
INSERT INTO steps (project_id, trace_id, span_id, started_at, start_ns, name, kind, span_kind, status, status_code,
                   attributes, origin_id)
VALUES (1, 'trace', 'span', $1, 0, 'rank', 'tool', 0, 'ok', 0, '{}', '')
RETURNING tableoid::regclass::text
"""

WAITS = """
SELECT EXISTS (
    SELECT FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE NOT granted AND relname = 'alembic_version'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def table_held(url: str) -> AsyncIterator[None]:
    """Somebody's long transaction, in the way of what a migration writes."""
    async with connected(url) as holder:
        await holder.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        async with holder.transaction():
            await holder.execute("LOCK TABLE alembic_version IN SHARE MODE")
            yield


async def a_migration_waits(url: str) -> None:
    async with connected(url) as watcher, asyncio.timeout(30):
        while not await watcher.fetchval(WAITS):
            await asyncio.sleep(0.01)


def spawn(url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", MIGRATE, url]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def described(url: str) -> set[tuple[str, ...]]:
    async with connected(url) as connection:
        return {tuple(row.values()) for row in await connection.fetch(DESCRIBE)}


async def test_the_migrated_schema_is_the_declared_one(database_url: str, empty_database_url: str) -> None:
    engine = create_async_engine(empty_database_url.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    migrated, declared = await described(database_url), await described(empty_database_url)
    assert sorted(migrated - declared) == []
    assert sorted(declared - migrated) == []
    assert {name for name, *_ in declared} == set(metadata.tables)


def test_the_migrations_are_one_chain() -> None:
    def chain() -> Iterator[tuple[str, str | None]]:
        for file in sorted((MIGRATIONS / "versions").glob("[0-9]*.py")):
            names: dict[str, str | None] = {}
            exec(compile(file.read_text(), file, "exec"), names)
            assert names["revision"] == file.name[:4]
            yield str(names["revision"]), names["down_revision"]

    links = list(chain())
    assert [down for _, down in links] == [None, *(revision for revision, _ in links[:-1])]
    assert newest_revision() == links[-1][0]
    assert known_revisions() == {revision for revision, _ in links}


async def test_ten_processes_at_once_migrate_once(empty_database_url: str) -> None:
    processes = [spawn(empty_database_url) for _ in range(10)]
    outputs = [(await asyncio.to_thread(process.communicate, timeout=50))[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, outputs
    upgrades = [line for output in outputs for line in output.splitlines() if line.startswith("Running upgrade")]
    assert len(upgrades) == len(known_revisions()), upgrades
    assert await schema_revision(empty_database_url) == newest_revision()


async def test_a_current_schema_costs_no_alembic(database_url: str) -> None:
    process = spawn(database_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=50)
    assert output == "alembic unused\n"


async def test_an_empty_database_has_no_revision(empty_database_url: str) -> None:
    assert await schema_revision(empty_database_url) is None


async def test_the_schema_of_a_newer_release_is_left_alone(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await migrate(database_url)
    assert await schema_revision(database_url) == "9999"


async def test_a_migration_waits_in_turns_for_a_table_that_is_in_use(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    upgrade_once = module._upgrade_once

    async def counted(target: module.Target) -> None:
        nonlocal tries
        tries += 1
        await upgrade_once(target)

    monkeypatch.setattr(module, "_upgrade_once", counted)
    monkeypatch.setattr(module, "TABLE_LOCK_LIMIT", "50ms")
    async with table_held(empty_database_url):
        migration = asyncio.create_task(migrate(empty_database_url))
        async with asyncio.timeout(30):
            while tries < 2:
                await asyncio.sleep(0.01)
    await migration
    assert await schema_revision(empty_database_url) == newest_revision()


async def test_a_table_that_stays_in_use_ends_the_start_with_what_to_do(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TABLE_LOCK_LIMIT", "10ms")
    monkeypatch.setattr(module, "TABLE_LOCK_TRIES", 1)
    async with table_held(empty_database_url):
        with pytest.raises(Misconfigured, match=r"End it .*, then run `xray migrate`"):
            await migrate(empty_database_url)


async def test_a_migration_that_is_killed_leaves_nothing_half_done(empty_database_url: str) -> None:
    async with table_held(empty_database_url):
        process = spawn(empty_database_url)
        await a_migration_waits(empty_database_url)
        process.kill()
        process.communicate()
    async with connected(empty_database_url) as connection:
        assert await connection.fetchval("SELECT to_regclass('projects')") is None
    await migrate(empty_database_url)
    assert await schema_revision(empty_database_url) == newest_revision()


async def test_migrating_through_another_holder_of_the_lock_ends_in_time(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GUARD_LIMIT_S", 0.1)
    async with connected(empty_database_url) as holder, holder.transaction():
        await holder.execute("SELECT pg_advisory_xact_lock($1)", module.GUARD_KEY)
        with pytest.raises(Misconfigured, match="Another process has been migrating"):
            await migrate(empty_database_url)


async def test_a_start_that_must_not_migrate_is_refused_by_an_old_schema(
    database_url: str, empty_database_url: str
) -> None:
    await module.expect_current(database_url)
    with pytest.raises(Misconfigured, match=r"schema is missing.*Run `xray migrate`"):
        await module.expect_current(empty_database_url)
    async with connected(database_url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(Misconfigured, match=r"schema is at 0001.*Run `xray migrate`"):
        await module.expect_current(database_url)


async def test_a_user_without_the_right_to_migrate_is_told_so(server: Server) -> None:
    async with server.new_database("template1") as name:
        await server.command("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        try:
            guest = server.tcp_url(name).replace(f"//{USER}:{PASSWORD}", "//guest:guest")
            with pytest.raises(Misconfigured, match="GRANT CREATE ON SCHEMA public"):
                await migrate(guest)
        finally:
            await server.command("DROP ROLE guest")


async def test_an_unreachable_server_ends_a_migration_with_what_to_do() -> None:
    with pytest.raises(Misconfigured, match="No Postgres can be reached"):
        await migrate(f"postgresql://me@127.0.0.1:{free_port()}/traces")


async def test_migrating_works_over_tcp(server: Server) -> None:
    async with server.new_database("template1") as name:
        await migrate(server.tcp_url(name))
        assert await schema_revision(server.tcp_url(name)) == newest_revision()


# --- what the first migration makes -----------------------------------------------------------------------------------


async def test_steps_lie_by_the_day_they_started_on(database: Database) -> None:
    today = datetime.now(UTC).date()
    async with database.connection() as connection:
        for ahead in range(-1, 8):
            day = today + timedelta(days=ahead)
            for moment in (time.min, time.max):
                started_at = datetime.combine(day, moment, UTC)
                assert await connection.fetchval(STEP, started_at) == f"steps_{day:%Y%m%d}"
        for stray in (datetime(1970, 1, 1, tzinfo=UTC), datetime.combine(today, time.min, UTC) + timedelta(days=9)):
            assert await connection.fetchval(STEP, stray) == "steps_default"


async def test_the_ledger_shows_live_jobs_and_results_as_one_list(database: Database) -> None:
    errors = '[{"message": "first"}, {"message": "no answer of the model"}]'
    async with database.connection() as connection:
        jobs = "INSERT INTO reasoning_jobs (project_id, trace_id, span_id, status, attempts, errors) VALUES "
        await connection.execute(jobs + "(1, 'a', '', 'pending', 0, NULL)")
        await connection.execute(jobs + f"(1, 'b', '', 'failed', 5, '{errors}')")
        results = "INSERT INTO reasonings (project_id, trace_id, span_id, text, reasoner, model, revision, attempts, \
                   tokens_input, cost_usd) VALUES "
        await connection.execute(results + "(1, 'c', 'x', 'why', 'openai', 'gpt', 3, 1, 70, 0.5)")
        ledger = "SELECT * FROM reasoning_ledger ORDER BY trace_id"
        pending, failed, completed = [dict(row) for row in await connection.fetch(ledger)]
    assert (pending["status"], pending["priority"], pending["finished_at"]) == ("pending", 5, None)
    assert (failed["status"], failed["attempts"], failed["error"]) == ("failed", 5, "no answer of the model")
    assert failed["finished_at"] is not None
    assert (completed["status"], completed["model"], completed["reasoner"]) == ("completed", "gpt", "openai")
    assert (completed["tokens_input"], completed["cost_usd"], completed["error"]) == (70, 0.5, None)


async def test_wide_columns_use_lz4_where_the_server_has_it(database: Database) -> None:
    async with database.connection() as connection:
        has_lz4 = await connection.fetchval(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        )
        rows = await connection.fetch(
            "SELECT DISTINCT attcompression::text FROM pg_attribute WHERE attrelid IN ('steps'::regclass, "
            "'steps_default'::regclass) AND attname IN ('input', 'output', 'attributes', 'events')"
        )
    assert {row["attcompression"] for row in rows} == ({"l"} if has_lz4 else {""})
