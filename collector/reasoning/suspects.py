"""Steps that look at fault without having ended the execution: silent errors, empty results, refusals, loops."""

from itertools import pairwise
from typing import NamedTuple

import msgspec

from collector.mapping.tree import TOP
from collector.reasoning import signs
from collector.reasoning.evidence import Evidence, Reading
from collector.reasoning.flow import model_before
from collector.reasoning.wording import failed_with, quoted, times

AI_KINDS = frozenset(("agent", "llm", "tool", "retriever", "embedding", "reranker", "guardrail", "memory"))
LOOPING_KINDS = frozenset(("tool", "agent", "retriever"))
LOOP_LEAST = 3
SLOW_SHARE = 0.25
SLOW_EXCESS_MS = 1000.0
MOST = 0.6
"""A child that takes this part of its parent's time stands for it."""


class Suspect(NamedTuple):
    """A step that may be the cause, and how much speaks for it."""

    position: int
    sign: str
    strength: float
    because: str


class Successes(msgspec.Struct):
    """What went well, by who decided on it: faults that were made good are no cause."""

    tools: dict[tuple[int, str], int] = {}
    """The last good call of each tool."""
    retrievals: set[int] = set()
    """Who found something."""


def suspects(evidence: Evidence) -> list[Suspect]:
    """Every suspect, in start order."""
    good = _successes(evidence)
    found = [suspect for place in range(len(evidence.readings)) if (suspect := _suspect(evidence, place, good))]
    found += _loops(evidence)
    found += _asked_again(evidence)
    found += _delays(evidence)
    return sorted(found)


def _successes(evidence: Evidence) -> Successes:
    good = Successes()
    for position, step in enumerate(evidence.flow.steps):
        reading = evidence.readings[position]
        if reading.error or reading.told_error or reading.empty:
            continue
        if step.kind == "tool":
            good.tools[evidence.flow.owner[position], step.tool or step.name] = position
        elif step.kind == "retriever" and step.output:
            good.retrievals.add(evidence.flow.owner[position])
    return good


def _suspect(evidence: Evidence, position: int, good: Successes) -> Suspect | None:
    reading = evidence.readings[position]
    if position == evidence.flow.root:
        return None
    if reading.told_error and not _below_too(evidence, position, "told_error"):
        because = f"its result is an error although no status says so: {quoted(reading.told_error)}"
        return Suspect(position, "told", _told(evidence, position, good), because)
    if reading.refused:
        return Suspect(position, "refused", 0.8, "the model refused to answer")
    if reading.cut:
        return Suspect(position, "cut", 0.75, "the answer was cut off at the length limit")
    if reading.log_error:
        return Suspect(position, "logged", 0.62, f"it logged the error {quoted(reading.log_error)}")
    if reading.empty and not _below_too(evidence, position, "empty"):
        return Suspect(position, "empty", _emptiness(evidence, position, good), "its result was empty")
    if reading.error and not _below_too(evidence, position, "error"):
        return Suspect(position, "error", _failed(evidence, position, good), failed_with(reading.error))
    return _fed(evidence, position)


def _below_too(evidence: Evidence, position: int, sign: str) -> bool:
    """Whether a child shows the same, so that this step only passes it on."""
    return any(getattr(evidence.readings[child], sign) for child in evidence.flow.children[position])


def _made_good(evidence: Evidence, position: int, good: Successes) -> bool:
    """Whether a later attempt worked: the same again, or the same tool with other arguments."""
    step = evidence.flow.steps[position]
    later = good.tools.get((evidence.flow.owner[position], step.tool or step.name), -1)
    return evidence.flow.recovered[position] or (step.kind == "tool" and later > position)


def _told(evidence: Evidence, position: int, good: Successes) -> float:
    if _made_good(evidence, position, good):
        return 0.2
    return 0.4 if evidence.flow.steps[position].kind in ("http", "db", "rpc") else 0.8


def _failed(evidence: Evidence, position: int, good: Successes) -> float:
    if _made_good(evidence, position, good) or signs.CANCELLED.search(evidence.readings[position].error or ""):
        return 0.1
    return 0.65 if evidence.flow.steps[position].kind in AI_KINDS else 0.25


def _emptiness(evidence: Evidence, position: int, good: Successes) -> float:
    flow, step = evidence.flow, evidence.flow.steps[position]
    if flow.retry_of[position] != TOP:
        return 0.75
    if step.kind in ("retriever", "reranker"):
        return 0.35 if flow.owner[position] in good.retrievals else 0.72
    if step.kind in ("function", "chain", "other") and step.input and len(step.input) > 40:
        return 0.72
    return 0.3 if step.kind == "tool" else 0.35


def _fed(evidence: Evidence, position: int) -> Suspect | None:
    """A model that was told of a failed tool call whose own step shows nothing of it, or is not there."""
    told = evidence.readings[position].fed_error
    if told is None:
        return None
    asker = model_before(evidence.flow, position)
    between = range(asker + 1 if asker != TOP else max(position - 5, 0), position)
    if any(evidence.readings[other].told_error or evidence.readings[other].error for other in between):
        return None
    return Suspect(
        asker if asker != TOP else position, "fed", 0.7, f"the call that it asked for was answered {quoted(told)}"
    )


def _loops(evidence: Evidence) -> list[Suspect]:
    """The same work with the same input and the same result, at least three times."""
    flow, found = evidence.flow, []
    for (_, kind, _, given), group in flow.repeats.items():
        if kind not in LOOPING_KINDS or len(group) < LOOP_LEAST or flow.retry_of[group[-1]] != TOP:
            continue
        if len({flow.steps[position].output for position in group}) == 1:
            strength = 0.3 if given is None else 0.8
            alike = "" if given is None else " with the same arguments and the same result"
            found.append(Suspect(group[1], "loop", strength, f"it ran {times(len(group))}{alike}"))
    return found


def _asked_again(evidence: Evidence) -> list[Suspect]:
    """Model calls that asked for the same tool call as the one before them, at least three in a row."""
    found = []
    for models in evidence.flow.models.values():
        row = 1
        for before, after in pairwise(models):
            calls = evidence.readings[after].said.calls
            row = row + 1 if calls and calls == evidence.readings[before].said.calls else 1
            if row == LOOP_LEAST:
                because = f"it asked for {calls[0].name} again with the same arguments, and so did the calls after it"
                found.append(Suspect(before, "loop", 0.8, because))
    return found


def _delays(evidence: Evidence) -> list[Suspect]:
    """Steps far slower than their history that made the whole slow."""
    flow, found = evidence.flow, []
    for position, reading in enumerate(evidence.readings):
        if not reading.slower or any(evidence.readings[child].slower for child in flow.children[position]):
            continue
        if flow.share(position) < SLOW_SHARE or _excess_ms(evidence, position, reading) < SLOW_EXCESS_MS:
            continue
        if not _usual_for_parent(evidence, position):
            because = f"it took {times(reading.slower)} as long as 95% of its past runs"
            found.append(Suspect(position, "slow", 0.6, because))
    return found


def _excess_ms(evidence: Evidence, position: int, reading: Reading) -> float:
    took_ms = (evidence.flow.steps[position].duration_ns or 0) / 1e6
    return took_ms - (reading.history.p95_ms if reading.history else 0.0)


def _usual_for_parent(evidence: Evidence, position: int) -> bool:
    """Whether the step is nearly all of a parent that took no longer than usual: then its name is shared by others."""
    flow, parent = evidence.flow, evidence.flow.parent(position)
    if parent == TOP or evidence.readings[parent].history is None or evidence.readings[parent].slower:
        return False
    return flow.share(position) > 0.8 * flow.share(parent)


def dominant(evidence: Evidence, position: int) -> int:
    """The deepest step that accounts for most of this one's time."""
    flow = evidence.flow
    for _ in range(len(flow.steps)):
        longest = max(
            flow.children[position], key=lambda child: flow.ends[child] - flow.steps[child].start_ns, default=TOP
        )
        took = flow.ends[position] - flow.steps[position].start_ns
        if longest == TOP or flow.ends[longest] - flow.steps[longest].start_ns < took * MOST:
            break
        position = longest
    return position
