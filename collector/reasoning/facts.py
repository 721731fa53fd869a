"""The facts behind an explanation, for machines: the same ones for the rules and for a model."""

import msgspec

from collector.mapping.tree import TOP
from collector.reasoning.cause import Cause
from collector.reasoning.evidence import Evidence, Reading
from collector.reasoning.wording import brief

TEXT_CHARS = 300
MOST_CITED = 8


class History(msgspec.Struct, omit_defaults=True):
    """How the step did against its own past."""

    count: int
    p50_ms: float
    p95_ms: float
    error_rate: float
    unusual: bool = False


class StepFacts(msgspec.Struct, omit_defaults=True):
    """What is known of one step; what is absent is false, none or not known."""

    kind: str
    duration_ms: float | None = None
    share: float | None = None
    """Part of the execution's time, 0 to 1."""
    self_ms: float | None = None
    """Time in which none of its children ran."""
    history: History | None = None
    error: str | None = None
    error_from: str | None = None
    """The child that the error came from."""
    recovered: bool = False
    """It failed, and a later attempt worked."""
    ended_execution: bool = False
    told_error: str | None = None
    """An error in the result although the status is not an error."""
    contradictory: bool = False
    log_error: str | None = None
    empty_output: bool = False
    truncated: bool = False
    refused: bool = False
    retry_of: str | None = None
    attempt: int = 0
    loop_count: int = 0
    """How often the same was done with the same input below the same parent."""
    tool_calls: list[str] = []
    tokens_input: int | None = None
    tokens_output: int | None = None
    token_share: float | None = None
    cost_usd: float | None = None
    root_cause: bool = False
    cites: list[str] = []
    """Other steps that this is said of, as span ids."""


def hexed(evidence: Evidence, position: int) -> str:
    return evidence.flow.steps[position].span_id.hex()


def step_facts(evidence: Evidence, position: int, cause: Cause | None) -> StepFacts:
    flow, reading = evidence.flow, evidence.readings[position]
    step = flow.steps[position]
    facts = StepFacts(kind=step.kind, history=history_of(reading))
    if step.duration_ns is not None:
        facts.duration_ms = round(step.duration_ns / 1e6, 3)
        facts.share = round(flow.share(position), 4)
        if flow.children[position]:
            facts.self_ms = round(flow.self_ns(position) / 1e6, 3)
    _add_faults(facts, evidence, position)
    _add_repeats(facts, evidence, position)
    _add_use(facts, evidence, position)
    facts.root_cause = cause is not None and cause.position == position
    return facts


def history_of(reading: Reading) -> History | None:
    past = reading.history
    if past is None:
        return None
    return History(
        past.count, round(past.p50_ms, 3), round(past.p95_ms, 3), round(past.error_rate, 4), bool(reading.slower)
    )


def _add_faults(facts: StepFacts, evidence: Evidence, position: int) -> None:
    flow, reading = evidence.flow, evidence.readings[position]
    facts.empty_output, facts.truncated, facts.refused = reading.empty, reading.cut, reading.refused
    if reading.log_error:
        facts.log_error = brief(reading.log_error, TEXT_CHARS)
    if reading.told_error:
        facts.told_error = brief(reading.told_error, TEXT_CHARS)
        facts.contradictory = flow.steps[position].status == "ok"
    if reading.error:
        facts.error = brief(reading.error, TEXT_CHARS)
        facts.recovered = flow.recovered[position]
        facts.ended_execution = evidence.fatal[position]
        origin = error_origin(evidence, position)
        if origin != TOP:
            facts.error_from = hexed(evidence, origin)
            facts.cites.append(facts.error_from)


def error_origin(evidence: Evidence, position: int) -> int:
    """The child whose failure this step passes on, or TOP."""
    flow, readings = evidence.flow, evidence.readings
    told = readings[position].error or ""
    failed = [
        child
        for child in flow.children[position]
        if (readings[child].error or readings[child].told_error) and not flow.recovered[child]
    ]
    return min(failed, key=lambda child: (readings[child].error != told, flow.ends[child]), default=TOP)


def _add_repeats(facts: StepFacts, evidence: Evidence, position: int) -> None:
    flow = evidence.flow
    place, total = flow.places.get(position, (0, 0))
    if total > 1 and flow.steps[position].input is not None:
        facts.loop_count = total
    before = flow.retry_of[position]
    if before != TOP:
        facts.retry_of = hexed(evidence, before)
        facts.attempt = place + 1
        facts.cites.append(facts.retry_of)


def _add_use(facts: StepFacts, evidence: Evidence, position: int) -> None:
    step = evidence.flow.steps[position]
    facts.tool_calls = [call.name for call in evidence.readings[position].said.calls][:20]
    facts.cost_usd = step.cost_usd
    if step.tokens is None:
        return
    facts.tokens_input, facts.tokens_output = step.tokens.input, step.tokens.output
    total = evidence.tokens_total
    used = (step.tokens.input or 0) + (step.tokens.output or 0)
    if step.kind == "llm" and total and used <= total:
        facts.token_share = round(used / total, 4)
