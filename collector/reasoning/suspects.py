"""Steps that look at fault without having ended the execution: silent errors, empty results, refusals, loops."""

from typing import NamedTuple

from collector.mapping.tree import TOP
from collector.reasoning import signs
from collector.reasoning.evidence import Evidence, Reading

AI_KINDS = frozenset(("agent", "llm", "tool", "retriever", "embedding", "reranker", "guardrail", "memory"))
LOOPING_KINDS = frozenset(("tool", "llm", "agent", "retriever"))
LOOP_LEAST = 3
SLOW_SHARE = 0.4
SLOW_EXCESS_MS = 1000.0


class Suspect(NamedTuple):
    """A step that may be the cause, and how much speaks for it."""

    position: int
    sign: str
    strength: float
    because: str


def suspects(evidence: Evidence) -> list[Suspect]:
    """Every suspect, in start order."""
    found = [suspect for position in range(len(evidence.readings)) if (suspect := _suspect(evidence, position))]
    found += _loops(evidence)
    found += _delays(evidence)
    return sorted(found)


def _suspect(evidence: Evidence, position: int) -> Suspect | None:
    reading, kind = evidence.readings[position], evidence.flow.steps[position].kind
    if position == evidence.flow.root:
        return None
    if reading.told_error and not _below_too(evidence, position, "told_error"):
        return _told(evidence, position, reading.told_error)
    if reading.refused:
        return Suspect(position, "refused", 0.8, "the model refused to answer")
    if reading.cut:
        return Suspect(position, "cut", 0.75, "the answer was cut off at the length limit")
    if reading.log_error:
        return Suspect(position, "logged", 0.62, f"it logged an error: {reading.log_error}")
    if reading.empty and not _below_too(evidence, position, "empty"):
        return Suspect(position, "empty", _emptiness(evidence, position), "its result was empty")
    if reading.error and not _below_too(evidence, position, "error"):
        strength = 0.65 if kind in AI_KINDS else 0.25
        if evidence.flow.recovered[position] or signs.CANCELLED.search(reading.error):
            strength = 0.1
        return Suspect(position, "error", strength, f"it failed: {reading.error}")
    return None


def _below_too(evidence: Evidence, position: int, sign: str) -> bool:
    """Whether a child shows the same, so that this step only passes it on."""
    return any(getattr(evidence.readings[child], sign) for child in evidence.flow.children[position])


def _told(evidence: Evidence, position: int, told: str) -> Suspect:
    kind = evidence.flow.steps[position].kind
    strength = 0.4 if kind in ("http", "db", "rpc") else 0.8
    if evidence.flow.recovered[position] or _corrected(evidence, position):
        strength = 0.2
    return Suspect(position, "told", strength, f"its result tells an error although its status does not: {told}")


def _corrected(evidence: Evidence, position: int) -> bool:
    """Whether the same tool worked later below the same parent, with whatever arguments."""
    flow = evidence.flow
    step, parent = flow.steps[position], flow.parent(position)
    if parent == TOP or not step.tool:
        return False
    return any(
        flow.steps[other].tool == step.tool
        and not evidence.readings[other].told_error
        and not evidence.readings[other].error
        for other in _after(flow.children[parent], position)
    )


def _after(siblings: list[int], position: int) -> list[int]:
    """At most fifty siblings that started later."""
    place = siblings.index(position) if len(siblings) < 200 else 0
    return [other for other in siblings[place : place + 50] if other > position]


def _emptiness(evidence: Evidence, position: int) -> float:
    flow, step = evidence.flow, evidence.flow.steps[position]
    if flow.retry_of[position] != TOP:
        return 0.75
    if step.kind in ("retriever", "reranker"):
        return 0.72
    if step.kind in ("function", "chain", "other") and step.input and len(step.input) > 40:
        return 0.72
    return 0.3 if step.kind == "tool" else 0.35


def _loops(evidence: Evidence) -> list[Suspect]:
    found = []
    for (_, kind, name, given), group in evidence.flow.repeats.items():
        if (
            kind not in LOOPING_KINDS
            or len(group) < LOOP_LEAST
            or given is None
            or evidence.flow.retry_of[group[-1]] != TOP
        ):
            continue
        results = {evidence.flow.steps[position].output for position in group}
        if len(results) == 1:
            because = f"{name} was called {len(group)} times with the same arguments and the same result"
            found.append(Suspect(group[1], "loop", 0.8, because))
    return found


def _delays(evidence: Evidence) -> list[Suspect]:
    """Steps far slower than their history that made the whole slow, and that no child of theirs explains."""
    flow, found = evidence.flow, []
    for position, reading in enumerate(evidence.readings):
        if not reading.slower or any(evidence.readings[child].slower for child in flow.children[position]):
            continue
        excess_ms = _excess_ms(evidence, position, reading)
        if flow.share(position) >= SLOW_SHARE and excess_ms >= SLOW_EXCESS_MS:
            because = f"it took {reading.slower:.0f} times as long as the slowest twentieth of its past runs"
            found.append(Suspect(position, "slow", 0.6, because))
    return found


def _excess_ms(evidence: Evidence, position: int, reading: Reading) -> float:
    took_ms = (evidence.flow.steps[position].duration_ns or 0) / 1e6
    return took_ms - (reading.history.p95_ms if reading.history else 0.0)
