"""One span to one row of `steps`.

The hot path: a row is put together from tuples, so that a span which lacks a whole group of facts (model, tokens,
cost…) pays nothing for it, and however many dialects there are, a span meets only the plan for its own attributes.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.cleaning import cleaned, may_hold_nul
from collector.mapping.dialects.dialect import View
from collector.mapping.dialects.plan import Plan, make_plan, named_kind
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.facts import NO_NUMBERS, read_content, read_extras, read_labels, read_numbers
from collector.mapping.failures import read_outcome
from collector.mapping.origins import Origin
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import read_times
from collector.mapping.values import Notes, json_text, label, read_attributes
from collector.model import StepRow

Plans = dict[tuple[str, ...], Plan]

EXTRA_LABELS = ("execution_id", "agent", "environment", "label", "service_tier", "response_id", "tool_call_id")
EXTRA_JSON = ("metadata", "outcome")
UNNAMED_DIALECTS = ("web", "general", None)
ENTRIES = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
PLAIN_KINDS = ("function", "function", "other", "other", "messaging", "messaging")
HEALTH = ("health", "healthz", "healthcheck", "readyz", "livez", "ready", "live", "ping")
PLUMBING_ENDS = (*(f'/{path}"' for path in HEALTH), '"PING"', '"ping"')
NO_LABELS: Mapping[str, str] = {}
NO_CONTENT = (None, None)
ROW_BYTES = 300
"""About what a row takes besides its long texts."""


class SpanMapper:
    """Maps the spans of one scope of one resource."""

    def __init__(self, origin: Origin, plans: Plans, repairs: Mapping[bytes, list[str]]) -> None:
        self.origin, self.plans, self.repairs = origin, plans, repairs
        self.notes = Notes()
        self.size_bytes = 0
        self.has_warnings = bool(repairs or origin.warnings)
        self.environment = origin.environment
        self.plain_extra = json_text({"environment": self.environment}) if self.environment else None
        session = label(origin.resource.get("session.id"), "session.id", Notes())
        user = label(origin.resource.get("user.id"), "user.id", Notes())
        self.unnamed = (None, None, None, session, user)
        self.project = (origin.row.project_id,)
        self.service = (origin.row.service,)
        self.origin_id = origin.row.origin_id

    def row(self, span: Span) -> StepRow:
        notes = self._notes_for(span)
        attributes = read_attributes(span.attributes, notes)
        shape = tuple(attributes)
        plan = self.plans.get(shape)
        if plan is None:
            plan = self.plans[shape] = make_plan(DIALECTS, self.origin.scope_name, attributes)
        kind = plan.kind if plan.is_kind_known else named_kind(plan, attributes, span.name)
        if kind is None:
            kind = PLAIN_KINDS[span.kind] if span.kind < len(PLAIN_KINDS) else "other"
        view = View(attributes, span, kind, notes)
        sent, input_key = read_content(plan.input, view) if plan.input else NO_CONTENT
        answered, output_key = read_content(plan.output, view) if plan.output else NO_CONTENT
        if kind == "embedding" and output_key is not None:
            answered = output_key = None  # vectors: nothing to read, and they stay in the attributes
        labels = read_labels(plan, view) if plan.labels else NO_LABELS
        parts = (
            self.project
            + place_of(span, notes)
            + read_outcome(view, plan)
            + self.service
            + (sent, answered, input_key, output_key)
            + (self._names(view, labels) if labels or kind == "tool" else self.unnamed)
            + (read_numbers(plan, view) if plan.has_numbers else NO_NUMBERS)
            + (self._extra(plan, view, labels, sent),)
        )
        if input_key is not None:
            del attributes[input_key]
        if output_key is not None and output_key != input_key:
            del attributes[output_key]
        row = StepRow._make(parts + self._rest(span, attributes, notes))
        self.size_bytes += ROW_BYTES + len(row.attributes) + len(sent or "") + len(answered or "")
        return cleaned(row, span) if may_hold_nul(row) else row

    def _notes_for(self, span: Span) -> Notes:
        notes = self.notes
        if notes.warnings or not notes.exact:
            notes = self.notes = Notes()
        if self.has_warnings:
            notes.warnings += self.origin.warnings
            for text in self.repairs.get(span.span_id, ()):
                notes.altered(text)
        return notes

    def _names(self, view: View, labels: Mapping[str, str]) -> tuple[str | None, ...]:
        """`model` to `user_id`."""
        get = labels.get
        return (
            get("model") or get("request_model"),
            get("provider"),
            (get("tool") or tool_of(view.span.name)) if view.kind == "tool" else None,
            get("session") or get("conversation") or self.unnamed[3],
            get("user") or self.unnamed[4],
        )

    def _rest(self, span: Span, attributes: dict[str, Any], notes: Notes) -> tuple[Any, ...]:
        """`attributes` to `wire`; the last part, since it asks what the others noted."""
        events, links = span.events, span.links
        if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
            warn_of_dropped(span, notes)
        return (
            orjson.dumps(attributes).decode(),
            events_json(events, notes) if events else None,
            links_json(links, notes) if links else None,
            self.origin_id,
            span.flags or None,
            span.trace_state or None,
            notes.json() if notes.warnings else None,
            None if notes.exact else span.SerializeToString(),
        )

    def _extra(self, plan: Plan, view: View, labels: Mapping[str, str], sent: str | None) -> str | None:
        """JSON text of `StepExtra`."""
        span = view.span
        is_entry = self.plain_extra is not None and (not span.parent_span_id or span.kind in ENTRIES)
        is_plumbing = plan.plumbing or (sent is not None and sent.endswith(PLUMBING_ENDS))
        if not (labels or plan.extras or is_plumbing) and plan.dialect in UNNAMED_DIALECTS:
            return self.plain_extra if is_entry else None
        extra = read_extras(plan, view) if plan.extras else {}
        for field in EXTRA_LABELS:
            if field in labels:
                extra[field] = labels[field]
        for field in EXTRA_JSON:
            if field in extra:
                extra[field] = orjson.Fragment(extra[field])
        add_second_names(extra, labels)
        if is_entry:
            extra.setdefault("environment", self.environment)
        if is_plumbing:
            extra["plumbing"] = True
        if plan.dialect not in UNNAMED_DIALECTS:
            extra["dialect"] = plan.dialect
        return json_text(extra) if extra else None


def place_of(span: Span, notes: Notes) -> tuple[Any, ...]:
    """`trace_id` to `parent_span_id`."""
    parent = span.parent_span_id
    if parent and (len(parent) != 8 or not any(parent)):
        notes.altered("the parent's id is not a span id: the span stands as one without a parent")
        parent = b""
    return (
        span.trace_id,
        span.span_id,
        *read_times(span.start_time_unix_nano, span.end_time_unix_nano, notes),
        parent or None,
    )


def add_second_names(extra: dict[str, Any], labels: Mapping[str, str]) -> None:
    """What stands beside a column: a conversation beside the session, another model asked for than the one given."""
    if "conversation" in labels and "session" in labels:
        extra["conversation_id"] = labels["conversation"]
    asked = labels.get("request_model")
    if asked is not None and labels.get("model") not in (None, asked):
        extra["request_model"] = asked


def tool_of(span_name: str) -> str:
    """The tool's name where only the span's name tells it."""
    return span_name.removeprefix("execute_tool ").removeprefix("running tool: ").removesuffix(".tool")


def warn_of_dropped(span: Span, notes: Notes) -> None:
    notes.exact = False
    for what in ("attributes", "events", "links"):
        if dropped := getattr(span, f"dropped_{what}_count"):
            notes.warn(f"the sender dropped {dropped} {what}")
