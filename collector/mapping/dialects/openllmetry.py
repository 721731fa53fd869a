"""OpenLLMetry / Traceloop: `traceloop.*` around functions, `llm.*` and GenAI names on model calls; both generations."""

from collections.abc import Iterator
from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import metadata_below, quoted
from collector.mapping.values import Notes, json_text, read_attributes

SPAN_KINDS = {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"}
REQUEST_TYPES = {
    **dict.fromkeys(("chat", "completion", "acompletion", "text_completion", "atext_completion"), "llm"),
    **dict.fromkeys(("responses", "aresponses", "anthropic_messages"), "llm"),
    **dict.fromkeys(("embedding", "embeddings", "aembedding"), "embedding"),
    **dict.fromkeys(("rerank", "arerank"), "reranker"),
}
SEARCHES = (
    *("db.vector.query.", "db.chroma.query.", "db.milvus.query.", "db.milvus.search.", "db.weaviate.query."),
    *("pinecone.query.", "qdrant.search.", "qdrant.search_batch."),
)
"""What clients of vector databases tell of a search."""
FOUND_EVENTS = ("db.query.result", "db.search.result")


def _tool(view: View) -> Any:
    return view.attributes["traceloop.entity.name"] if view.kind == "tool" else None


def _agent(view: View) -> Any:
    return view.attributes["traceloop.entity.name"] if view.kind == "agent" else None


def _documents(view: View) -> str | None:
    """What a vector database found, one span event each."""
    found = list(_found(view)) if view.span.events else []
    return json_text(found) if found else None


def _found(view: View) -> Iterator[dict[str, Any]]:
    for event in view.span.events:
        if event.name in FOUND_EVENTS:
            fields = read_attributes(event.attributes, Notes())
            yield {key.rpartition(".")[2]: value for key, value in fields.items() if not key.endswith(".vector")}


OPENLLMETRY = Dialect(
    name="openllmetry",
    prefixes=frozenset(
        (
            "traceloop",
            "llm.request",
            "llm.usage",
            "llm.is_streaming",
            "llm.headers",
            "llm.user",
            "llm.response",
            "db.vector",
            *("db.chroma", "db.milvus", "db.pinecone", "db.weaviate", "pinecone.query", "qdrant"),
        )
    ),
    kinds=(("traceloop.span.kind", SPAN_KINDS), ("llm.request.type", REQUEST_TYPES)),
    evidence=(
        *((key, "retriever") for key in SEARCHES),
        ("traceloop.entity.input", "chain"),
    ),
    labels={
        "tool": (Composed(("traceloop.entity.name",), _tool),),
        "agent": (Composed(("traceloop.entity.name",), _agent),),
        "session": ("traceloop.association.properties.session_id",),
        "conversation": (
            *("traceloop.association.properties.conversation_id", "traceloop.association.properties.thread_id"),
            "traceloop.association.properties.chat_id",
        ),
        "user": ("traceloop.association.properties.user_id", "llm.user"),
    },
    input=(quoted("traceloop.entity.input"), "traceloop.entity.input"),
    output=(
        quoted("traceloop.entity.output"),
        "traceloop.entity.output",
        Composed(("db.vector.", "db.system"), _documents),
    ),
    extras=(("metadata", metadata_below("traceloop.association.properties.")),),
)
