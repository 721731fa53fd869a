"""Executions by what the caller names them, those included of which nothing but log records has come."""

from sqlalchemy.ext.asyncio import AsyncConnection

from api.asked import Project, execution_of
from api.paths import spellings
from collector.errors import NotFound
from collector.model import ExecutionKey
from collector.store.executions import ExecutionRow, trace_id_of
from collector.store.records import Known, know_by_records

NO_SERVICE = "log records"


async def execution_or_logs_of(conn: AsyncConnection, project: Project, public_id: str) -> ExecutionRow:
    """The execution, else what is known of a trace by its log records alone; NotFound without either."""
    try:
        return await execution_of(conn, project, public_id)
    except NotFound:
        for spelling in spellings(public_id):
            trace_id = trace_id_of(spelling)
            key = ExecutionKey(project.id, trace_id) if trace_id else None
            if key and (known := await know_by_records(conn, key)):
                return _row(key, known)
        raise


def _row(key: ExecutionKey, known: Known) -> ExecutionRow:
    return ExecutionRow(
        project_id=key.project_id,
        trace_id=key.trace_id,
        root_order=b"",
        execution_id=None,
        name=known.service or NO_SERVICE,
        kind="other",
        service=known.service,
        status="running" if known.is_recent else "ok",
        settled=False,
        started_at=known.started_at,
        ended_at=known.ended_at,
        step_count=0,
        error_count=0,
        revision=known.count,
        session_id=None,
        user_id=None,
        environment=None,
        tags=None,
        models=None,
        metadata=None,
        final_outcome=None,
        tokens=None,
        cost_usd=None,
        prices_at=None,
        root_missing=True,
        plumbing=False,
        warnings=[],
    )
