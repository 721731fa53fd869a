"""What a group of rows says of its executions and jobs: pure, and blind to the order of what comes.

Every fact is merged by a rule that commutes (least, greatest, sum of *new* rows), here inside a group and in
`copying.py` between a group and what is stored, so that any order, split or repetition ends in the same rows.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from collector.model import EXECUTION_SPAN, ExecutionKey, OriginRow, RecordRow, StepExtra, StepRow

URGENT, ORDINARY = 0, 5
INTERNAL_SERVICE = "xray"
INTERNAL_ATTRIBUTE = "xray.internal"
"""A resource with this attribute and service is X-Ray itself: its traces are kept, but never explained."""

DAY_US = 86_400_000_000
INDEXED_TEXT = 500
"""Characters of a text that an index of `executions` holds: Postgres refuses index rows over 2.7 KB."""

INFINITY = (1 << 63) - 1
"""The timestamp infinity as Postgres writes it (-infinity is one below its negative): neutral for the least."""

NO_STEP = b"\xff"
"""Sorts behind every root order: an execution's merge that only brings records."""
IS_REMOTE = 1 << 9
REMOTE_KINDS = (2, 5)  # SERVER, CONSUMER

_execution = itemgetter(0, 1)
_key = itemgetter(0, 1, 2, 3)
_extra = msgspec.json.Decoder(StepExtra)


class Policy(NamedTuple):
    """Which steps get a job."""

    explained_kinds: frozenset[str]
    explain: bool = True
    """False: executions settle, nothing is explained."""


StepJob: TypeAlias = tuple[int, bytes, bytes, int]
"""Project, trace, span, priority: a row of `reasoning_jobs` that waits for its execution's gate."""


class Merge(msgspec.Struct):
    """What a group adds to one row of `executions`, and to its gate."""

    key: ExecutionKey
    root_order: bytes = NO_STEP
    name: str = ""
    kind: str = "other"
    service: str | None = None
    root_status: str = "unset"
    started_at: int = INFINITY
    ended_at: int = -INFINITY - 1
    step_count: int = 0
    error_count: int = 0
    record_count: int = 0
    execution_id: str | None = None
    waits: int = 0
    """Rows that the execution's gate should wait for: all but X-Ray's own."""


class Summary(msgspec.Struct):
    merges: dict[ExecutionKey, Merge]
    jobs: list[StepJob]

    def sorted(self) -> list[Merge]:
        return [self.merges[key] for key in sorted(self.merges)]


def in_key_order(rows: list[StepRow]) -> None:
    """Sort in place, by partition first: all writers then insert, and wait for each other, in one order."""
    if not rows:
        return
    times = [row[3] for row in rows]
    if min(times) // DAY_US == max(times) // DAY_US:
        rows.sort(key=_key)
    else:
        rows.sort(key=lambda row: (row[3] // DAY_US, row[0], row[1], row[2], row[3]))


def summarise(
    steps: Iterable[StepRow], records: Sequence[RecordRow], policy: Policy, internal: Collection[bytes] = ()
) -> Summary:
    """Merge new rows (grouped by execution where they are sorted; any order is right) into executions and jobs."""
    summary = Summary({}, [])
    for (project_id, trace_id), run in groupby(steps, _execution):
        key = ExecutionKey(project_id, trace_id)
        merge = summary.merges.get(key)
        if merge is None:
            merge = summary.merges[key] = Merge(key)
        _add_steps(merge, run, summary.jobs, policy, internal)
    for record in records:
        key = ExecutionKey(record.project_id, record.trace_id)
        merge = summary.merges.get(key)
        if merge is None:
            merge = summary.merges[key] = Merge(key)
        merge.record_count += 1
        merge.waits += record.origin_id not in internal
    return summary


def _add_steps(
    merge: Merge, run: Iterable[StepRow], jobs: list[StepJob], policy: Policy, internal: Collection[bytes]
) -> None:
    """The hot loop: every step of every request passes here."""
    root: StepRow | None = None
    rank: tuple[bool, int, bytes] = (True, INFINITY + 1, b"")
    started_at, ended_at = merge.started_at, merge.ended_at
    steps = errors = waits = 0
    for row in run:
        _, _, span_id, start, start_ns, duration_ns, parent, _, kind, _, status = row[:11]
        steps += 1
        if start < started_at:
            started_at = start
        end = start + duration_ns // 1000 if duration_ns else start
        if end > ended_at:
            ended_at = end
        own_rank = (parent is not None, start_ns, span_id)
        if own_rank < rank:
            rank, root = own_rank, row
        failed = status == "error"
        if failed:
            errors += 1
        if row.extra is not None and '"execution_id"' in row.extra:
            _name_execution(merge, row.extra)
        if internal and row.origin_id in internal:
            continue
        waits += 1
        if policy.explain and (failed or parent is None or kind in policy.explained_kinds):
            jobs.append((row.project_id, row.trace_id, span_id, URGENT if failed else ORDINARY))
    merge.started_at, merge.ended_at = started_at, ended_at
    merge.step_count += steps
    merge.error_count += errors
    merge.waits += waits
    if root is not None:
        _name_by_root(merge, root)


def _name_by_root(merge: Merge, root: StepRow) -> None:
    """The parentless step names the execution, else the earliest; ties go to the lesser span id."""
    parentless = b"\0" if root.parent_span_id is None else b"\1"
    remote = b"\1" if is_remote(root) else b"\0"
    root_order = parentless + root.start_ns.to_bytes(8, "big") + root.span_id + remote
    if root_order < merge.root_order:
        merge.root_order, merge.root_status = root_order, root.status
        merge.name, merge.kind = root.name, root.kind
        merge.service = root.service[:INDEXED_TEXT] if root.service else root.service


def is_remote(row: StepRow) -> bool:
    """True where the parent is in another process (OTLP SpanFlags bit 9, or a SERVER or CONSUMER span): it may never
    be sent here, and all that this process did is done when the span has ended."""
    return bool((row.flags or 0) & IS_REMOTE) or row.span_kind in REMOTE_KINDS


def _name_execution(merge: Merge, extra: str) -> None:
    own_id = (_extra.decode(extra).execution_id or "")[:INDEXED_TEXT]
    if own_id and (merge.execution_id is None or own_id < merge.execution_id):
        merge.execution_id = own_id


def internal_origins(origins: Iterable[OriginRow]) -> frozenset[bytes]:
    """The origins that are X-Ray itself."""
    return frozenset(
        origin.origin_id for origin in origins if origin.service == INTERNAL_SERVICE and _is_internal(origin.resource)
    )


def _is_internal(resource: str) -> bool:
    attributes = msgspec.json.decode(resource).get("attributes") or {}
    return attributes.get(INTERNAL_ATTRIBUTE) in (True, "true")


def gate_of(merge: Merge) -> tuple[int, bytes, bytes, int, int]:
    """The row of `reasoning_jobs` that is due when the execution has been quiet."""
    priority = URGENT if merge.error_count else ORDINARY
    return *merge.key, EXECUTION_SPAN, priority, merge.waits
