"""Spans to rows: the hot loop. Pure: the same request always gives the same rows."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping.origins import read_origin
from collector.mapping.span_rows import ROW_BYTES, SpanMapper, plans_of
from collector.mapping.unread import unread
from collector.mapping.values import Notes, label, without_nul
from collector.model import Batch, Refusal

PROJECT_KEY = "xray.project"
NO_ID_MESSAGES = {
    "trace_id": "no valid trace id (16 bytes, not all zero): set one, or send hex digits in JSON",
    "span_id": "no valid span id (8 bytes, not all zero): set one, or send hex digits in JSON",
    "not_spans": "no span has a trace id and a span id, this looks like OTLP logs: send them to /v1/logs",
}

ProjectOf = Callable[[str | None], int]


def projects_in(request: ExportTraceServiceRequest) -> set[str]:
    """The projects that the request's resources name."""
    named = (project_name(each.resource) for each in request.resource_spans)
    return {name for name in named if name is not None}


def project_name(resource: Any) -> str | None:
    for pair in resource.attributes:
        if pair.key == PROJECT_KEY:
            return label(without_nul(pair.value.string_value.strip()), PROJECT_KEY, Notes())
    return None


def map_traces(
    request: ExportTraceServiceRequest,
    project_of: ProjectOf,
    repairs: Mapping[bytes, list[str]] | None = None,
) -> Batch:
    """The rows of a request. A span without valid ids costs only itself.

    `project_of` gets the resource's project name (or None), `repairs` are warnings by span id from the decoder.
    """
    batch = Batch()
    refused: Counter[str] = Counter()
    for of_resource in unread(request).resource_spans:
        project_id = project_of(project_name(of_resource.resource))
        for of_scope in of_resource.scope_spans:
            if not of_scope.spans:
                continue
            urls = (of_resource.schema_url, of_scope.schema_url)
            origin = read_origin(project_id, of_resource.resource, of_scope.scope, urls)
            batch.origins[project_id, origin.row.origin_id] = origin.row
            mapper = SpanMapper(origin, plans_of(origin.scope_name), repairs or {})
            batch.steps += [row for span in of_scope.spans if (row := mapper.row(span)) is not None]
            refused.update(mapper.refused)
    batch.size_bytes = ROW_BYTES * len(batch.steps)
    batch.refusals = _refusals(refused, len(batch.steps))
    return batch


def _refusals(refused: Counter[str], accepted: int) -> list[Refusal]:
    spans = sum(refused.values())
    if spans and not accepted and not refused["span_id"]:
        return [Refusal("not_spans", NO_ID_MESSAGES["not_spans"], spans)]
    return [Refusal(reason, NO_ID_MESSAGES[reason], n) for reason, n in refused.items() if n]
