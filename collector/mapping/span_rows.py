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
from collector.mapping.facts import NO_NUMBERS, extra_json, plain_extra, read_content, read_names, second_names
from collector.mapping.failures import NO_OUTCOME, read_outcome
from collector.mapping.origins import Origin
from collector.mapping.pairs import Pairs
from collector.mapping.span_lists import events_json, links_json
from collector.mapping.times import LATEST_NS, mended_times
from collector.mapping.values import Notes, label
from collector.model import POSTGRES_EPOCH_US, StepRow

Plans = dict[tuple[str, ...], Plan]

NO_TRACE, NO_SPAN = bytes(16), bytes(8)
ENTRIES = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
PLAIN_KINDS = ("function", "function", "other", "other", "messaging", "messaging")
HEALTH = ("health", "healthz", "healthcheck", "readyz", "livez", "ready", "live", "ping")
PLUMBING_ENDS = (*(f'/{path}"' for path in HEALTH), '"PING"', '"ping"')
PROBED = ("http", "db")
NO_CONTENT = (None,) * 4
FIELDS = attrgetter(
    *("trace_id", "span_id", "parent_span_id", "name", "kind", "start_time_unix_nano", "end_time_unix_nano"),
    *("events", "links", "flags", "trace_state"),
    *("dropped_attributes_count", "dropped_events_count", "dropped_links_count"),
)
"""Many fields at once take half the time of one after the other."""
PAIRS = Pairs()
NEW = tuple.__new__
"""Makes a row of a list: a third of what the class itself takes, which names its 42 parameters."""
ROW_BYTES = 300
"""About what a row takes besides its texts."""
MOST_SHAPES = 4096
PLANS: dict[str, Plans] = {}


def plans_of(scope_name: str) -> Plans:
    """The plans known for spans of this scope: made once, and forgotten all together when they are too many."""
    if len(PLANS) + sum(map(len, PLANS.values())) > MOST_SHAPES:
        PLANS.clear()
    return PLANS.setdefault(scope_name, {})


class SpanMapper:
    """Maps the spans of one scope of one resource."""

    def __init__(self, origin: Origin, plans: Plans, repairs: Mapping[bytes, list[str]]) -> None:
        self.origin, self.plans, self.repairs = origin, plans, repairs
        self.notes = Notes()
        self.refused = {"trace_id": 0, "span_id": 0}
        self.has_warnings = bool(repairs or origin.warnings)
        self.environment = origin.environment
        session = label(origin.resource.get("session.id"), "session.id", Notes())
        user = label(origin.resource.get("user.id"), "user.id", Notes())
        self.nameless = (None, None, None, session, user, *NO_NUMBERS)
        self.project_id, self.service, self.origin_id = origin.row.project_id, origin.row.service, origin.row.origin_id

    def row(self, span: Any) -> StepRow | None:
        """The row of an `UnreadSpan`; None where its ids are no ids. Raises Unreadable for its attributes."""
        # fmt: off
        (trace_id, span_id, parent, name, span_kind, start_ns, end_ns,
         events, links, flags, trace_state, lost, lost_events, lost_links) = FIELDS(span)
        # fmt: on
        if len(trace_id) != 16 or len(span_id) != 8 or trace_id == NO_TRACE or span_id == NO_SPAN:
            self._refuse(trace_id)
            return None
        notes = self._notes_for(span_id) if self.has_warnings else self.notes
        attributes = PAIRS.read(span.attributes, notes)
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
        view = View(attributes, span, kind, notes, events)
        sent, answered, input_key, output_key = read_content(plan, view) if plan.has_content else NO_CONTENT
        names = read_names(plan, view, self.nameless) if plan.has_names or kind == "tool" else self.nameless
        outcome = read_outcome(view, plan) if plan.may_fail or events or span.HasField("status") else NO_OUTCOME
        is_entry = self.environment is not None and (not parent or span_kind in ENTRIES)
        is_plumbing = plan.plumbing or (sent is not None and kind in PROBED and sent.endswith(PLUMBING_ENDS))
        has_own = plan.has_extra or is_entry or is_plumbing
        extra = self._extra(plan, view, is_entry, is_plumbing) if has_own else plan.extra_text
        if input_key is not None:
            del attributes[input_key]
        if output_key is not None and output_key != input_key:
            del attributes[output_key]
        if lost or lost_events or lost_links:
            notes.dropped(lost, lost_events, lost_links)
        text = orjson.dumps(attributes).decode()
        told = events_json(events, notes) if events else None
        linked = links_json(links, notes) if links else None
        # fmt: off
        row: StepRow = NEW(StepRow, [
            self.project_id, trace_id, span_id, started_at, start_ns, duration_ns, parent or None,
            name, kind, span_kind, *outcome, self.service, sent, answered, input_key, output_key, *names,
            extra, text, told, linked, self.origin_id, flags or None, trace_state or None, None, None,
        ])
        # fmt: on
        if notes.warnings or not notes.exact:
            row = self._noted(row, span)
        is_clean = not may_hold_nul(name, text, sent, answered, told, linked, outcome[2], trace_state)
        return row if is_clean else cleaned(row, span)

    def _refuse(self, trace_id: bytes) -> None:
        is_trace = len(trace_id) == 16 and trace_id != NO_TRACE
        self.refused["span_id" if is_trace else "trace_id"] += 1

    def _notes_for(self, span_id: bytes) -> Notes:
        notes = self.notes
        notes.warnings += self.origin.warnings
        for text in self.repairs.get(span_id, ()):
            notes.altered(text)
        return notes

    def _extra(self, plan: Plan, view: View, is_entry: bool, is_plumbing: bool) -> str | None:
        """JSON text of `StepExtra`."""
        environment = self.environment if is_entry else None
        if plan.extra_labels or plan.extras:
            return extra_json(plan, view, environment, is_plumbing)
        return plain_extra(plan.told_dialect, second_names(view.named), environment, is_plumbing)

    def _noted(self, row: StepRow, span: Span) -> StepRow:
        """The row with its warnings, and the span as it came where its columns can't give it back."""
        notes, self.notes = self.notes, Notes()
        return row._replace(warnings=notes.json(), wire=None if notes.exact else span.SerializeToString())


def mended(start_ns: int, end_ns: int, parent: bytes, notes: Notes) -> tuple[int, int, int | None, bytes]:
    """`started_at`, `start_ns`, `duration_ns` and the parent of a span where they are not as they should be."""
    if parent and (len(parent) != 8 or parent == NO_SPAN):
        notes.altered("the parent's id is not a span id: the span stands as one without a parent")
        parent = b""
    return *mended_times(start_ns, end_ns, notes), parent
