"""Names and types of what REST answers, as the contract has them; more fields may be there."""

from typing import Any

COUNT = (int, None)
TEXT = (str, None)
NUMBER = (int, float, None)
KINDS = frozenset(
    (
        *("agent", "llm", "tool", "chain", "retriever", "embedding", "reranker", "guardrail", "evaluator", "prompt"),
        *("memory", "http", "db", "rpc", "messaging", "function", "other"),
    )
)

TOKENS = {"input": COUNT, "output": COUNT, "cached": COUNT, "reasoning": COUNT}
ERROR = {"type": TEXT, "message": TEXT, "stacktrace": TEXT}
REASONING = {
    "status": frozenset(("pending", "processing", "completed", "failed", "skipped")),
    "text": TEXT,
    "model": TEXT,
    "error": TEXT,
    "attempts": int,
    "stale": bool,
    "created_at": TEXT,
    "facts": (dict, None),
}
ROOT_CAUSE = {"span_id": str, "confidence": float, "evidence": [str]}
WHOLE_REASONING = {**REASONING, "root_cause": (ROOT_CAUSE, None)}
EXECUTION: dict[str, Any] = {
    "execution_id": str,
    "trace_id": str,
    "project": str,
    "name": str,
    "service": TEXT,
    "status": frozenset(("running", "ok", "error")),
    "started_at": str,
    "completed_at": TEXT,
    "duration_ms": NUMBER,
    "step_count": int,
    "error_count": int,
    "tokens": TOKENS,
    "cost_usd": NUMBER,
    "session_id": TEXT,
    "user_id": TEXT,
    "tags": [str],
    "metadata": Any,
    "final_outcome": Any,
    "reasoning": (WHOLE_REASONING, None),
    "root_missing": bool,
    "warnings": [str],
}
STEP: dict[str, Any] = {
    "span_id": str,
    "parent_span_id": TEXT,
    "name": str,
    "kind": KINDS,
    "status": str,
    "service": TEXT,
    "started_at": str,
    "start_unix_nano": str,
    "duration_ms": NUMBER,
    "input": Any,
    "output": Any,
    "error": (ERROR, None),
    "model": TEXT,
    "provider": TEXT,
    "tokens": (TOKENS, None),
    "cost_usd": NUMBER,
    "tool": TEXT,
    "session_id": TEXT,
    "warnings": [str],
    "reasoning": (REASONING, None),
}
WIDE_STEP: dict[str, Any] = {
    **STEP,
    "attributes": dict,
    "events": [{"name": str, "attributes": dict}],
    "links": [{"trace_id": str, "span_id": str, "attributes": dict}],
    "resource": {"attributes": dict},
    "scope": {"name": str, "attributes": dict},
}
JOB = {
    "id": str,
    "status": frozenset(("pending", "processing", "completed", "failed", "cancelled")),
    "attempts": int,
    "error": TEXT,
    "created_at": str,
    "tokens": TOKENS,
    "cost_usd": NUMBER,
}
REASONING_STATS = {
    **dict.fromkeys(("pending", "processing", "completed", "failed", "cancelled"), int),
    "oldest_pending_age_s": (int, float),
    "tokens": int,
    "cost_usd": (int, float),
}
FIGURES = {"errors": int, "p50_ms": NUMBER, "p95_ms": NUMBER, "p99_ms": NUMBER, "tokens": TOKENS, "cost_usd": NUMBER}
STEP_STATS = {"name": str, "count": int, **FIGURES}
BUCKET = {"started_at": str, "executions": int, **FIGURES}
