"""OpenInference (Arize): lists flattened into indexed names, values with a MIME type beside them."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.messages import in_order, rebuild
from collector.mapping.values import is_structure, json_text, number, parse_json

KINDS = {
    **{kind: kind for kind in ("llm", "chain", "tool", "agent", "retriever", "embedding", "reranker", "guardrail")},
    **{kind: kind for kind in ("evaluator", "prompt", "memory")},
    "decision": "chain",
}


def _messages(view: View, prefix: str) -> str | None:
    """Messages of an LLM call; other spans that repeat them show the value that they were given."""
    if view.kind != "llm":
        return None
    found = [_message(item.get("message", item)) for item in rebuild(view.attributes, prefix)]
    found = [message for message in found if message]
    return json_text(found) if found else None


def _message(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        return {}
    message = {name: value for name, value in raw.items() if name not in ("contents", "tool_calls")}
    if contents := [_part(item) for item in in_order(raw.get("contents"))]:
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
    found = [item.get("document", item) for item in rebuild(view.attributes, prefix)]
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
    found = [item.get("embedding", {}) for item in rebuild(view.attributes, "embedding.embeddings.")]
    texts = [item["text"] for item in found if isinstance(item, dict) and "text" in item]
    return json_text(texts) if texts else None


def _vectors(view: View) -> str | None:
    """How many vectors of what length came out, instead of their numbers."""
    found = [item.get("embedding", {}) for item in rebuild(view.attributes, "embedding.embeddings.")]
    vectors = [item["vector"] for item in found if isinstance(item, dict) and isinstance(item.get("vector"), list)]
    return json_text({"vectors": len(vectors), "dimensions": len(vectors[0])}) if vectors else None


def _prompts(view: View) -> str | None:
    found = [item.get("prompt", item) for item in rebuild(view.attributes, "llm.prompts.")]
    return json_text(found) if found else None


def _choices(view: View) -> str | None:
    found = [item.get("completion", item) for item in rebuild(view.attributes, "llm.choices.")]
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


def _metadata(view: View) -> str | None:
    value = view.attributes["metadata"]
    if isinstance(value, dict):
        return json_text(value)
    return value if isinstance(value, str) and value[:1] == "{" and is_structure(value) else None


def tag_list(value: Any) -> list[str] | None:
    """Tags from an array or from a text that holds one."""
    if isinstance(value, str) and value[:1] == "[":
        value = parse_json(value)
    return [tag for tag in value if isinstance(tag, str)] or None if isinstance(value, list) else None


def _tags(view: View) -> list[str] | None:
    return tag_list(view.attributes["tag.tags"])


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
            *("openinference", "input", "output", "llm", "retrieval", "reranker", "embedding", "tool", "graph"),
            *("prompt", "metadata", "tag", "agent"),
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
        "request_model": ("llm.request.model_name",),
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
        ),
    ),
    cost=("llm.cost.total", Composed(("llm.cost.prompt", "llm.cost.completion"), _cost_of_parts)),
    extras=(
        ("request_model", Composed(("llm.invocation_parameters", "embedding.invocation_parameters"), _model_asked)),
        ("metadata", Composed(("metadata",), _metadata)),
        ("tags", Composed(("tag.tags",), _tags)),
        ("finish_reasons", Composed(("llm.finish_reason",), _finish_reason)),
    ),
)
