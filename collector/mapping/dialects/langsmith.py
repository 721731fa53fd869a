"""LangSmith: its SDK's OpenTelemetry exporter, and what its users set under `langsmith.*`."""

from collector.mapping.dialects.dialect import Dialect
from collector.mapping.dialects.readers import metadata_below, tags_in

RUN_TYPES = {
    **{kind: kind for kind in ("llm", "tool", "chain", "retriever", "embedding", "prompt")},
    "parser": "chain",
}

LANGSMITH = Dialect(
    name="langsmith",
    prefixes=frozenset(("langsmith",)),
    kinds=(("langsmith.span.kind", RUN_TYPES),),
    labels={
        "request_model": ("langsmith.metadata.ls_model_name",),
        "provider": ("langsmith.metadata.ls_provider",),
        "session": ("langsmith.metadata.session_id", "langsmith.trace.session_id"),
        "conversation": ("langsmith.metadata.thread_id", "langsmith.metadata.conversation_id"),
        "user": ("langsmith.metadata.user_id",),
        "label": ("langsmith.trace.name",),
    },
    extras=(("tags", tags_in("langsmith.span.tags")), ("metadata", metadata_below("langsmith.metadata."))),
)
