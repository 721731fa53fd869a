"""One embedded Postgres a test run, one migrated template in it, and a clone of that for each test."""

import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from collector.store.database import Database
from collector.store.embedded import DATABASE, USER, EmbeddedPostgres
from collector.store.migrate import migrate

PASSWORD = "tests-only"
TEMPLATE = "migrated"
# A crash of the test machine may lose a test's rows; a test that wants them safe starts its own server.
IN_A_HURRY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class Server:
    """A running Postgres, with URLs of its databases over the socket and over TCP."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.log_file = folder / "postgres.log"
        self.port = port
        self._numbers = count(1)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self._folder / 'run'}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    async def command(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url(DATABASE))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def new_database(self, template: str) -> AsyncIterator[str]:
        name = f"test_{next(self._numbers)}"
        await self.command(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield name
        finally:
            await self.command(f"DROP DATABASE {name} WITH (FORCE)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long runs out unless `-m` names them."""
    if "soak" in config.getoption("markexpr"):
        return
    long_runs = [item for item in items if item.get_closest_marker("soak")]
    if long_runs:
        config.hook.pytest_deselected(items=long_runs)
        items[:] = [item for item in items if item not in long_runs]


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="xray-") as folder:
        yield Path(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(short_folder: Path) -> AsyncIterator[Server]:
    folder, port = short_folder / "postgres", free_port()
    access = short_folder / "access.conf"
    access.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    short_folder.chmod(0o755)
    own = {"listen_addresses": "127.0.0.1", "port": str(port), "hba_file": str(access)}
    postgres = EmbeddedPostgres(folder, settings=IN_A_HURRY | own)
    await postgres.start()
    try:
        running = Server(folder, port)
        await running.command(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")
        await running.command(f"CREATE DATABASE {TEMPLATE}")
        await migrate(running.url(TEMPLATE))
        await running.command("CHECKPOINT")
        yield running
    finally:
        await postgres.stop()


@pytest_asyncio.fixture
async def database_name(server: Server) -> AsyncIterator[str]:
    async with server.new_database(TEMPLATE) as name:
        yield name


@pytest_asyncio.fixture
async def empty_database_url(server: Server) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    async with server.new_database("template1") as name:
        yield server.url(name)


@pytest.fixture
def database_url(server: Server, database_name: str) -> str:
    """The URL of a fresh database with the newest schema, over the unix socket."""
    return server.url(database_name)


@pytest.fixture
def tcp_database_url(server: Server, database_name: str) -> str:
    """The same database over TCP with a password, as an external Postgres is reached."""
    return server.tcp_url(database_name)


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, pool_size=5)
    try:
        yield opened
    finally:
        await opened.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
