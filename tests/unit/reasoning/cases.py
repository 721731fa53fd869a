"""Small executions, written step by step."""

from typing import Any

import orjson

from collector.model import EXECUTION_SPAN, ExecutionKey, Facts, Record, Step, StepError, StepExtra, Tokens
from collector.reasoning.case import Case

MS = 1_000_000
BEGIN_NS = 1_750_000_000_000_000_000


def step(number: int, parent: int | None = None, **given: Any) -> Step:
    """Step `number` below `parent`; `at` and `ms`: its start and duration in milliseconds."""
    at, ms = given.pop("at", number * 10), given.pop("ms", 10)
    error = given.pop("error", None)
    finish = given.pop("finish", None)
    kind, _, message = (error or "").partition(": ")
    fields: dict[str, Any] = {
        "name": given.pop("name", f"step {number}"),
        "kind": given.pop("kind", "function"),
        "span_kind": given.pop("span_kind", 1),
        "status": given.pop("status", "error" if error else "unset"),
        "service": given.pop("service", "svc"),
        "model": given.pop("model", None),
        "tool": given.pop("tool", None),
        "tokens": Tokens(*given.pop("tokens")) if "tokens" in given else None,
        "cost_usd": given.pop("cost", None),
    }
    contents = {name: _json(given.pop(name, None)) for name in ("input", "output")}
    assert not given, given
    return Step(
        span_id=span_id(number),
        parent_span_id=None if parent is None else span_id(parent),
        start_ns=BEGIN_NS + at * MS,
        duration_ns=None if ms is None else int(ms * MS),
        error=StepError(kind, message) if error else None,
        provider=None,
        session_id=None,
        user_id=None,
        cost_source=None,
        extra=StepExtra(finish_reasons=[finish]) if finish else None,
        warnings=[],
        **fields,
        **contents,
    )


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def log(number: int, text: str, severity: int = 17) -> Record:
    return Record(span_id(number), BEGIN_NS, None, severity, orjson.dumps(text).decode(), "{}", b"r" * 16)


def case(*steps: Step, due: set[bytes] | None = None, **given: Any) -> Case:
    """A case of these steps; the first one is the root, all are due unless said otherwise."""
    root = steps[0]
    everything = {EXECUTION_SPAN, *(one.span_id for one in steps)}
    return Case(
        key=ExecutionKey(1, b"t" * 16),
        revision=len(steps),
        facts=facts(root, given.pop("tokens", None), given.pop("cost", None)),
        steps=sorted(steps, key=lambda one: one.start_ns),
        due=frozenset(everything if due is None else due),
        **given,
    )


def facts(root: Step, tokens: Tokens | None = None, cost: float | None = None) -> Facts:
    """What an execution says that is nothing but its root."""
    return Facts(
        execution_id=None,
        name=root.name,
        kind=root.kind,
        service=root.service,
        root_span_id=root.span_id,
        root_missing=False,
        status="error" if root.status == "error" else "ok",
        session_id=None,
        user_id=None,
        tags=[],
        environment=None,
        metadata=None,
        final_outcome=root.output,
        tokens=tokens,
        cost_usd=cost,
        prices_at=None,
        models=[],
        plumbing=False,
        warnings=[],
    )
