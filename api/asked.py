"""What a call asks about: its project, and the execution that its path names."""

from typing import Any, NamedTuple

from litestar import Request
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from api.paths import spellings
from api.query import DEFAULT_PROJECT
from api.services import Services
from collector.errors import NotFound
from collector.store.executions import ExecutionRow, find_execution
from collector.store.projects import find_project

Given = NamedDependency[Services]
AnyRequest = Request[Any, Any, Any]


class Project(NamedTuple):
    id: int
    name: str


async def project_of(conn: AsyncConnection, request: AnyRequest) -> Project:
    """The project of the call: `?project=`, else the default one."""
    name = request.query_params.get("project") or DEFAULT_PROJECT
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
