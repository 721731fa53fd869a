"""Langfuse: what its SDKs and users set under `langfuse.*`."""

from datetime import datetime

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import (
    cost_map,
    failed_when,
    metadata_below,
    parsed,
    quoted,
    tags_in,
    token_map,
)

TYPES = {
    "generation": "llm",
    **{kind: kind for kind in ("embedding", "tool", "agent", "chain", "retriever", "guardrail", "evaluator")},
    "event": "other",
}


def _first_token_ms(view: View) -> float | None:
    value = parsed(view.attributes["langfuse.observation.completion_start_time"])
    try:
        at = datetime.fromisoformat(value)
        return at.timestamp() * 1000 - view.span.start_time_unix_nano / 1e6 if at.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


LANGFUSE = Dialect(
    name="langfuse",
    prefixes=frozenset(("langfuse",)),
    scopes=("langfuse-sdk",),
    kinds=(("langfuse.observation.type", TYPES),),
    evidence=(("langfuse.observation.type", "chain"), ("langfuse.observation.model.name", "llm")),
    labels={
        "model": ("langfuse.observation.model.name",),
        "session": ("langfuse.session.id",),
        "user": ("langfuse.user.id",),
        "environment": ("langfuse.environment",),
        "label": ("langfuse.trace.name",),
    },
    input=(quoted("langfuse.observation.input"), "langfuse.observation.input", "langfuse.trace.input"),
    output=(quoted("langfuse.observation.output"), "langfuse.observation.output", "langfuse.trace.output"),
    tokens=(token_map("langfuse.observation.usage_details"),),
    cost=(cost_map("langfuse.observation.cost_details"),),
    errors=(failed_when("langfuse.observation.level", ("ERROR",), "langfuse.observation.status_message"),),
    extras=(
        ("first_token_ms", Composed(("langfuse.observation.completion_start_time",), _first_token_ms)),
        ("tags", tags_in("langfuse.trace.tags")),
        ("metadata", metadata_below("langfuse.trace.metadata.", "langfuse.observation.metadata.")),
    ),
)
