"""What the handlers are given: the database, the settings, and what the composition root knows."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from api.hub import Hub
from api.paths import spellings
from api.query import DEFAULT_PROJECT
from collector.errors import NotFound
from collector.mapping.prices import PriceTable
from collector.store.database import Database
from collector.store.executions import ExecutionRow, find_execution
from collector.store.projects import find_project
from collector.telemetry import Telemetry


class Project(NamedTuple):
    id: int
    name: str


async def _nothing() -> None:
    return None


async def _always() -> dict[str, str]:
    return {}


class Services(msgspec.Struct, kw_only=True):
    database: Database
    telemetry: Telemetry
    hub: Hub
    prices: PriceTable = msgspec.field(default_factory=PriceTable)
    ready: Callable[[], Awaitable[dict[str, str]]] = _always
    """Every part of the process: "ok", or what keeps it from its work."""
    before_metrics: Callable[[], Awaitable[None]] = _nothing
    """Brings the gauges up to date before they are read."""


Given = NamedDependency[Services]
AnyRequest = Request[Any, Any, Any]


async def project_of(conn: AsyncConnection, request: AnyRequest) -> Project:
    """The project of the call: `?project=`, else the default one."""
    name = request.query_params.get("project", DEFAULT_PROJECT)
    found = await find_project(conn, name) if "\x00" not in name else None
    if found is None:
        raise NotFound(f"There is no project {name[:100]!r}.")
    return Project(found, name)


async def execution_of(conn: AsyncConnection, project: Project, public_id: str) -> ExecutionRow:
    for spelling in spellings(public_id):
        found = await find_execution(conn, project.id, spelling) if "\x00" not in spelling else None
        if found is not None:
            return found
    raise NotFound(f"There is no execution {public_id[:100]!r} in the project {project.name!r}.")
