"""What is explained, how urgently, and how long to wait before another try: pure."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from collector.model import Step
from collector.reasoning.case import Case
from collector.store.jobs import Taken
from collector.store.waiting import Outline

EXPLAINED_KINDS = frozenset(
    {"agent", "llm", "tool", "retriever", "reranker", "guardrail", "evaluator", "embedding", "memory"}
)
"""Kinds of steps that are explained, besides steps without a parent and steps that failed."""

URGENT, ASKED, ORDINARY = 0, 1, 5
"""Priorities; a smaller one goes first. URGENT: something failed. ASKED: a person waits."""

FIRST_DELAY_MS, LONGEST_DELAY_MS = 2_000, 300_000
ROOT_PATIENCE = 8
"""An execution whose root is still missing settles after this many times the settle time without news: senders give
away what has ended every few seconds, and a root ends last."""
OLDEST_SNOOZED = timedelta(hours=24)
"""A job that a closed provider keeps waiting for longer than this is dead."""


def is_worth(step: Step) -> bool:
    """True for the steps that are explained."""
    return step.parent_span_id is None or step.status == "error" or step.kind in EXPLAINED_KINDS


def worth_explaining(steps: Iterable[Step]) -> frozenset[bytes]:
    return frozenset(step.span_id for step in steps if is_worth(step))


def is_worth_a_model(case: Case) -> bool:
    """False for plain traffic that went well, which rules explain as well and for nothing, until a person asks."""
    if case.asked or case.forced:
        return True
    if case.facts.plumbing:
        return False
    return case.facts.status == "error" or any(step.kind in EXPLAINED_KINDS for step in case.steps)


def wait_for_root(taken: Taken, outline: Outline | None, settle: timedelta) -> timedelta:
    """For how long an execution waits for its root: not at all once something failed, or somebody asked."""
    if outline is None or not taken.may_wait or not outline.lacks_root or outline.error_count:
        return timedelta()
    return max(settle * ROOT_PATIENCE - outline.quiet, timedelta())


def delay_ms(attempt: int, jitter: float) -> int:
    """Exponential, capped; `jitter` (0 to 1) spreads it over its upper half, so that jobs don't return together."""
    longest: int = min(FIRST_DELAY_MS << min(max(attempt, 1) - 1, 30), LONGEST_DELAY_MS)
    return round(longest * (0.5 + 0.5 * jitter))


def delays(most_attempts: int, random: Callable[[], float]) -> list[timedelta]:
    """The delay after each attempt, under one roll of the dice: an execution's jobs come back together."""
    jitter = random()
    return [timedelta(milliseconds=delay_ms(attempt, jitter)) for attempt in range(1, max(most_attempts, 1) + 1)]
