"""The deterministic reasoner: explains an execution from its own facts, without any model."""

import asyncio

import msgspec
import orjson

from collector.model import EXECUTION_SPAN, Explanation, RootCause, Step
from collector.reasoning.case import Case

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
    explained = [_step(step) for step in case.steps if step.span_id in case.due]
    if EXECUTION_SPAN in case.due:
        explained.append(_execution(case))
    return explained


def _step(step: Step) -> Explanation:
    ms = (step.duration_ns or 0) / 1e6
    text = f"The {step.kind} step {step.name} took {ms:,.0f} ms."
    if step.error:
        text += f" It failed: {step.error.message or step.error.type or 'no reason was given'}."
    facts = {"duration_ms": ms, "error": step.error is not None}
    return Explanation(span_id=step.span_id, text=text, facts=msgspec.Raw(orjson.dumps(facts)))


def _execution(case: Case) -> Explanation:
    failed = [step for step in case.steps if step.error]
    text = f"{case.facts.name} made {len(case.steps)} steps and ended with status {case.facts.status}."
    cause = None
    if failed:
        first = min(failed, key=lambda step: step.start_ns + (step.duration_ns or 0))
        text += f" It went wrong first in {first.name}."
        cause = RootCause(span_id=first.span_id.hex(), confidence=0.5, evidence=[f"{first.name} failed first."])
    facts = {"steps": len(case.steps), "errors": len(failed)}
    return Explanation(span_id=EXECUTION_SPAN, text=text, facts=msgspec.Raw(orjson.dumps(facts)), root_cause=cause)
