"""One span to one row of `steps`.

The hot path: a row is put together from tuples, so that a span which lacks a whole group of facts (model, tokens,
cost…) pays nothing for it, and however many dialects there are, a span meets only the plan for its own attributes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.cleaning import cleaned, may_hold_nul
from collector.mapping.dialects.dialect import View
from collector.mapping.dialects.plan import Plan, make_plan, named_kind
from collector.mapping.dialects.providers import PROVIDERS, one_spelling
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.facts import NO_NAMES, NO_NUMBERS, read_content, read_extras, read_names, read_numbers
from collector.mapping.failures import read_outcome
from collector.mapping.origins import Origin
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import LATEST_US, MAX_INT64, mended_times
from collector.mapping.values import Notes, json_text, label, read_attributes
from collector.model import POSTGRES_EPOCH_US, StepRow

Plans = dict[tuple[str, ...], Plan]

NO_SPAN = bytes(8)
ENTRIES = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
PLAIN_KINDS = ("function", "function", "other", "other", "messaging", "messaging")
HEALTH = ("health", "healthz", "healthcheck", "readyz", "livez", "ready", "live", "ping")
PLUMBING_ENDS = (*(f'/{path}"' for path in HEALTH), '"PING"', '"ping"')
NO_CONTENT = (None, None)
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
        notes = self.notes
        if self.has_warnings or notes.warnings or not notes.exact:
            notes = self._fresh_notes(span)
        attributes = read_attributes(span.attributes, notes)
        shape = tuple(attributes)
        plan = self.plans.get(shape)
        if plan is None:
            plan = self.plans[shape] = make_plan(DIALECTS, self.origin.scope_name, attributes)
        kind = plan.kind
        if not plan.is_kind_known:
            value = attributes[plan.kind_key] if plan.kind_key is not None else None
            kind = plan.kind_values.get(value) if type(value) is str else None
            kind = kind or named_kind(plan, attributes, span.name)
        if kind is None:
            kind = PLAIN_KINDS[span.kind] if span.kind < len(PLAIN_KINDS) else "other"
        events = span.events
        view = View(attributes, span, kind, notes, events)
        sent, input_key = read_content(plan.input, view) if plan.input else NO_CONTENT
        answered, output_key = read_content(plan.output, view) if plan.output else NO_CONTENT
        if kind == "embedding" and output_key is not None:
            answered = output_key = None  # vectors: nothing to read, and they stay in the attributes
        named = read_names(plan, view) if plan.labels else NO_NAMES
        if plan.may_fail or events or span.HasField("status"):
            outcome = read_outcome(view, plan)
        else:
            outcome = (span.name, kind, span.kind, "unset", 0, None, None, None, None)
        place = place_of(span, notes)
        names = self._names(view, named) if plan.labels or kind == "tool" else self.unnamed
        numbers = read_numbers(plan, view) if plan.has_numbers else NO_NUMBERS
        is_plumbing = plan.plumbing or (sent is not None and sent.endswith(PLUMBING_ENDS))
        extra = self._extra(plan, view, named, is_plumbing) if plan.has_extra or is_plumbing else self._plain(span)
        if input_key is not None:
            del attributes[input_key]
        if output_key is not None and output_key != input_key:
            del attributes[output_key]
        rest = self._rest(view)
        content = (sent, answered, input_key, output_key)
        row: StepRow = NEW(
            StepRow, [*self.project, *place, *outcome, *self.service, *content, *names, *numbers, extra, *rest]
        )
        self.size_bytes += ROW_BYTES + len(rest[0]) + len(sent or "") + len(answered or "")
        return cleaned(row, span) if may_hold_nul(row) else row

    def _fresh_notes(self, span: Span) -> Notes:
        self.notes = notes = Notes()
        notes.warnings += self.origin.warnings
        for text in self.repairs.get(span.span_id, ()):
            notes.altered(text)
        return notes

    def _names(self, view: View, named: Sequence[str | None]) -> tuple[str | None, ...]:
        """`model` to `user_id`."""
        model, asked, provider, tool, session, conversation, user = named
        return (
            model or asked or None,
            (PROVIDERS.get(provider) or one_spelling(provider)) if provider else None,
            (tool or tool_of(view.span.name)) if view.kind == "tool" else None,
            session or conversation or self.unnamed[3],
            user or self.unnamed[4],
        )

    def _rest(self, view: View) -> tuple[Any, ...]:
        """`attributes` to `wire`; the last part, since it asks what the others noted."""
        span, notes, events, links = view.span, view.notes, view.events, view.span.links
        if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
            warn_of_dropped(span, notes)
        return (
            orjson.dumps(view.attributes).decode(),
            events_json(events, notes) if events else None,
            links_json(links, notes) if links else None,
            self.origin_id,
            span.flags or None,
            span.trace_state or None,
            notes.json() if notes.warnings else None,
            None if notes.exact else span.SerializeToString(),
        )

    def _plain(self, span: Span) -> str | None:
        """What a span of no special dialect has as `extra`: the environment, where an execution may start."""
        if self.plain_extra is None or (span.parent_span_id and span.kind not in ENTRIES):
            return None
        return self.plain_extra

    def _extra(self, plan: Plan, view: View, named: Sequence[str | None], is_plumbing: bool) -> str | None:
        """JSON text of `StepExtra`."""
        extra = read_extras(plan, view) if plan.extras or plan.extra_labels else {}
        model, asked, _, _, session, conversation, _ = named
        if session and conversation:
            extra["conversation_id"] = conversation
        if model and asked and model != asked:
            extra["request_model"] = asked
        if self.plain_extra is not None and self._plain(view.span) is not None:
            extra.setdefault("environment", self.environment)
        if is_plumbing:
            extra["plumbing"] = True
        if plan.is_named:
            extra["dialect"] = plan.dialect
        return orjson.dumps(extra).decode() if extra else None


def place_of(span: Span, notes: Notes) -> tuple[Any, ...]:
    """`trace_id` to `parent_span_id`."""
    start_ns, end_ns, parent = span.start_time_unix_nano, span.end_time_unix_nano, span.parent_span_id
    started_at = start_ns // 1000 - POSTGRES_EPOCH_US
    if not 0 < start_ns <= end_ns <= MAX_INT64 or started_at > LATEST_US or (parent and is_no_id(parent)):
        return odd_place_of(span, notes)
    return span.trace_id, span.span_id, started_at, start_ns, end_ns - start_ns, parent or None


def odd_place_of(span: Span, notes: Notes) -> tuple[Any, ...]:
    times = mended_times(span.start_time_unix_nano, span.end_time_unix_nano, notes)
    parent = span.parent_span_id
    if parent and is_no_id(parent):
        notes.altered("the parent's id is not a span id: the span stands as one without a parent")
        parent = b""
    return span.trace_id, span.span_id, *times, parent or None


def is_no_id(span_id: bytes) -> bool:
    return len(span_id) != 8 or span_id == NO_SPAN


def tool_of(span_name: str) -> str:
    """The tool's name where only the span's name tells it."""
    return span_name.removeprefix("execute_tool ").removeprefix("running tool: ").removesuffix(".tool")


def warn_of_dropped(span: Span, notes: Notes) -> None:
    notes.exact = False
    for what in ("attributes", "events", "links"):
        if dropped := getattr(span, f"dropped_{what}_count"):
            notes.warn(f"the sender dropped {dropped} {what}")
