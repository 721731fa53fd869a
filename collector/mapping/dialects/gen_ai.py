"""OpenTelemetry's GenAI conventions, all generations from 1.26 on, and the flattened prompts of OpenLLMetry."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.gen_ai_events import event_input, event_output
from collector.mapping.dialects.readers import milliseconds, quoted, tag_list
from collector.mapping.messages import decoded, in_order, rebuild, with_system
from collector.mapping.values import json_text, number

OPERATIONS = {
    **dict.fromkeys(("chat", "generate_content", "text_completion", "completion", "response", "responses"), "llm"),
    **dict.fromkeys(("acompletion", "atext_completion", "aresponses", "anthropic_messages", "fetch_response"), "llm"),
    **dict.fromkeys(
        ("chat.completions", "text.completions", "llm_call", "generate", "stream", "image", "speech"), "llm"
    ),
    **dict.fromkeys(("embeddings", "embedding", "aembedding", "embed"), "embedding"),
    **dict.fromkeys(("execute_tool", "tools/call", "tool_call", "tool"), "tool"),
    **dict.fromkeys(("invoke_agent", "create_agent", "agent_step", "agent", "agent_call"), "agent"),
    **dict.fromkeys(("invoke_workflow", "plan", "workflow", "framework", "chain", "task"), "chain"),
    **dict.fromkeys(("retrieval", "retrieve", "vectordb", "search"), "retriever"),
    **dict.fromkeys(("rerank", "arerank"), "reranker"),
    **dict.fromkeys(("create_memory", "search_memory", "update_memory", "upsert_memory", "delete_memory"), "memory"),
    **dict.fromkeys(("create_memory_store", "delete_memory_store"), "memory"),
    **dict.fromkeys(("apply_guardrail", "guardrail"), "guardrail"),
    **dict.fromkeys(("evaluate", "evaluation"), "evaluator"),
}

PROMPT_FIELDS = frozenset(("name", "version", "variable"))
"""Names below `gen_ai.prompt.` that tell of a template and are no messages."""


def _with_system(view: View) -> str | None:
    found = view.attributes
    messages = with_system(found["gen_ai.system_instructions"], found.get("gen_ai.input.messages"))
    return json_text(messages) if messages else None


def _flattened(view: View, prefix: str) -> list[Any]:
    """`gen_ai.prompt.0.role`, `.content`, `.tool_calls.0.name`…"""
    messages = rebuild(view, prefix, PROMPT_FIELDS)
    for message in messages:
        if isinstance(calls := message.get("tool_calls"), dict):
            message["tool_calls"] = [_call(call) for call in in_order(calls)]
        message["content"] = decoded(message.get("content"))
        if message["content"] is None:
            del message["content"]
    return messages


def _call(call: Any) -> Any:
    return {name: decoded(value) for name, value in call.items()} if isinstance(call, dict) else call


def _flat_input(view: View) -> str | None:
    messages = _flattened(view, "gen_ai.prompt.")
    return json_text(messages) if messages else None


def _flat_output(view: View) -> str | None:
    messages = _flattened(view, "gen_ai.completion.")
    return json_text(messages) if messages else None


def _finish_reasons(view: View) -> list[str] | None:
    return tag_list(view.attributes["gen_ai.response.finish_reasons"])


def _cost(view: View) -> float | None:
    """OpenLIT says 0 of models that it knows no price of."""
    found = number(view.attributes["gen_ai.usage.cost"], "gen_ai.usage.cost", view.notes)
    return None if found == 0 and view.attributes.get("telemetry.sdk.name") == "openlit" else found


def _cost_of_parts(view: View) -> float | None:
    parts = [view.attributes.get(f"gen_ai.usage.{part}_cost") for part in ("input", "output")]
    found = [number(part, "gen_ai.usage.cost", view.notes) for part in parts if part is not None]
    return sum(part for part in found if part is not None)


GEN_AI = Dialect(
    name="gen_ai",
    prefixes=frozenset(("gen_ai",)),
    kinds=(("gen_ai.operation.name", OPERATIONS),),
    evidence=(
        ("gen_ai.tool.name", "tool"),
        ("gen_ai.tool.call.id", "tool"),
        ("gen_ai.retrieval.documents", "retriever"),
        ("gen_ai.request.model", "llm"),
        ("gen_ai.response.model", "llm"),
        ("gen_ai.input.messages", "llm"),
        ("gen_ai.agent.name", "agent"),
        ("gen_ai.workflow.name", "chain"),
    ),
    labels={
        "model": ("gen_ai.response.model",),
        "request_model": ("gen_ai.request.model",),
        "provider": ("gen_ai.provider.name", "gen_ai.system"),
        "tool": ("gen_ai.tool.name",),
        "conversation": ("gen_ai.conversation.id",),
        "agent": ("gen_ai.agent.name",),
        "response_id": ("gen_ai.response.id",),
        "tool_call_id": ("gen_ai.tool.call.id", "gen_ai.tool.call_id"),
        "service_tier": (
            *("gen_ai.response.service_tier", "openai.response.service_tier"),
            "gen_ai.openai.response.service_tier",
        ),
        "user": ("gen_ai.user",),
    },
    input=(
        quoted("gen_ai.tool.call.arguments"),
        "gen_ai.tool.call.arguments",
        Composed(("gen_ai.system_instructions",), _with_system),
        "gen_ai.input.messages",
        "gen_ai.retrieval.query.text",
        "gen_ai.memory.query.text",
        Composed(("",), event_input),
        Composed(("gen_ai.prompt.",), _flat_input),
        "gen_ai.prompt",
    ),
    output=(
        quoted("gen_ai.tool.call.result"),
        "gen_ai.tool.call.result",
        "gen_ai.output.messages",
        "gen_ai.retrieval.documents",
        "gen_ai.memory.records",
        Composed(("",), event_output),
        Composed(("gen_ai.completion.",), _flat_output),
        "gen_ai.completion",
    ),
    tokens=(
        TokenKeys(
            input=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            output=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
            cached=(
                *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
                *("gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.input_cached_tokens"),
                *("gen_ai.usage.details.cache_read_input_tokens", "gen_ai.usage.cached_input_tokens"),
            ),
            cache_write=(
                *("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
                *("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write_input_tokens"),
                *("gen_ai.usage.details.cache_write_tokens", "gen_ai.usage.details.cache_creation_input_tokens"),
            ),
            reasoning=(
                *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
                *("gen_ai.usage.details.reasoning_tokens", "llm.usage.reasoning_tokens"),
            ),
            total=("gen_ai.usage.total_tokens", "llm.usage.total_tokens"),
        ),
    ),
    cost=(
        Composed(("gen_ai.usage.cost",), _cost),
        "gen_ai.usage.total_cost",
        Composed(("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"), _cost_of_parts),
    ),
    extras=(
        ("finish_reasons", Composed(("gen_ai.response.finish_reasons",), _finish_reasons)),
        ("first_token_ms", milliseconds("gen_ai.response.time_to_first_chunk", 1000)),
        ("first_token_ms", milliseconds("gen_ai.client.operation.time_to_first_chunk", 1000)),
    ),
)
