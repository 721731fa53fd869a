"""One span to one row of `steps`.

The hot path: a row is put together from tuples, so that a span which lacks a whole group of facts (model, tokens,
cost…) pays nothing for it, and however many dialects there are, a span meets only the plan for its own attributes.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.cleaning import cleaned, may_hold_nul
from collector.mapping.dialects.dialect import View
from collector.mapping.dialects.plan import Plan, make_plan, named_kind
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.facts import NO_NUMBERS, read_content, read_extras, read_names
from collector.mapping.failures import NO_OUTCOME, read_outcome
from collector.mapping.origins import Origin
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import LATEST_NS, mended_times
from collector.mapping.values import Notes, json_text, label, read_attributes
from collector.model import POSTGRES_EPOCH_US, StepRow

Plans = dict[tuple[str, ...], Plan]

NO_TRACE, NO_SPAN = bytes(16), bytes(8)
ENTRIES = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
PLAIN_KINDS = ("function", "function", "other", "other", "messaging", "messaging")
HEALTH = ("health", "healthz", "healthcheck", "readyz", "livez", "ready", "live", "ping")
PLUMBING_ENDS = (*(f'/{path}"' for path in HEALTH), '"PING"', '"ping"')
NO_CONTENT = (None,) * 4
IDENTITY = attrgetter(
    "trace_id", "span_id", "parent_span_id", "name", "kind", "start_time_unix_nano", "end_time_unix_nano"
)
"""Many fields at once take half the time of one after the other."""
REST = attrgetter(
    *("flags", "trace_state", "links"),
    *("dropped_attributes_count", "dropped_events_count", "dropped_links_count"),
)
NEW = tuple.__new__
"""Makes a row of a list: a third of what the class itself takes, which names its 42 parameters."""
ROW_BYTES = 300
"""About what a row takes besides its long texts."""


class SpanMapper:
    """Maps the spans of one scope of one resource."""

    def __init__(self, origin: Origin, plans: Plans, repairs: Mapping[bytes, list[str]]) -> None:
        self.origin, self.plans, self.repairs = origin, plans, repairs
        self.notes = Notes()
        self.size_bytes = 0
        self.refused = {"trace_id": 0, "span_id": 0}
        self.has_warnings = bool(repairs or origin.warnings)
        self.environment = origin.environment
        self.entry_extra = json_text({"environment": self.environment}) if self.environment else None
        session = label(origin.resource.get("session.id"), "session.id", Notes())
        user = label(origin.resource.get("user.id"), "user.id", Notes())
        self.nameless = (None, None, None, session, user, *NO_NUMBERS)
        self.project_id, self.service, self.origin_id = origin.row.project_id, origin.row.service, origin.row.origin_id

    def row(self, span: Span) -> StepRow | None:
        """The row of a span; None where its ids are no ids."""
        trace_id, span_id, parent, name, span_kind, start_ns, end_ns = IDENTITY(span)
        if len(trace_id) != 16 or len(span_id) != 8 or trace_id == NO_TRACE or span_id == NO_SPAN:
            self._refuse(trace_id)
            return None
        notes = self._notes_for(span_id) if self.has_warnings else self.notes
        attributes = read_attributes(span.attributes, notes)
        shape = tuple(attributes)
        plan = self.plans.get(shape)
        if plan is None:
            plan = self.plans[shape] = make_plan(DIALECTS, self.origin.scope_name, attributes)
        kind = plan.kind if plan.is_kind_known else named_kind(plan, attributes, name)
        kind = kind or PLAIN_KINDS[span_kind if span_kind < 6 else 2]
        if not 0 < start_ns <= end_ns <= LATEST_NS or (parent and (len(parent) != 8 or parent == NO_SPAN)):
            started_at, start_ns, duration_ns, parent = mended(start_ns, end_ns, parent, notes)
        else:
            started_at, duration_ns = start_ns // 1000 - POSTGRES_EPOCH_US, end_ns - start_ns
        view = View(attributes, span, kind, notes, span.events)
        content = read_content(plan, view) if plan.has_content else NO_CONTENT
        names = read_names(plan, view, self.nameless) if plan.has_names or kind == "tool" else self.nameless
        has_outcome = plan.may_fail or view.events or span.HasField("status")
        outcome = read_outcome(view, plan) if has_outcome else NO_OUTCOME
        extra = self._extra(plan, view, content[0], not parent or span_kind in ENTRIES)
        where = (self.project_id, trace_id, span_id, started_at, start_ns, duration_ns, parent or None)
        rest = self._rest(view, content)
        row: StepRow = NEW(
            StepRow, [*where, name, kind, span_kind, *outcome, self.service, *content, *names, extra, *rest]
        )
        return cleaned(row, span) if may_hold_nul(row) else row

    def _refuse(self, trace_id: bytes) -> None:
        is_trace = len(trace_id) == 16 and trace_id != NO_TRACE
        self.refused["span_id" if is_trace else "trace_id"] += 1

    def _notes_for(self, span_id: bytes) -> Notes:
        notes = self.notes
        notes.warnings += self.origin.warnings
        for text in self.repairs.get(span_id, ()):
            notes.altered(text)
        return notes

    def _extra(self, plan: Plan, view: View, sent: str | None, is_entry: bool) -> str | None:
        """JSON text of `StepExtra`."""
        is_plumbing = plan.plumbing or (sent is not None and sent.endswith(PLUMBING_ENDS))
        is_entry = is_entry and self.environment is not None
        if not (plan.has_extra or is_plumbing or (is_entry and plan.is_named)):
            return self.entry_extra if is_entry else plan.extra_text
        extra = read_extras(plan, view)
        if is_entry:
            extra.setdefault("environment", self.environment)
        if is_plumbing:
            extra["plumbing"] = True
        return orjson.dumps(extra).decode() if extra else None

    def _rest(self, view: View, content: tuple[str | None, ...]) -> tuple[Any, ...]:
        """`attributes` to `wire`; the last part, since it asks what the others noted."""
        span, notes, attributes = view.span, view.notes, view.attributes
        sent, answered, input_key, output_key = content
        if input_key is not None:
            del attributes[input_key]
        if output_key is not None and output_key != input_key:
            del attributes[output_key]
        flags, trace_state, links, *lost = REST(span)
        if any(lost):
            notes.dropped(*lost)
        text = orjson.dumps(attributes).decode()
        self.size_bytes += ROW_BYTES + len(text) + len(sent or "") + len(answered or "")
        events = events_json(view.events, notes) if view.events else None
        linked = links_json(links, notes) if links else None
        if notes.exact and not notes.warnings:
            return text, events, linked, self.origin_id, flags or None, trace_state or None, None, None
        self.notes = Notes()
        wire = None if notes.exact else span.SerializeToString()
        return text, events, linked, self.origin_id, flags or None, trace_state or None, notes.json(), wire


def mended(start_ns: int, end_ns: int, parent: bytes, notes: Notes) -> tuple[int, int, int | None, bytes]:
    """`started_at`, `start_ns`, `duration_ns` and the parent of a span where they are not as they should be."""
    if parent and (len(parent) != 8 or parent == NO_SPAN):
        notes.altered("the parent's id is not a span id: the span stands as one without a parent")
        parent = b""
    return *mended_times(start_ns, end_ns, notes), parent
