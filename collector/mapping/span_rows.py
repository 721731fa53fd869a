"""One span to one row of `steps`: the hot path, so it is written for speed where that can't be seen from outside."""

from collections.abc import Mapping

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.cleaning import cleaned, may_hold_nul
from collector.mapping.dialects.dialect import View
from collector.mapping.dialects.plan import Plan, make_plan, named_kind
from collector.mapping.dialects.registry import DIALECTS
from collector.mapping.facts import NO_TOKENS, read_content, read_cost, read_extras, read_labels, read_tokens
from collector.mapping.failures import NOT_FAILED, read_failure
from collector.mapping.origins import Origin
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import read_times
from collector.mapping.values import Notes, json_text, label, read_attributes
from collector.model import Status, StepRow

Plans = dict[tuple[str, ...], Plan]

STATUSES: tuple[Status, Status] = ("unset", "ok")
EXTRA_LABELS = ("execution_id", "agent", "environment", "label", "service_tier", "response_id", "tool_call_id")
EXTRA_JSON = ("metadata", "outcome")
UNNAMED_DIALECTS = ("web", "general", None)
ENTRIES = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
PLAIN_KINDS = ("function", "function", "other", "other", "messaging", "messaging")
HEALTH = ("health", "healthz", "healthcheck", "readyz", "livez", "ready", "live", "ping")
PLUMBING_ENDS = (*(f'/{path}"' for path in HEALTH), '"PING"', '"ping"')
NO_LABELS: Mapping[str, str] = {}


class SpanMapper:
    """Maps the spans of one scope of one resource."""

    def __init__(self, origin: Origin, plans: Plans, repairs: Mapping[bytes, list[str]]) -> None:
        self.origin, self.plans, self.repairs = origin, plans, repairs
        self.notes = Notes()
        self.has_warnings = bool(repairs or origin.warnings)
        self.environment = origin.environment
        self.plain_extra = json_text({"environment": self.environment}) if self.environment else None
        self.session = label(origin.resource.get("session.id"), "session.id", Notes())
        self.user = label(origin.resource.get("user.id"), "user.id", Notes())
        self.project_id, self.origin_id, self.service = origin.row.project_id, origin.row.origin_id, origin.row.service

    def row(self, span: Span) -> StepRow:
        notes = self._notes_for(span)
        attributes = read_attributes(span.attributes, notes)
        shape = tuple(attributes)
        plan = self.plans.get(shape)
        if plan is None:
            plan = self.plans[shape] = make_plan(DIALECTS, self.origin.scope_name, attributes)
        kind = plan.kind
        if plan.kinds or (kind is None and plan.names):
            kind = named_kind(plan, attributes, span.name)
        if kind is None:
            kind = PLAIN_KINDS[span.kind] if span.kind < len(PLAIN_KINDS) else "other"
        view = View(attributes, span, kind, notes)
        sent, input_key = read_content(plan.input, view) if plan.input else (None, None)
        answered, output_key = read_content(plan.output, view) if plan.output else (None, None)
        if kind == "embedding" and output_key is not None:
            answered = output_key = None  # vectors: nothing to read, and they stay in the attributes
        labels = read_labels(plan, view) if plan.labels else NO_LABELS
        tokens = read_tokens(plan, view) if plan.tokens else NO_TOKENS
        cost = read_cost(plan, view) if plan.cost else None
        started_at, start_ns, duration_ns = read_times(span.start_time_unix_nano, span.end_time_unix_nano, notes)
        status_code, status_message = 0, None
        if span.HasField("status"):
            status_code, status_message = span.status.code, span.status.message or None
        events, links, parent = span.events, span.links, span.parent_span_id
        error = read_failure(view, plan.errors) if status_code or events or plan.may_fail else None
        status: Status = "error" if error is not None else STATUSES[status_code == 1]
        error = error or NOT_FAILED
        extra = self._extra(plan, view, labels, sent)
        if input_key is not None:
            del attributes[input_key]
        if output_key is not None and output_key != input_key:
            del attributes[output_key]
        if span.dropped_attributes_count or span.dropped_events_count or span.dropped_links_count:
            warn_of_dropped(span, notes)
        row = StepRow._make(
            (
                self.project_id,
                span.trace_id,
                span.span_id,
                started_at,
                start_ns,
                duration_ns,
                (parent if len(parent) == 8 and any(parent) else no_parent(notes)) if parent else None,
                span.name,
                kind,
                span.kind,
                status,
                status_code,
                status_message,
                error.type,
                error.message,
                error.stacktrace,
                self.service,
                sent,
                answered,
                input_key,
                output_key,
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
                cost,
                None if cost is None else "sender",
                extra,
                orjson.dumps(attributes).decode(),
                events_json(events, notes) if events else None,
                links_json(links, notes) if links else None,
                self.origin_id,
                span.flags or None,
                span.trace_state or None,
                notes.json() if notes.warnings else None,
                None if notes.exact else span.SerializeToString(),
            )
        )
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

    def _extra(self, plan: Plan, view: View, labels: Mapping[str, str], sent: str | None) -> str | None:
        """JSON text of `StepExtra`."""
        span = view.span
        is_entry = self.plain_extra is not None and (not span.parent_span_id or span.kind in ENTRIES)
        is_plumbing = plan.plumbing or (sent is not None and sent.endswith(PLUMBING_ENDS))
        if not (labels or plan.extras or is_plumbing) and plan.dialect in UNNAMED_DIALECTS:
            return self.plain_extra if is_entry else None
        extra = read_extras(plan, view)
        extra |= {field: labels[field] for field in EXTRA_LABELS if field in labels}
        extra |= {field: orjson.Fragment(extra[field]) for field in EXTRA_JSON if field in extra}
        extra |= _second_names(labels)
        if is_entry:
            extra.setdefault("environment", self.environment)
        if is_plumbing:
            extra["plumbing"] = True
        if plan.dialect not in UNNAMED_DIALECTS:
            extra["dialect"] = plan.dialect
        return json_text(extra) if extra else None


def _second_names(labels: Mapping[str, str]) -> dict[str, str]:
    """What stands beside a column: a conversation beside the session, another model asked for than the one given."""
    found: dict[str, str] = {}
    if "conversation" in labels and "session" in labels:
        found["conversation_id"] = labels["conversation"]
    asked = labels.get("request_model")
    if asked is not None and labels.get("model") not in (None, asked):
        found["request_model"] = asked
    return found


def tool_of(span_name: str) -> str:
    """The tool's name where only the span's name tells it."""
    return span_name.removeprefix("execute_tool ").removeprefix("running tool: ").removesuffix(".tool")


def no_parent(notes: Notes) -> bytes | None:
    notes.altered("the parent's id is not a span id: the span stands as one without a parent")
    return None


def warn_of_dropped(span: Span, notes: Notes) -> None:
    notes.exact = False
    for what in ("attributes", "events", "links"):
        if dropped := getattr(span, f"dropped_{what}_count"):
            notes.warn(f"the sender dropped {dropped} {what}")
