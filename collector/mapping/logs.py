"""Log records to rows: what belongs to a trace is kept beside its steps, and coding agents that only log get steps."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from collector.mapping.agent_logs import Activity, read_activity
from collector.mapping.origins import Origin, read_origin
from collector.mapping.span_rows import ROW_BYTES, SpanMapper, plans_of
from collector.mapping.steps import ProjectOf, project_name
from collector.mapping.times import MAX_INT64
from collector.mapping.unread import UnreadSpan
from collector.mapping.values import NUL_NOTE, Notes, any_value, clean_json, json_text, label, read_attributes
from collector.model import Batch, RecordRow

DIGEST_BYTES = 16
Repairs = Mapping[bytes, Sequence[str]]
NO_REPAIRS: Repairs = {}


def map_logs(request: ExportLogsServiceRequest, project_of: ProjectOf, repairs: Repairs = NO_REPAIRS) -> Batch:
    """The rows of a request.

    A record that names a trace becomes a row of `records`. One that does not becomes a step or a record of its coding
    agent's execution; of any other sender it belongs to nothing that X-Ray shows, and is not kept.
    `repairs` are warnings by record id from the decoder.
    """
    batch = Batch()
    for of_resource in request.resource_logs:
        project_id = project_of(project_name(of_resource.resource))
        for of_scope in of_resource.scope_logs:
            urls = (of_resource.schema_url, of_scope.schema_url)
            origin = read_origin(project_id, of_resource.resource, of_scope.scope, urls)
            before = len(batch.steps), len(batch.records)
            mappers: dict[str, SpanMapper] = {}
            for record in of_scope.log_records:
                _take(record, origin, mappers, batch, repairs)
            if before != (len(batch.steps), len(batch.records)):
                batch.origins[project_id, origin.row.origin_id] = origin.row
    batch.size_bytes = ROW_BYTES * (len(batch.steps) + len(batch.records))
    return batch


def _take(record: LogRecord, origin: Origin, mappers: dict[str, SpanMapper], batch: Batch, repairs: Repairs) -> None:
    repaired = repairs.get(record_id_of(record), ()) if repairs else ()
    if names_a_trace(record):
        batch.records.append(record_row(record, origin, repaired=repaired))
        return
    activity = read_activity(record)
    if activity is None:
        return
    if activity.span is None:
        batch.records.append(record_row(record, origin, activity, repaired))
        return
    mapper = mappers.get(activity.agent)
    if mapper is None:
        plans = plans_of(activity.agent)
        mapper = mappers[activity.agent] = SpanMapper(origin._replace(scope_name=activity.agent), plans, {})
    row = mapper.row(UnreadSpan.FromString(activity.span.SerializeToString()))
    if row is not None:
        batch.steps.append(row)


def names_a_trace(record: LogRecord) -> bool:
    return len(record.trace_id) == 16 and any(record.trace_id)


def record_id_of(record: LogRecord) -> bytes:
    return hashlib.blake2b(record.SerializeToString(deterministic=True), digest_size=DIGEST_BYTES).digest()


def record_row(
    record: LogRecord, origin: Origin, activity: Activity | None = None, repaired: Iterable[str] = ()
) -> RecordRow:
    """The row of a record; an agent's activity tells where one belongs that names no trace itself."""
    notes = Notes()
    for text in repaired:
        notes.warn(text)
    attributes = read_attributes(record.attributes, notes)
    body: Any = any_value(record.body, notes)
    span_id = record.span_id if len(record.span_id) == 8 and any(record.span_id) else b""
    texts = [json_text(attributes), json_text(body) if record.HasField("body") else None]
    cleaned = [None if text is None else clean_json(text) for text in texts]
    if cleaned != texts:
        notes.altered(NUL_NOTE)
    if record.dropped_attributes_count:
        notes.warn(f"the sender dropped {record.dropped_attributes_count} attributes")
    name = label(record.event_name or attributes.get("event.name"), "event.name", notes)
    return RecordRow(
        project_id=origin.row.project_id,
        trace_id=activity.trace_id if activity else record.trace_id,
        span_id=activity.root_span_id if activity else span_id,
        record_id=record_id_of(record),
        time_ns=min(record.time_unix_nano or record.observed_time_unix_nano, MAX_INT64),
        event_name=None if name is None else name.replace("\x00", "\ufffd"),
        severity=record.severity_number,
        body=cleaned[1],
        attributes=cleaned[0] or "{}",
        origin_id=origin.row.origin_id,
        warnings=notes.json(),
    )
