"""What is known of each step beyond its columns: computed once, shared by the rules and by the model's prompt."""

from collections.abc import Mapping
from typing import Any

import msgspec

from collector.mapping.tree import TOP
from collector.model import Record, Step
from collector.reasoning import signs
from collector.reasoning.case import Case
from collector.reasoning.content import NOTHING_SAID, Said, items_in, parse, said, written
from collector.reasoning.flow import Flow, run
from collector.reasoning.messages import asked, last_results
from collector.store.history import StepHistory, StepName

SERVED = 2
"""The span kind of a server."""
ANSWERING = frozenset(("llm", "agent"))
RESULTS = frozenset(
    (
        "tool",
        "retriever",
        "reranker",
        "memory",
        "function",
        "chain",
        "other",
        "db",
        "http",
        "messaging",
        "rpc",
        "guardrail",
    )
)
ERROR_SEVERITY = 17
QUESTION_CHARS = 500
ERROR_CHARS = 1_000
SAME_CHARS = 200
"""An error that is logged as it is raised tells nothing more."""
HISTORY_LEAST = 10
"""Fewer steps are no history."""
SLOW_RATIO = 3.0
"""A step is unusually slow at this many times the 95th percentile of its history."""
SLOW_LEAST_MS = 250.0


class Reading(msgspec.Struct):
    """What one step shows."""

    error: str | None = None
    """`Type: message` of its own error."""
    told_error: str | None = None
    """An error in its result that its status does not tell."""
    log_error: str | None = None
    empty: bool = False
    refused: bool = False
    cut: bool = False
    fed_error: str | None = None
    """An error in the last tool result that a model was given."""
    lacking: bool = False
    """It answered that something was missing or did not work."""
    said: Said = NOTHING_SAID
    asked: str = ""
    """The head of the question to a model."""
    found: int | None = None
    """How many items its result has, where it is a list."""
    history: StepHistory | None = None
    slower: float = 0.0
    """How many times the history's 95th percentile it took, where that is unusual; else 0."""


class Evidence(msgspec.Struct):
    """An execution's flow and readings, by position in `flow.steps`."""

    case: Case
    flow: Flow
    readings: list[Reading]
    fatal: list[bool]
    """Failed, and so did every step above it up to the root."""
    tokens_total: int
    """Of the execution, as its facts count them."""


def gather(case: Case) -> Evidence:
    """Reads every step once."""
    logs = _log_errors(case)
    readings = [_read(step, case.history, logs.get(step.span_id)) for step in case.steps]
    failed = [reading.error is not None or reading.told_error is not None for reading in readings]
    tokens = case.facts.tokens
    total = (tokens.input or 0) + (tokens.output or 0) if tokens else 0
    flow = run(case.steps, case.facts.root_span_id, failed, [reading.empty for reading in readings])
    return Evidence(case, flow, readings, _fatal(flow, readings), total)


def _fatal(flow: Flow, readings: list[Reading]) -> list[bool]:
    fatal = [False] * len(readings)
    for position in flow.tree.order:
        parent = flow.parent(position)
        above = position == flow.root if parent == TOP else fatal[parent]
        fatal[position] = above and readings[position].error is not None
    return fatal


def _read(step: Step, history: Mapping[StepName, StepHistory], log_error: str | None) -> Reading:
    reading = Reading(log_error=log_error)
    if step.error or step.status == "error":
        reading.error = error_text(step)
        if log_error and log_error[:SAME_CHARS] in reading.error:
            reading.log_error = None
    if history:
        _compare(step, history.get(StepName(step.service, step.name, step.kind)), reading)
    if step.kind in ANSWERING:
        _read_answer(step, reading)
    elif step.output is not None and reading.error is None:
        _read_result(step, reading)
    return reading


def error_text(step: Step) -> str:
    """`Type: message`, as far as both are known."""
    kind = (step.error.type or "")[:SAME_CHARS].strip() if step.error else ""
    message = (step.error.message or "")[:ERROR_CHARS].strip() if step.error else ""
    if kind and message and kind not in message:
        return f"{kind}: {message}"
    if kind.isdecimal() and not message:  # a request's status
        return f"HTTP {kind}"
    return message or kind or "no reason was given"


def _compare(step: Step, history: StepHistory | None, reading: Reading) -> None:
    if history is None or step.duration_ns is None or history.count < HISTORY_LEAST:
        return
    reading.history = history
    took_ms = step.duration_ns / 1e6
    if took_ms > max(history.p95_ms * SLOW_RATIO, history.p95_ms + SLOW_LEAST_MS):
        reading.slower = took_ms / max(history.p95_ms, 0.001)


def _read_answer(step: Step, reading: Reading) -> None:
    reading.said = said(parse(step.output)) if step.output else NOTHING_SAID
    finishes = step.extra.finish_reasons if step.extra and step.extra.finish_reasons else [reading.said.finish]
    if step.kind != "llm":
        reading.lacking = signs.tells_lack(reading.said.text)
        return
    reading.cut = any(signs.is_cut(finish) for finish in finishes)
    if finishes[0] is None and not reading.said.calls:
        reading.cut = signs.looks_cut(reading.said.text, step.tokens.output if step.tokens else None)
    _read_question(step, reading)
    reading.refused = not reading.said.calls and signs.is_refusal(reading.said.text, finishes[0])
    reading.lacking = not reading.said.calls and signs.tells_lack(reading.said.text)


def _read_question(step: Step, reading: Reading) -> None:
    """What a model was asked, and an error in one of the tool results that end its input."""
    value = parse(step.input)
    reading.asked = asked(value)[:QUESTION_CHARS]
    reading.fed_error = next((told for result in last_results(value) if (told := signs.error_in(result))), None)


def _read_result(step: Step, reading: Reading) -> None:
    if step.kind == "http" and (step.output or "").strip('"').isdecimal():
        reading.told_error = _http_failure(step)
        return
    if step.kind not in RESULTS:
        return
    value = parse(step.output)
    reading.found = items_in(value)
    reading.told_error = signs.error_in(value)
    reading.empty = reading.told_error is None and signs.is_empty(value)


def _http_failure(step: Step) -> str | None:
    """A client's answer of 400 and more, a server's of 500 and more."""
    text = (step.output or "").strip('" ')
    least = 500 if step.span_kind == SERVED else 400
    return f"HTTP {text}" if text.isdecimal() and least <= int(text) < 600 else None


def _log_errors(case: Case) -> dict[bytes, str]:
    """The first error that each step logged."""
    found: dict[bytes, str] = {}
    steps = {step.span_id: step for step in case.steps}
    for record in case.records:
        if record.severity >= ERROR_SEVERITY:
            span_id = record.span_id if record.span_id in steps else _running_at(record.time_ns, steps)
            if span_id is not None:
                found.setdefault(span_id, _logged(record))
    for span_id, text in case.events.items():
        logged = _error_event(parse(text))
        if logged:
            found.setdefault(span_id, logged)
    return found


def _running_at(time_ns: int, steps: Mapping[bytes, Step]) -> bytes | None:
    """The innermost step that ran when a record was written that names none; None where several ran side by side."""
    running = {
        span_id: step for span_id, step in steps.items() if 0 <= time_ns - step.start_ns <= (step.duration_ns or 0)
    }
    if not running:
        return None
    innermost = max(running.values(), key=lambda step: step.start_ns)
    chain = {innermost.span_id}
    above = steps.get(innermost.parent_span_id or b"")
    while above is not None and above.span_id not in chain:
        chain.add(above.span_id)
        above = steps.get(above.parent_span_id or b"")
    return innermost.span_id if running.keys() <= chain else None


def _logged(record: Record) -> str:
    body = parse(record.body)
    if isinstance(body, str) and body:
        return body
    return record.event_name or (written(body) if body else "an error without a text")


LEVEL_KEYS = ("level", "severity", "log.severity", "log.level", "logfire.level_num", "severity_text")
TEXT_KEYS = ("exception.message", "message", "log.message", "body", "event.body", "error.message", "exception.type")


def _error_event(events: Any) -> str | None:
    """The first span event that is an error or a log line of that level."""
    for event in events if isinstance(events, list) else ():
        attributes = event.get("attributes") if isinstance(event, dict) else None
        if not isinstance(attributes, dict):
            continue
        name = str(event.get("name") or "")
        level = next((attributes[key] for key in LEVEL_KEYS if key in attributes), None)
        severe = level >= ERROR_SEVERITY if isinstance(level, int) else str(level).lower() in signs.FAILED_WORDS
        if severe or name.lower() in ("exception", "error"):
            told = next((attributes[key] for key in TEXT_KEYS if attributes.get(key)), None)
            return str(told) if told else name
    return None
