"""The root cause of an execution: the step that went wrong first and explains what went wrong later."""

import msgspec

from collector.mapping.tree import TOP
from collector.reasoning import signs
from collector.reasoning.evidence import Evidence
from collector.reasoning.flow import Flow, first_attempt, model_before
from collector.reasoning.suspects import Suspect, dominant, suspects
from collector.reasoning.wording import described, failed_with, quoted

SILENT_LEAST = 0.55
"""A suspect weaker than this does not make a successful execution a failed one."""
SHORT_NS = 100_000_000
OWN_CODE = frozenset(("function", "chain", "agent", "other", "evaluator", "prompt", "messaging", "http"))


class Cause(msgspec.Struct):
    """Where it went wrong first, and why this is thought."""

    position: int
    confidence: float
    sign: str
    because: list[str]
    failure: int = TOP
    """The step that failed openly because of it; TOP where none did."""


def find(evidence: Evidence) -> Cause | None:
    """The cause, or None where nothing went wrong."""
    if evidence.flow.root == TOP:
        return None
    found = suspects(evidence)
    root = evidence.flow.root
    if evidence.readings[root].error is None and evidence.case.facts.status != "error":
        return _silent(evidence, found)
    failure = _failure(evidence)
    return _explained(evidence, failure, found)


# An open failure.


def _failure(evidence: Evidence) -> int:
    """The deepest step that ended the execution with an error."""
    flow = evidence.flow
    final = _final(flow)
    best, best_score = flow.root, 2.5
    for position, reading in enumerate(evidence.readings):
        if reading.error is None or position == flow.root:
            continue
        score = _score(evidence, position, final[position])
        if score > best_score or (score == best_score and best != flow.root and flow.ends[position] < flow.ends[best]):
            best, best_score = position, score
    return _descend(evidence, best) if best != flow.root else best


def _final(flow: Flow) -> list[bool]:
    """For each step, whether nothing else began after it, up to the root."""
    final = [True] * len(flow.steps)
    for position in flow.tree.order:
        parent = flow.parent(position)
        if parent != TOP:
            final[position] = final[parent] and not flow.went_on(position)
    return final


def _score(evidence: Evidence, position: int, final: bool) -> float:
    reading, flow = evidence.readings[position], evidence.flow
    told = reading.error or ""
    score = 3.0 if final else 0.0
    score += 4.0 if _same(told, evidence.readings[flow.root].error) else 0.0
    score -= 4.0 if signs.CANCELLED.search(told) else 0.0
    score -= 2.0 if signs.CLEANUP.search(flow.steps[position].name) else 0.0
    return score - (4.0 if flow.recovered[position] else 0.0)


def _same(one: str, other: str | None) -> bool:
    """Whether two error texts tell of the same failure."""
    if not other:
        return False
    return one == other or (len(one) > 8 and one in other)


def _descend(evidence: Evidence, position: int) -> int:
    """Follows a failure down to where it began."""
    flow, readings = evidence.flow, evidence.readings
    for _ in range(len(flow.steps)):
        told = readings[position].error or ""
        below = [
            child
            for child in flow.children[position]
            if (error := readings[child].error or readings[child].told_error)
            and not flow.recovered[child]
            and (_same(error, told) or (not flow.went_on(child) and not signs.CANCELLED.search(error)))
        ]
        if not below:
            break
        position = min(below, key=lambda child: flow.ends[child])
    return position


def _explained(evidence: Evidence, failure: int, found: list[Suspect]) -> Cause:
    """The cause of an open failure: itself, or what happened before it and made it fail."""
    told = evidence.readings[failure].error or evidence.readings[failure].told_error or ""
    for explain in (_limit, _timeout, _retry, _misuse, _data):
        cause = explain(evidence, failure, found)
        if cause:
            cause.failure = failure
            return cause
    confidence = 0.5 if failure == evidence.flow.root and evidence.flow.children[failure] else 0.9
    return Cause(failure, confidence, "error", [failed_with(told)], failure)


def _limit(evidence: Evidence, failure: int, found: list[Suspect]) -> Cause | None:
    told = evidence.readings[failure].error or ""
    loop = next((suspect for suspect in found if suspect.sign == "loop"), None)
    if loop is None or not signs.LIMIT.search(told):
        return None
    return Cause(loop.position, 0.85, "loop", [loop.because, f"a limit ended it: {quoted(told)}"])


def _timeout(evidence: Evidence, failure: int, _: list[Suspect]) -> Cause | None:
    told = evidence.readings[failure].error or ""
    if not (signs.TIMED_OUT.search(told) or signs.CANCELLED.search(told)):
        return None
    slow = dominant(evidence, failure)
    if slow == failure and evidence.flow.ends[slow] - evidence.flow.steps[slow].start_ns < SHORT_NS:
        return None  # it only tells of somebody else's time-out
    first = first_attempt(evidence.flow, slow)
    return Cause(first, 0.85, "timeout", [f"the time ran out in it ({quoted(told)})"])


def _retry(evidence: Evidence, failure: int, _: list[Suspect]) -> Cause | None:
    first = first_attempt(evidence.flow, failure)
    if first == failure:
        return None
    told = evidence.readings[first].error or evidence.readings[first].told_error or ""
    return Cause(
        first,
        0.85,
        "retry",
        [f"the first attempt failed with {quoted(told)}", "the attempts after it failed, too"],
    )


def _misuse(evidence: Evidence, failure: int, _: list[Suspect]) -> Cause | None:
    step = evidence.flow.steps[failure]
    told = evidence.readings[failure].error or evidence.readings[failure].told_error or ""
    if step.kind != "tool" or not signs.is_misuse(told):
        return None
    asker = model_before(evidence.flow, failure)
    if asker == TOP:
        return None
    return Cause(asker, 0.8, "misuse", [f"it asked for {step.tool or step.name}, which answered {quoted(told)}"])


def _data(evidence: Evidence, failure: int, found: list[Suspect]) -> Cause | None:
    """What gave the failing step something that it could not use."""
    flow, step = evidence.flow, evidence.flow.steps[failure]
    told = evidence.readings[failure].error or ""
    if step.kind not in OWN_CODE or (
        not signs.SHAPE.search(told) and failure != flow.root and flow.children[failure] == []
    ):
        return None
    producer = _producer(evidence, failure)
    earlier = [
        suspect for suspect in found if flow.ends[suspect.position] <= flow.ends[failure] and suspect.strength >= 0.5
    ]
    earlier = [suspect for suspect in earlier if suspect.position != failure]
    if earlier:
        return _from_suspect(evidence, _first(earlier), [f"{described(step)} failed on it: {quoted(told)}"])
    if producer is not None:
        because = [f"{described(step)} could not use what it answered", f"{described(step)} failed with {quoted(told)}"]
        return Cause(producer, 0.8, "bad_output", because)
    return None


def _producer(evidence: Evidence, failure: int) -> int | None:
    """The model call right before a failing step, where what it said is what the step was given."""
    step = evidence.flow.steps[failure]
    asker = model_before(evidence.flow, failure)
    if asker == TOP:
        return None
    told, text = evidence.readings[failure].error or "", evidence.readings[asker].said.text
    given = (step.input or "").strip('"')[:40]
    close = bool(given) and given[:20].replace("\\", "") in text.replace("\n", "n").replace("\\", "")[:200]
    return asker if close or signs.PARSING.search(told) else None


# A failure that no status tells.


def _silent(evidence: Evidence, found: list[Suspect]) -> Cause | None:
    lacking = evidence.readings[evidence.flow.root].lacking or any(reading.lacking for reading in evidence.readings)
    if lacking:
        found = [suspect._replace(strength=suspect.strength + 0.3 * (suspect.strength >= 0.25)) for suspect in found]
    strong = [suspect for suspect in found if suspect.strength >= SILENT_LEAST]
    if not strong:
        return None
    cause = _from_suspect(evidence, _first(strong), [])
    cause.confidence = min(cause.confidence, 0.85)
    return cause


def _first(strong: list[Suspect]) -> Suspect:
    """The earliest of those that are about as strong as the strongest."""
    best = max(suspect.strength for suspect in strong)
    return next(suspect for suspect in strong if suspect.strength >= best - 0.2)


def _from_suspect(evidence: Evidence, suspect: Suspect, because: list[str]) -> Cause:
    position, sign = suspect.position, suspect.sign
    if sign == "slow":
        return Cause(dominant(evidence, position), suspect.strength, sign, [suspect.because, *because])
    reading = evidence.readings[position]
    told = reading.told_error or reading.error or ""
    asker = model_before(evidence.flow, position)
    if sign in ("told", "error") and asker != TOP and signs.is_misuse(told) and _is_tool(evidence, position):
        words = f"it asked for {described(evidence.flow.steps[position])}, which answered {quoted(told)}"
        return Cause(asker, 0.75, "misuse", [words, *because])
    first = first_attempt(evidence.flow, position)
    if first != position:
        told = evidence.readings[first].error or evidence.readings[first].told_error or ""
        hidden = f"it failed with {quoted(told)}, which its retry hid"
        return Cause(
            first,
            min(suspect.strength, 0.95),
            "retry",
            [hidden, f"its retry worked, but {suspect.because}", *because],
        )
    return Cause(first, min(suspect.strength, 0.95), sign, [suspect.because, *because])


def _is_tool(evidence: Evidence, position: int) -> bool:
    return evidence.flow.steps[position].kind == "tool"
