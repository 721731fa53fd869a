"""What came in, as OTLP/JSON: page by page, so that no execution is too large."""

import asyncio
from collections.abc import AsyncIterator

from litestar import MediaType, get
from litestar.params import FromPath
from litestar.response import Stream

from api.query import ProjectQuery, described
from api.services import AnyRequest, Given, Services, execution_of, project_of
from collector.mapping.otlp_out import otlp_json
from collector.store.executions import ExecutionRow, StepPlace
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
    yield HEAD
    after: StepPlace | None = None
    while True:
        async with services.database.begin() as conn:
            rows, origins = await load_rows(conn, row, after, PAGE_STEPS)
        if rows:
            page = await asyncio.to_thread(otlp_json, rows, origins)
            yield (b"," if after else b"") + page[len(HEAD) : -len(TAIL)]
        if len(rows) < PAGE_STEPS:
            break
        after = StepPlace(rows[-1].start_ns, rows[-1].span_id)
    yield TAIL
