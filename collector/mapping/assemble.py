"""An execution from its parts: for reading, for settling and for reasoning.

The same steps and records give the same execution in whatever order, split or repetition they are handed in.

An execution is never "running" here: what has come decides between ok and error, and whether more may come is known
to the store alone (`executions.status`: the root is not there yet, and the execution has not settled).
"""

from collections.abc import Iterable

import msgspec

from collector.mapping.execution_facts import compute
from collector.mapping.join import join
from collector.mapping.prices import Price, PriceTable
from collector.mapping.totals import total
from collector.mapping.tree import TOP, Tree, grow, start_order
from collector.model import Facts, Record, Step

RUNNING_NOTE = "only the start of this step has come"
LOGS_NOTE = "nothing but log records has come of this trace"


def assemble(steps: list[Step], records: list[Record], prices: PriceTable | None = None) -> tuple[list[Step], Facts]:
    """The execution's steps in start order, with their logs joined and their cost, and what they say together.

    Log records that name no step here stay out of the steps; the facts' warnings count those whose step is missing.
    """
    if prices is not None:
        steps = [_unpriced(step) for step in steps]
    whole, loose = join(sorted(_fold(_distinct(steps)), key=start_order), records)
    missing = sum(bool(record.span_id) for record in loose)
    notes = [f"{missing} log record{'s' * (missing > 1)} of steps that did not come"] if missing else []
    tree = grow(whole)
    if not whole:
        return [], _nothing([LOGS_NOTE, *notes] if loose else notes)
    totals = total(tree, prices)
    facts = compute(tree, totals, notes)
    return _completed(tree, facts, totals.listed), facts


def _unpriced(step: Step) -> Step:
    """Without the price that was listed when the execution settled: the one of now counts."""
    if step.cost_source != "prices":
        return step
    return msgspec.structs.replace(step, cost_usd=None, cost_source=None)


def _distinct(steps: Iterable[Step]) -> list[Step]:
    """Each step once; of two that tell different things of one span, the one that has ended and then says more."""
    best: dict[tuple[bytes, int], Step] = {}
    for step in steps:
        key = (step.span_id, step.start_ns)
        known = best.setdefault(key, step)
        if known is not step and known != step:
            best[key] = max(known, step, key=_weight)
    return list(best.values())


def _weight(step: Step) -> tuple[bool, bool, int, bytes]:
    encoded = msgspec.json.encode(step)
    return not _is_pending(step), step.duration_ns is not None, len(encoded), encoded


def _fold(steps: list[Step]) -> list[Step]:
    """Without pending spans: each stands for the span that is its parent, until that one is there itself."""
    real = [step for step in steps if not _is_pending(step)]
    if len(real) == len(steps):
        return steps
    there = {step.span_id for step in real}
    waiting = {step.parent_span_id: _stand_in(step) for step in sorted(steps, key=start_order) if _is_pending(step)}
    return real + [step for span_id, step in waiting.items() if span_id not in there]


def _is_pending(step: Step) -> bool:
    return step.extra is not None and step.extra.pending_parent_id is not None and step.parent_span_id is not None


def _stand_in(step: Step) -> Step:
    """The real span as far as its pending one tells of it: it goes on, and has no end yet."""
    parent = _span_id(step.extra.pending_parent_id) if step.extra else b""
    return msgspec.structs.replace(
        step,
        span_id=step.parent_span_id,
        parent_span_id=parent if any(parent) else None,
        duration_ns=None,
        extra=msgspec.structs.replace(step.extra, pending_parent_id=None) if step.extra else None,
        warnings=[*step.warnings, RUNNING_NOTE],
    )


def _span_id(text: str | None) -> bytes:
    try:
        return bytes.fromhex(text or "")
    except ValueError:
        return b""


def _completed(tree: Tree, facts: Facts, listed: dict[int, Price]) -> list[Step]:
    """The steps with the session and user that hold for them, and with the listed price where none was sent."""
    sessions: list[str | None] = [facts.session_id] * len(tree.steps)
    users: list[str | None] = [facts.user_id] * len(tree.steps)
    completed = list(tree.steps)
    for i in tree.order:
        step, parent = tree.steps[i], tree.parents[i]
        sessions[i] = step.session_id or (sessions[parent] if parent != TOP else facts.session_id)
        users[i] = step.user_id or (users[parent] if parent != TOP else facts.user_id)
        price = listed.get(i)
        if price is not None or sessions[i] != step.session_id or users[i] != step.user_id:
            completed[i] = msgspec.structs.replace(
                step,
                session_id=sessions[i],
                user_id=users[i],
                cost_usd=price.usd if price else step.cost_usd,
                cost_source="prices" if price else step.cost_source,
            )
    return completed


def _nothing(notes: list[str]) -> Facts:
    """An execution that is known by its log records alone."""
    return Facts(
        execution_id=None,
        name="",
        kind="other",
        service=None,
        root_span_id=b"",
        root_missing=True,
        status="ok",
        session_id=None,
        user_id=None,
        tags=[],
        environment=None,
        metadata=None,
        final_outcome=None,
        tokens=None,
        cost_usd=None,
        prices_at=None,
        models=[],
        plumbing=False,
        warnings=notes,
    )
