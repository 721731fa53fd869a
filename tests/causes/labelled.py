"""The labelled set: executions with one known fault, and healthy ones, each with the history its project would have."""

import random
from collections.abc import Iterator
from contextlib import suppress
from statistics import median
from typing import NamedTuple

from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.reasoning.case import Case
from collector.store.history import StepHistory, StepName
from tests.causes.trace import Failure, Plan, Trace
from tests.causes.words import Half
from tests.causes.worlds import World, agent, rag, recommend, shop, team
from tests.causes.worlds_held_out import batch, coder
from tests.unit.reasoning.cases import facts

WORLDS: dict[Half, tuple[World, ...]] = {
    "development": (agent, rag, recommend, shop, team),
    "held-out": (agent, rag, recommend, shop, team, coder, batch),
}
OUTSIDE = frozenset({"tool", "retrieve", "db", "http", "stage"})
FAULTS: dict[str, frozenset[str]] = {
    "tool_error": OUTSIDE,
    "provider_error": frozenset({"model:choose", "model:answer", "model:json"}),
    "swallowed": frozenset({"tool"}),
    "empty": frozenset({"retrieve", "stage"}),
    "wrong_tool": frozenset({"model:choose"}),
    "loop": frozenset({"loop"}),
    "timeout_cascade": OUTSIDE - {"stage"},
    "bad_json": frozenset({"model:json"}),
    "truncated": frozenset({"model:json", "model:answer"}),
    "refused": frozenset({"model:json", "model:answer"}),
    "slow_dependency": OUTSIDE | {"model:answer"},
    "parallel_error": frozenset({"branch"}),
    "hidden_retry": frozenset({"retried"}),
    "log_only": OUTSIDE,
}
A_FAULT = 16
"""Executions a fault and half."""
HEALTHY = 60
"""Healthy executions a half."""
SEED = {"development": 1_000_000, "held-out": 3_000_000}


class Labelled(NamedTuple):
    """One execution and the steps that a person would name as the cause (none: nothing went wrong)."""

    fault: str
    case: Case
    truth: frozenset[bytes]


def labelled(half: Half) -> Iterator[Labelled]:
    for number, fault in enumerate(FAULTS):
        made = 0
        for seed in range(SEED[half] + number * 10_000, SEED[half] + (number + 1) * 10_000):
            case = failing(half, fault, seed)
            if case:
                made += 1
                yield case
            if made == A_FAULT:
                break
    for seed in range(SEED[half] + 900_000, SEED[half] + 900_000 + HEALTHY):
        yield healthy(half, seed)


def failing(half: Half, fault: str, seed: int) -> Labelled | None:
    """An execution with this fault at a site of its own choice; None where the program has no such site."""
    rng = random.Random(seed)
    world = rng.choice(WORLDS[half])
    trial = _run(world, Trace(seed, half, None))
    sites = [site for site, operation in enumerate(trial.sites) if operation in FAULTS[fault]]
    if not sites:
        return None
    trace = _run(world, Trace(seed, half, Plan(fault, rng.choice(sites))))
    if not trace.truth:
        return None
    known = fault == "slow_dependency" or rng.random() < 0.7
    history = _history(trial, rng) if known else {}
    return Labelled(fault, _case(trace, history), frozenset(trace.truth))


def healthy(half: Half, seed: int) -> Labelled:
    rng = random.Random(seed)
    trace = _run(rng.choice(WORLDS[half]), Trace(seed, half, None))
    return Labelled("healthy", _case(trace, _history(trace, rng) if rng.random() < 0.7 else {}), frozenset())


def _run(world: World, trace: Trace) -> Trace:
    with suppress(Failure):
        world(trace)
    return trace


def _history(trial: Trace, rng: random.Random) -> dict[StepName, StepHistory]:
    """What the same program did on other days, as drawn from one faultless run."""
    durations: dict[StepName, list[float]] = {}
    for step in trial.steps():
        name = StepName(step.service, step.name, step.kind)
        durations.setdefault(name, []).append((step.duration_ns or 0) / 1e6)
    return {name: _past(median(values), rng) for name, values in durations.items()}


def _past(usual_ms: float, rng: random.Random) -> StepHistory:
    p50 = usual_ms * rng.uniform(0.75, 1.3)
    p95 = p50 * rng.uniform(1.6, 3)
    return StepHistory(rng.randint(12, 400), p50, p95, rng.choice([0.0, 0.0, 0.01, 0.04]))


def _case(trace: Trace, history: dict[StepName, StepHistory]) -> Case:
    steps = trace.steps()
    root = next(step for step in steps if step.parent_span_id is None)
    return Case(
        key=ExecutionKey(1, trace.rng.randbytes(16)),
        revision=len(steps),
        facts=facts(root),
        steps=steps,
        due=frozenset({EXECUTION_SPAN, *(step.span_id for step in steps)}),
        history=history,
        records=trace.records,
    )
