"""LangSmith: its SDK's OpenTelemetry exporter, and what its users set under `langsmith.*`."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import metadata_below, tag_list, token_map

RUN_TYPES = {
    **{kind: kind for kind in ("llm", "tool", "chain", "retriever", "embedding", "prompt")},
    "parser": "chain",
}

PLACES = ("seq:step:", "graph:step:", "map:key:")
"""LangChain's own tags say where in a chain a run stood."""


def _tags(view: View) -> list[str] | None:
    tags = tag_list(view.attributes["langsmith.span.tags"]) or []
    return [tag for tag in tags if not tag.startswith(PLACES)] or None


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
    tokens=(token_map("langsmith.metadata.usage_metadata"),),
    extras=(("tags", Composed(("langsmith.span.tags",), _tags)), ("metadata", metadata_below("langsmith.metadata."))),
)
