"""Model calls that two instrumentations reported side by side: which of the steps are the same call."""

import re
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from collector.model import Step

SLACK_NS = 100_000_000
"""Twins begin and end this close to one another, or within a tenth of the call."""
IN_VIEW = 64
"""How many calls with the same numbers are compared; more of them at one time are a load test."""

EDITION = re.compile(r"|[-@:](\d[\d-]*|latest|v\d.*)")
"""What a model's full name has more than its short one."""

SameCall: TypeAlias = Callable[[Step, Step], bool]


def spared_twins(steps: list[Step], calls: list[int]) -> set[int]:
    """The positions among `calls` (in start order) that repeat another one.

    Twins have the same numbers and the same time, or the same response id and overlap. Two steps of one
    instrumentation are never twins: it sees a call once, and equal calls made side by side are equal on purpose.
    """
    by_numbers: dict[object, list[int]] = {}
    for i in calls:
        tokens = steps[i].tokens
        if tokens is not None:
            by_numbers.setdefault((tokens.input, tokens.output), []).append(i)
    spared = _spared(steps, by_numbers, _near)
    by_response: dict[object, list[int]] = {}
    for i in calls:
        if i not in spared and (response := _response(steps[i])):
            by_response.setdefault(response, []).append(i)
    return spared | _spared(steps, by_response, _overlap)


def _spared(steps: list[Step], groups: dict[object, list[int]], same_time: SameCall) -> set[int]:
    spared: set[int] = set()
    for group in groups.values():
        if len({(_dialect(steps[i]), steps[i].name) for i in group}) < 2:
            continue
        for twins in _twins(steps, group, same_time):
            kept = min(twins, key=lambda i: (*_quality(steps[i]), i))
            spared.update(i for i in twins if i != kept)
    return spared


def _twins(steps: list[Step], group: list[int], same_time: SameCall) -> list[list[int]]:
    sets: list[list[int]] = []
    in_view: deque[list[int]] = deque(maxlen=IN_VIEW)
    for i in group:
        found = next((twins for twins in in_view if _belongs(steps, i, twins, same_time)), None)
        if found is None:
            found = []
            sets.append(found)
            in_view.append(found)
        found.append(i)
    return [twins for twins in sets if len(twins) > 1]


def _belongs(steps: list[Step], i: int, twins: list[int], same_time: SameCall) -> bool:
    step, first = steps[i], steps[twins[0]]
    return all(_differently_seen(step, steps[j]) for j in twins) and _same_model(step, first) and same_time(step, first)


def _differently_seen(step: Step, other: Step) -> bool:
    """Whether two instrumentations saw these: of one dialect, they have one response id or one wraps the other."""
    if step.name == other.name and _dialect(step) == _dialect(other):
        return False
    if _dialect(step) != _dialect(other) or (_response(step) and _response(step) == _response(other)):
        return True
    return _wraps(step, other) or _wraps(other, step)


def _wraps(step: Step, other: Step) -> bool:
    return step.start_ns <= other.start_ns and _end(step) >= _end(other)


def _end(step: Step) -> int:
    return step.start_ns + (step.duration_ns or 0)


def _dialect(step: Step) -> str | None:
    return step.extra.dialect if step.extra else None


def _response(step: Step) -> str | None:
    return step.extra.response_id if step.extra else None


def _same_model(step: Step, other: Step) -> bool:
    """A model's name may come with its date or without; two response ids are two calls."""
    responses = {response for response in (_response(step), _response(other)) if response}
    if len(responses) == 2 or not (step.model and other.model):
        return len(responses) < 2
    short, full = sorted((step.model, other.model), key=len)
    return full.startswith(short) and EDITION.fullmatch(full[len(short) :]) is not None


def _near(step: Step, other: Step) -> bool:
    if step.duration_ns is None or other.duration_ns is None:
        return False
    slack = max(SLACK_NS, max(step.duration_ns, other.duration_ns) // 10)
    apart = max(abs(step.start_ns - other.start_ns), abs(_end(step) - _end(other)))
    return _overlap(step, other) and apart <= slack


def _overlap(step: Step, other: Step) -> bool:
    return step.start_ns <= _end(other) and other.start_ns <= _end(step)


def _quality(step: Step) -> tuple[bool, int]:
    """A sender's cost first, then the most detail."""
    tokens = step.tokens
    details = (tokens.cached, tokens.reasoning, tokens.cache_write) if tokens else ()
    return step.cost_usd is None or step.cost_source == "prices", -sum(count is not None for count in details)
