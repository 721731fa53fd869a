"""The deterministic reasoner: explains an execution from its own facts, without any model."""

import asyncio

import msgspec
import orjson

from collector.model import EXECUTION_SPAN, Explanation, RootCause, Step
from collector.reasoning.case import Case
from collector.reasoning.cause import find
from collector.reasoning.evidence import Evidence, gather

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
    explained = [_step(step) for step in case.steps if step.span_id in case.due]
    if EXECUTION_SPAN in case.due:
        explained.append(_execution(evidence))
    return explained


def _step(step: Step) -> Explanation:
    ms = (step.duration_ns or 0) / 1e6
    text = f"The {step.kind} step {step.name} took {ms:,.0f} ms."
    if step.error:
        text += f" It failed: {step.error.message or step.error.type or 'no reason was given'}."
    facts = {"duration_ms": ms, "error": step.error is not None}
    return Explanation(span_id=step.span_id, text=text, facts=msgspec.Raw(orjson.dumps(facts)))


def _execution(evidence: Evidence) -> Explanation:
    case = evidence.case
    failed = [step for step in case.steps if step.error]
    text = f"{case.facts.name} made {len(case.steps)} steps and ended with status {case.facts.status}."
    found, cause = find(evidence), None
    if found:
        first = case.steps[found.position]
        text += f" It went wrong first in {first.name}."
        cause = RootCause(span_id=first.span_id.hex(), confidence=found.confidence, evidence=found.because)
    facts = {"steps": len(case.steps), "errors": len(failed)}
    return Explanation(span_id=EXECUTION_SPAN, text=text, facts=msgspec.Raw(orjson.dumps(facts)), root_cause=cause)
