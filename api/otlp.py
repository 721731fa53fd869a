"""What came in, as OTLP/JSON: page by page, so that no execution is too large."""

import asyncio
from collections.abc import AsyncIterator

from litestar import MediaType, get
from litestar.params import FromPath
from litestar.response import Stream

from api.asked import AnyRequest, Given, execution_of, project_of
from api.query import ProjectQuery, described
from api.services import Services
from collector.mapping.otlp_out import otlp_json
from collector.store.executions import ExecutionRow, read_places
from collector.store.steps import load_rows

PAGE_STEPS = 1000
HEAD, TAIL = b'{"resourceSpans":[', b"]}"


@get(
    "/executions/{execution_id:str}/otlp",
    operation_class=described(ProjectQuery),
    media_type=MediaType.JSON,
)
async def otlp(request: AnyRequest, services: Given, execution_id: FromPath[str]) -> Stream:
    """What came in, as OTLP/JSON: every type exactly as it was sent."""
    async with services.database.begin() as conn:
        row = await execution_of(conn, await project_of(conn, request), execution_id)
    return Stream(_whole(services, row))


async def _whole(services: Services, row: ExecutionRow) -> AsyncIterator[bytes]:
    async with services.database.begin() as conn:
        places = await read_places(conn, row)
    yield HEAD
    separator = b""
    for first in range(0, len(places), PAGE_STEPS):
        async with services.database.begin() as conn:
            rows, origins = await load_rows(conn, row, places[first : first + PAGE_STEPS])
        if page := (await asyncio.to_thread(otlp_json, rows, origins))[len(HEAD) : -len(TAIL)]:
            yield separator + page
            separator = b","
    yield TAIL
