"""OpenInference (Arize): lists flattened into indexed names, values with a MIME type beside them."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.readers import metadata_in, tags_in
from collector.mapping.messages import in_order, rebuild
from collector.mapping.values import is_structure, json_text, number, parse_json

KINDS = {
    **{kind: kind for kind in ("llm", "chain", "tool", "agent", "retriever", "embedding", "reranker", "guardrail")},
    **{kind: kind for kind in ("evaluator", "prompt", "memory")},
    "decision": "chain",
}

TOOL_USE = {"type": "tool_use"}
"""A part that only says that there is a tool call, which stands beside it."""


def _messages(view: View, prefix: str) -> str | None:
    """Messages of an LLM call; other spans that repeat them show the value that they were given."""
    if view.kind != "llm":
        return None
    found = [_message(item.get("message", item)) for item in rebuild(view, prefix)]
    found = [message for message in found if message]
    return json_text(found) if found else None


def _message(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        return {}
    message = {name: value for name, value in raw.items() if name not in ("contents", "tool_calls")}
    if contents := [part for item in in_order(raw.get("contents")) if (part := _part(item)) != TOOL_USE]:
        message["parts"] = contents
    if calls := [_tool_call(item) for item in in_order(raw.get("tool_calls"))]:
        message["tool_calls"] = calls
    return message


def _part(raw: Any) -> Any:
    part = raw.get("message_content", raw) if isinstance(raw, dict) else raw
    if isinstance(part, dict) and isinstance(part.get("tool_call"), dict):
        return {**part, "tool_call": _tool_call(part["tool_call"])}
    return part


def _tool_call(raw: Any) -> Any:
    call = raw.get("tool_call", raw) if isinstance(raw, dict) else raw
    if not isinstance(call, dict):
        return call
    function = call.get("function")
    flat = {name: value for name, value in call.items() if name != "function"}
    if isinstance(function, dict):
        flat |= function
    arguments = flat.get("arguments")
    if isinstance(arguments, str) and is_structure(arguments):
        flat["arguments"] = parse_json(arguments)
    return flat


def _input_messages(view: View) -> str | None:
    return _messages(view, "llm.input_messages.")


def _output_messages(view: View) -> str | None:
    return _messages(view, "llm.output_messages.")


def _documents(view: View, prefix: str) -> str | None:
    found = [item.get("document", item) for item in rebuild(view, prefix)]
    for document in found:
        if isinstance(document, dict) and isinstance(document.get("metadata"), str):
            document["metadata"] = parse_json(document["metadata"]) or document["metadata"]
    return json_text(found) if found else None


def _retrieved(view: View) -> str | None:
    return _documents(view, "retrieval.documents.")


def _reranked(view: View) -> str | None:
    return _documents(view, "reranker.output_documents.")


def _rerank_input(view: View) -> str | None:
    documents = _documents(view, "reranker.input_documents.")
    query = view.attributes.get("reranker.query")
    if documents is None:
        return None if query is None else json_text(query)
    return json_text({"query": query, "documents": parse_json(documents)})


def _embedded_texts(view: View) -> str | None:
    found = [item.get("embedding", {}) for item in rebuild(view, "embedding.embeddings.")]
    texts = [item["text"] for item in found if isinstance(item, dict) and "text" in item]
    return json_text(texts) if texts else None


def _vectors(view: View) -> str | None:
    """How many vectors of what length came out, instead of their numbers."""
    found = [item.get("embedding", {}) for item in rebuild(view, "embedding.embeddings.")]
    vectors = [item["vector"] for item in found if isinstance(item, dict) and isinstance(item.get("vector"), list)]
    return json_text({"vectors": len(vectors), "dimensions": len(vectors[0])}) if vectors else None


def _prompts(view: View) -> str | None:
    found = [item.get("prompt", item) for item in rebuild(view, "llm.prompts.")]
    return json_text(found) if found else None


def _choices(view: View) -> str | None:
    found = [item.get("completion", item) for item in rebuild(view, "llm.choices.")]
    return json_text(found) if found else None


def _model_asked(view: View) -> str | None:
    """On failed calls the model stands only among the parameters."""
    for key in ("llm.invocation_parameters", "embedding.invocation_parameters"):
        value = view.attributes.get(key)
        parameters = parse_json(value) if isinstance(value, str) else value
        if isinstance(parameters, dict):
            model = parameters.get("model") or parameters.get("model_name") or parameters.get("model_id")
            if isinstance(model, str):
                return model
    return None


def _cost_of_parts(view: View) -> float | None:
    parts = [
        number(view.attributes.get(f"llm.cost.{part}"), "llm.cost", view.notes) for part in ("prompt", "completion")
    ]
    return sum(part for part in parts if part is not None)


def _finish_reason(view: View) -> list[str] | None:
    value = view.attributes["llm.finish_reason"]
    return [value] if isinstance(value, str) else None


OPENINFERENCE = Dialect(
    name="openinference",
    prefixes=frozenset(
        (
            *(
                "openinference",
                "input.value",
                "output.value",
                "retrieval.documents",
                "reranker",
                "embedding",
                "tool.name",
            ),
            *(
                "tool.parameters",
                "graph.node",
                "tag.tags",
                "agent.name",
                "llm.model_name",
                "llm.token_count",
                "llm.cost",
            ),
            *("llm.input_messages", "llm.output_messages", "llm.invocation_parameters", "llm.tools", "llm.provider"),
            *("llm.system", "llm.prompts", "llm.choices", "llm.prompt_template", "llm.finish_reason"),
        )
    ),
    scopes=("openinference.",),
    kinds=(("openinference.span.kind", KINDS),),
    evidence=(
        ("embedding.model_name", "embedding"),
        ("reranker.model_name", "reranker"),
        ("retrieval.documents.", "retriever"),
        ("tool.name", "tool"),
        ("llm.model_name", "llm"),
        ("llm.request.model_name", "llm"),
        ("llm.input_messages.", "llm"),
        ("llm.output_messages.", "llm"),
    ),
    labels={
        "model": (*("llm.response.model_name", "llm.model_name", "embedding.model_name", "reranker.model_name"),),
        "request_model": (
            "llm.request.model_name",
            Composed(("llm.invocation_parameters", "embedding.invocation_parameters"), _model_asked),
        ),
        "provider": ("llm.provider", "llm.system"),
        "tool": ("tool.name",),
        "agent": ("agent.name",),
        "tool_call_id": ("tool.id",),
    },
    input=(
        Composed(("llm.input_messages.",), _input_messages),
        Composed(("reranker.query", "reranker.input_documents."), _rerank_input),
        Composed(("embedding.embeddings.",), _embedded_texts),
        "input.value",
        Composed(("llm.prompts.",), _prompts),
        "tool.parameters",
    ),
    output=(
        Composed(("embedding.embeddings.",), _vectors),
        Composed(("llm.output_messages.",), _output_messages),
        Composed(("retrieval.documents.",), _retrieved),
        Composed(("reranker.output_documents.",), _reranked),
        "output.value",
        Composed(("llm.choices.",), _choices),
    ),
    tokens=(
        TokenKeys(
            input=("llm.token_count.prompt",),
            output=("llm.token_count.completion",),
            cached=("llm.token_count.prompt_details.cache_read",),
            cache_write=("llm.token_count.prompt_details.cache_write",),
            reasoning=("llm.token_count.completion_details.reasoning",),
            total=("llm.token_count.total",),
        ),
    ),
    cost=("llm.cost.total", Composed(("llm.cost.prompt", "llm.cost.completion"), _cost_of_parts)),
    extras=(
        ("metadata", metadata_in("metadata")),
        ("tags", tags_in("tag.tags")),
        ("finish_reasons", Composed(("llm.finish_reason",), _finish_reason)),
    ),
)
