"""One span to one row of `steps`."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.dialects.plan import Plan, make_plan
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.facts import Facts, read_facts
from collector.mapping.failures import NOT_FAILED, read_failure
from collector.mapping.origins import Origin
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import read_times
from collector.mapping.values import (
    NUL_NOTE,
    Notes,
    clean_json,
    has_nul,
    json_text,
    label,
    read_attributes,
    without_nul,
)
from collector.model import Status, StepRow

Plans = dict[tuple[str, ...], Plan]

STATUSES: tuple[Status, Status] = ("unset", "ok")
EXTRA_LABELS = ("execution_id", "agent", "environment", "label", "service_tier", "response_id", "tool_call_id")
UNNAMED_DIALECTS = ("web", "general", None)
JSON_COLUMNS = ("input", "output", "extra", "attributes", "events", "links")
TEXT_COLUMNS = (
    *("name", "status_message", "error_type", "error_message", "error_stacktrace", "input_key", "output_key", "model"),
    *("provider", "tool", "session_id", "user_id", "trace_state"),
)


class SpanMapper:
    """Maps the spans of one scope of one resource."""

    def __init__(self, origin: Origin, plans: Plans, repairs: Mapping[bytes, list[str]]) -> None:
        self.origin, self.plans, self.repairs = origin, plans, repairs
        self.environment = origin.environment
        self.session = label(origin.resource.get("session.id"), "session.id", Notes())
        self.user = label(origin.resource.get("user.id"), "user.id", Notes())

    def row(self, span: Span) -> StepRow:
        notes = Notes()
        if self.repairs or self.origin.warnings:
            self._warn_of_repairs(span.span_id, notes)
        attributes = read_attributes(span.attributes, notes)
        shape = tuple(attributes)
        plan = self.plans.get(shape)
        if plan is None:
            plan = self.plans[shape] = make_plan(DIALECTS, self.origin.scope_name, attributes)
        facts = read_facts(plan, attributes, span, notes)
        row = self._row(span, attributes, facts, notes)
        return cleaned(row, span) if may_hold_nul(row) else row

    def _warn_of_repairs(self, span_id: bytes, notes: Notes) -> None:
        notes.warnings += self.origin.warnings
        for text in self.repairs.get(span_id, ()):
            notes.altered(text)

    def _row(self, span: Span, attributes: dict[str, Any], facts: Facts, notes: Notes) -> StepRow:
        started_at, start_ns, duration_ns = read_times(span.start_time_unix_nano, span.end_time_unix_nano, notes)
        status_code, events, links = span.status.code, span.events, span.links
        failure = None
        if status_code or events or facts.errors or "error.type" in attributes:
            failure = read_failure(facts.view, facts.errors)
        error, labels, tokens, kind = failure or NOT_FAILED, facts.labels, facts.tokens, facts.kind
        if facts.input_key is not None:
            del attributes[facts.input_key]
        if facts.output_key is not None and facts.output_key != facts.input_key:
            del attributes[facts.output_key]
        if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
            warn_of_dropped(span, notes)
        parent = span.parent_span_id
        if parent and (len(parent) != 8 or not any(parent)):
            notes.altered("the parent's id is not a span id: the span stands as one without a parent")
            parent = b""
        attributes_text = json_text(attributes)
        events_text = events_json(events, notes) if events else None
        links_text = links_json(links, notes) if links else None
        return StepRow(
            self.origin.row.project_id,
            span.trace_id,
            span.span_id,
            started_at,
            start_ns,
            duration_ns,
            parent or None,
            span.name,
            kind,
            span.kind,
            "error" if failure is not None else STATUSES[status_code == 1],
            status_code,
            span.status.message or None,
            error.type,
            error.message,
            error.stacktrace,
            self.origin.row.service,
            facts.input,
            facts.output,
            facts.input_key,
            facts.output_key,
            labels.get("model") or labels.get("request_model"),
            labels.get("provider"),
            None if kind != "tool" else labels.get("tool") or tool_of(span.name),
            labels.get("session") or labels.get("conversation") or self.session,
            labels.get("user") or self.user,
            tokens.input,
            tokens.output,
            tokens.cached,
            tokens.cache_write,
            tokens.reasoning,
            facts.cost_usd,
            None if facts.cost_usd is None else "sender",
            self._extra(span, facts, parent),
            attributes_text,
            events_text,
            links_text,
            self.origin.row.origin_id,
            span.flags or None,
            span.trace_state or None,
            notes.json(),
            None if notes.exact else span.SerializeToString(),
        )

    def _extra(self, span: Span, facts: Facts, parent: bytes) -> str | None:
        extra, labels = facts.extra, facts.labels
        if labels:
            for field in EXTRA_LABELS:
                if field in labels:
                    extra.setdefault(field, labels[field])
            if "conversation" in labels and "session" in labels:
                extra["conversation_id"] = labels["conversation"]
            asked = labels.get("request_model")
            if asked is not None and labels.get("model") not in (None, asked):
                extra["request_model"] = asked
        if self.environment and (not parent or span.kind in (2, 5)):
            extra.setdefault("environment", self.environment)
        if facts.dialect not in UNNAMED_DIALECTS:
            extra["dialect"] = facts.dialect
        return json_text(extra) if extra else None


def tool_of(span_name: str) -> str:
    """The tool's name where only the span's name tells it."""
    return span_name.removeprefix("execute_tool ").removeprefix("running tool: ").removesuffix(".tool")


def warn_of_dropped(span: Span, notes: Notes) -> None:
    notes.exact = False
    for what in ("attributes", "events", "links"):
        if dropped := getattr(span, f"dropped_{what}_count"):
            notes.warn(f"the sender dropped {dropped} {what}")


def may_hold_nul(row: StepRow) -> bool:
    """A cheap look at all that can bring a NUL in: other columns are made of these."""
    return (
        "\\u0000" in row.attributes
        or has_nul(row.input)
        or has_nul(row.output)
        or has_nul(row.events)
        or has_nul(row.links)
        or "\x00" in row.name
        or "\x00" in (row.status_message or "")
        or "\x00" in (row.trace_state or "")
    )


def cleaned(row: StepRow, span: Span) -> StepRow:
    """The row without NUL, which Postgres can't store; the same row where there was none."""
    found: dict[str, Any] = {}
    for column in JSON_COLUMNS:
        text = getattr(row, column)
        if text is not None and (clean := clean_json(text)) is not text:
            found[column] = clean
    for column in TEXT_COLUMNS:
        text = getattr(row, column)
        if text is not None and "\x00" in text:
            found[column] = without_nul(text)
    if not found:
        return row
    notes = Notes()
    notes.altered(NUL_NOTE)
    found["warnings"] = notes.json(row.warnings)
    return row._replace(**found, wire=row.wire or span.SerializeToString())
