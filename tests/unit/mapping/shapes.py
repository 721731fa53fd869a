"""Steps and log records in a line each, and rows turned to steps as a reader of the store sees them."""

from typing import Any

import msgspec
import orjson

from collector.model import Record, RecordRow, Step, StepError, StepExtra, StepRow, Tokens

START_NS = 1_795_349_854_000_000_000
MS = 1_000_000


def span_id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def step(number: int, parent: int | None = None, kind: str = "function", **facts: Any) -> Step:
    """Step `number` starts that many ms after the first and lasts `ms` (10); `extra` is given as a dict."""
    begin, lasting = facts.pop("at", number), facts.pop("ms", 10)
    extra = facts.pop("extra", None)
    known = {
        "span_id": span_id(number),
        "parent_span_id": None if parent is None else span_id(parent),
        "name": f"{kind} {number}",
        "kind": kind,
        "span_kind": 1,
        "status": "unset",
        "service": "shop",
        "start_ns": START_NS + begin * MS,
        "duration_ns": None if lasting is None else lasting * MS,
        **dict.fromkeys(("input", "output", "error", "model", "provider", "tool", "session_id", "user_id", "tokens")),
        "cost_usd": None,
        "cost_source": None,
        "extra": None if extra is None else StepExtra(**extra),
        "warnings": [],
    }
    return Step(**{**known, **facts})


def llm(number: int, parent: int | None, tokens: tuple[int, int] | None = (100, 20), **facts: Any) -> Step:
    used = None if tokens is None else Tokens(*tokens)
    model = {"model": "gpt-4o", "provider": "openai", "name": "chat gpt-4o"}
    return step(number, parent, "llm", **{**model, "tokens": used, **facts})


def record(name: str | None, body: Any = None, span: int = 1, **facts: Any) -> Record:
    number = facts.pop("number", 0)
    attributes = facts.pop("attributes", {})
    return Record(
        span_id=span_id(span) if span else b"",
        time_ns=START_NS + facts.pop("at", number) * MS,
        event_name=name,
        severity=facts.pop("severity", 9),
        body=None if body is None else orjson.dumps(body).decode(),
        attributes=orjson.dumps(attributes).decode(),
        record_id=number.to_bytes(16, "big"),
    )


def step_of(row: StepRow) -> Step:
    tokens = Tokens(
        row.tokens_input, row.tokens_output, row.tokens_cached, row.tokens_reasoning, row.tokens_cache_write
    )
    error = StepError(row.error_type, row.error_message, row.error_stacktrace)
    same = {field: getattr(row, field) for field in Step.__struct_fields__ if field in StepRow._fields}
    return Step(
        **{
            **same,
            "tokens": None if tokens == Tokens() else tokens,
            "error": None if error == StepError() else error,
            "extra": msgspec.json.decode(row.extra, type=StepExtra) if row.extra else None,
            "warnings": orjson.loads(row.warnings) if row.warnings else [],
        }
    )


def record_of(row: RecordRow) -> Record:
    return Record(**{field: getattr(row, field) for field in Record.__struct_fields__})
