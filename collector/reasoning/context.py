"""An execution as bounded text for a model: the tree, what the due steps took in and gave, and the facts. Pure.

A line of the tree is `alias parent kind "name" status duration share`; aliases (`s1`, `s2`, …) stand for span ids
because they cost a tenth of the tokens. Whatever came from spans is a JSON string on one line, so that no text of a
span can look like a line of ours. However large an execution is, the text stays below `Limits.chars`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import orjson

from collector.mapping.tree import TOP
from collector.model import EXECUTION_SPAN
from collector.reasoning import wording
from collector.reasoning.cause import Cause
from collector.reasoning.evidence import Evidence
from collector.reasoning.excerpt import Shown, given_out, quoted_line, taken_in
from collector.reasoning.facts import error_origin, step_facts
from collector.reasoning.wording import brief

EXECUTION = "execution"
"""The alias of the execution itself."""
NO_PARENT = "-"
LINE_CHARS = 110
"""About what a line of the tree takes."""
LEAST_FIELD_CHARS = 120
SAID_IN_LINE = frozenset(
    ("kind", "duration_ms", "share", "tokens_input", "tokens_output", "cites", "error_from", "retry_of")
)
CONTENT_FACTS = frozenset(("told_error", "log_error", "error", "tool_calls"))
ERROR_CHARS = 300
FAILURES_SHOWN = 40
NEIGHBOURS = 3
"""Steps before and after a due one that are shown with it."""
ANCESTORS_SHOWN = 12


OTHER_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""What JSON leaves as it is in a string, and some take for the end of a line."""


class Limits(msgspec.Struct, frozen=True):
    """How much of an execution one call may carry."""

    chars: int = 60_000
    lines: int = 250
    field_chars: int = 1_500
    """Of one input or output, head and tail together."""
    due: int = 40
    """Steps explained in one call."""
    include_content: bool = True
    """False: structure alone, no text that came from users, models or tools."""


class Chunk(msgspec.Struct, frozen=True):
    """What one call explains."""

    due: tuple[int, ...]
    """Positions of steps, in start order."""
    has_execution: bool


class Context(msgspec.Struct):
    """What a model is told."""

    text: str
    ids: dict[str, bytes]
    """Span ids by alias, of every step that is shown."""
    left_out: int
    """Steps that are only counted."""


def chunks(evidence: Evidence, limits: Limits) -> list[Chunk]:
    """The due steps in as few calls as the limits allow; the execution itself goes with the first."""
    due = evidence.case.due
    places = [position for position, step in enumerate(evidence.flow.steps) if step.span_id in due]
    cuts = [tuple(places[begin : begin + limits.due]) for begin in range(0, len(places), limits.due)]
    has_execution = EXECUTION_SPAN in due
    if not cuts:
        return [Chunk((), True)] if has_execution else []
    return [Chunk(cut, has_execution and number == 0) for number, cut in enumerate(cuts)]


def context(evidence: Evidence, cause: Cause | None, chunk: Chunk, limits: Limits) -> Context:
    """What is told for one chunk."""
    shown = _shown(evidence, cause, chunk, limits)
    aliases = {position: f"s{position + 1}" for position in shown}
    view = _View(evidence, cause, chunk, limits, aliases, _field_chars(chunk, len(shown), limits), Shown())
    parts = [*_header(view), *_tree(view, shown)]
    text = "\n".join(parts).translate(OTHER_LINE_ENDS)
    if len(text) > limits.chars:
        text = f"{text[: limits.chars - 60]}\n… cut here: the execution is larger than can be shown"
    ids = {alias: evidence.flow.steps[position].span_id for position, alias in aliases.items()}
    return Context(text, ids | {EXECUTION: EXECUTION_SPAN}, len(evidence.flow.steps) - len(shown))


class _View(msgspec.Struct):
    evidence: Evidence
    cause: Cause | None
    chunk: Chunk
    limits: Limits
    aliases: dict[int, str]
    field_chars: int
    seen: Shown


def _field_chars(chunk: Chunk, lines: int, limits: Limits) -> int:
    room = (limits.chars - lines * LINE_CHARS) // (2 * max(len(chunk.due), 1)) - LEAST_FIELD_CHARS
    return max(min(limits.field_chars, room), LEAST_FIELD_CHARS)


# Which steps are shown.


def _shown(evidence: Evidence, cause: Cause | None, chunk: Chunk, limits: Limits) -> list[int]:
    """The due steps and what explains them, in start order, at most `limits.lines` (due steps always)."""
    flow, chosen = evidence.flow, set(chunk.due)
    if len(flow.steps) <= limits.lines:
        return list(range(len(flow.steps)))
    wanted: list[Iterable[int]] = [[flow.root] if flow.root != TOP else []]
    if cause is not None:
        wanted.append([cause.position, *([cause.failure] if cause.failure != TOP else [])])
    wanted.append(_ancestors(evidence, chunk.due))
    wanted.append(_failures(evidence))
    wanted.append(_neighbours(evidence, chunk.due))
    wanted.append(flow.children[flow.root] if flow.root != TOP else [])
    for positions in wanted:
        for position in positions:
            if len(chosen) >= limits.lines:
                return sorted(chosen)
            chosen.add(position)
    return sorted(chosen)


def _ancestors(evidence: Evidence, due: Sequence[int]) -> Iterable[int]:
    for position in due:
        above = evidence.flow.parent(position)
        for _ in range(ANCESTORS_SHOWN):
            if above == TOP:
                break
            yield above
            above = evidence.flow.parent(above)


def _failures(evidence: Evidence) -> list[int]:
    failed = (place for place, reading in enumerate(evidence.readings) if reading.error or reading.told_error)
    return [place for place, _ in zip(failed, range(FAILURES_SHOWN), strict=False)]


def _neighbours(evidence: Evidence, due: Sequence[int]) -> Iterable[int]:
    """The steps around a due one in time."""
    last = len(evidence.flow.steps)
    for position in due:
        yield from range(max(position - NEIGHBOURS, 0), min(position + NEIGHBOURS + 1, last))


# How they are written.


def _header(view: _View) -> list[str]:
    evidence = view.evidence
    facts, flow = evidence.case.facts, evidence.flow
    lines = [
        f"Execution {quoted_line(facts.name, 100)}: status {facts.status}, {wording.duration(flow.total_ns)}, "
        f"{wording.count(len(flow.steps), 'step')}"
    ]
    if evidence.tokens_total:
        cost = f", {wording.money(facts.cost_usd)}" if facts.cost_usd is not None else ""
        lines[0] += f", {wording.count(evidence.tokens_total, 'token')}{cost}"
    if view.cause is not None:
        because = "; ".join(view.cause.because)
        said_why = f": {quoted_line(because, 400)}" if view.limits.include_content else ""
        lines.append(
            f"By rules it went wrong first in {_alias(view, view.cause.position)} "
            f"(sign {view.cause.sign}, confidence {view.cause.confidence:.2f}){said_why}"
        )
    return [*lines, 'Steps: alias parent kind "name" status duration share; * marks those to explain']


def _tree(view: _View, shown: list[int]) -> list[str]:
    lines: list[str] = []
    due = set(view.chunk.due)
    for position in shown:
        lines.append(_line(view, position, position in due))
        if position in due:
            lines.extend(_details(view, position))
    hidden = len(view.evidence.flow.steps) - len(shown)
    if hidden:
        lines.append(f"… {wording.count(hidden, 'step')} not shown: {_hidden(view, set(shown))}")
    return lines


def _hidden(view: _View, shown: set[int]) -> str:
    steps = view.evidence.flow.steps
    names = Counter((step.kind, step.name) for place, step in enumerate(steps) if place not in shown)
    return ", ".join(f"{number:,} × {kind} {quoted_line(name, 60)}" for (kind, name), number in names.most_common(8))


def _alias(view: _View, position: int) -> str:
    return view.aliases.get(position, NO_PARENT) if position != TOP else NO_PARENT


def _line(view: _View, position: int, is_due: bool) -> str:
    evidence = view.evidence
    flow, reading = evidence.flow, evidence.readings[position]
    step = flow.steps[position]
    words = [f"{'*' if is_due else ''}{view.aliases[position]}", _alias(view, flow.parent(position)), step.kind]
    words += [quoted_line(step.name, 80), step.status]
    words.append(wording.duration(step.duration_ns) if step.duration_ns is not None else "unfinished")
    words.append(wording.percent(flow.share(position)))
    if step.model:
        words.append(quoted_line(step.model, 60))
    if step.tool and step.tool not in step.name:
        words.append(f"tool {quoted_line(step.tool, 60)}")
    if step.tokens is not None:
        words.append(f"tokens {step.tokens.input or 0}/{step.tokens.output or 0}")
    if not is_due and reading.error:
        words.append(f"failed {quoted_line(_error(view, position), 120)}")
    return " ".join(words)


def _error(view: _View, position: int) -> str:
    if view.limits.include_content:
        return view.evidence.readings[position].error or ""
    error = view.evidence.flow.steps[position].error
    return (error.type if error else None) or "error"


def _details(view: _View, position: int) -> list[str]:
    step = view.evidence.flow.steps[position]
    lines = []
    if view.limits.include_content:
        alias, most = view.aliases[position], view.field_chars
        if step.input is not None:
            lines.append(f"  in: {quoted_line(taken_in(step, most, view.seen, alias), 2 * most)}")
        if step.output is not None:
            lines.append(f"  out: {quoted_line(given_out(step, most, view.seen, alias), 2 * most)}")
    facts = _facts(view, position)
    if facts:
        lines.append(f"  facts: {facts}")
    return lines


def _facts(view: _View, position: int) -> str:
    """The facts that the line does not say, with aliases for the steps that they cite."""
    told = step_facts(view.evidence, position, view.cause)
    told.self_ms = None
    if told.history and (told.duration_ms or 0) <= told.history.p95_ms:
        told.history = None
    facts = msgspec.to_builtins(told)
    dropped = SAID_IN_LINE if view.limits.include_content else SAID_IN_LINE | CONTENT_FACTS
    kept = {name: value for name, value in facts.items() if name not in dropped}
    if told.error:
        kept["error"] = brief(_error(view, position), ERROR_CHARS)
    for name, other in (("error_from", error_origin), ("retry_of", retry_of)):
        if name in facts:
            kept[name] = _alias(view, other(view.evidence, position))
    return orjson.dumps(kept).decode() if kept else ""


def retry_of(evidence: Evidence, position: int) -> int:
    return evidence.flow.retry_of[position]
