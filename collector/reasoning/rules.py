"""The deterministic reasoner: explains an execution from its own facts, without any model."""

import asyncio

import msgspec

from collector.model import EXECUTION_SPAN, Explanation, RootCause
from collector.reasoning.case import Case
from collector.reasoning.cause import Cause, find
from collector.reasoning.evidence import Evidence, gather
from collector.reasoning.facts import hexed, step_facts
from collector.reasoning.story import execution_facts, tell_execution
from collector.reasoning.telling import tell
from collector.reasoning.wording import sentence

STEPS_AT_ONCE = 50
"""About as many steps as are explained in 5 ms; more leave the event loop."""


class Rules:
    """Explains every due step of a case by rules."""

    async def explain(self, case: Case) -> list[Explanation]:
        if len(case.steps) <= STEPS_AT_ONCE:
            return explain(case)
        return await asyncio.to_thread(explain, case)


def explain(case: Case) -> list[Explanation]:
    """One explanation for each due step, and one for the execution where it is due."""
    evidence = gather(case)
    cause = find(evidence)
    explained = [
        _step(evidence, position, cause) for position, step in enumerate(case.steps) if step.span_id in case.due
    ]
    if EXECUTION_SPAN in case.due:
        explained.append(_execution(evidence, cause))
    return explained


def _step(evidence: Evidence, position: int, cause: Cause | None) -> Explanation:
    return Explanation(
        span_id=evidence.flow.steps[position].span_id,
        text=tell(evidence, position, cause),
        facts=msgspec.Raw(msgspec.json.encode(step_facts(evidence, position, cause))),
    )


def _execution(evidence: Evidence, cause: Cause | None) -> Explanation:
    facts = execution_facts(evidence, cause)
    return Explanation(
        span_id=EXECUTION_SPAN,
        text=tell_execution(evidence, facts, cause),
        facts=msgspec.Raw(msgspec.json.encode(facts)),
        root_cause=None if cause is None else root_cause(evidence, cause),
    )


def root_cause(evidence: Evidence, cause: Cause) -> RootCause:
    return RootCause(
        span_id=hexed(evidence, cause.position),
        confidence=round(cause.confidence, 2),
        evidence=[sentence(words) for words in cause.because],
    )
