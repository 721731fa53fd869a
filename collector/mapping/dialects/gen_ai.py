"""OpenTelemetry's GenAI conventions, all generations from 1.26 on."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.messages import Event, carries_messages, conversation, with_system
from collector.mapping.values import json_text, read_attributes

OPERATIONS = {
    **dict.fromkeys(("chat", "generate_content", "text_completion", "completion", "response", "responses"), "llm"),
    **dict.fromkeys(("embeddings", "embedding"), "embedding"),
    **dict.fromkeys(("execute_tool", "tools/call"), "tool"),
    **dict.fromkeys(("invoke_agent", "create_agent", "agent_step"), "agent"),
    **dict.fromkeys(("invoke_workflow", "plan"), "chain"),
    **dict.fromkeys(("retrieval", "retrieve"), "retriever"),
    "rerank": "reranker",
    **dict.fromkeys(
        (
            *("create_memory", "search_memory", "update_memory", "upsert_memory", "delete_memory"),
            *("create_memory_store", "delete_memory_store"),
        ),
        "memory",
    ),
}


def _with_system(view: View) -> str | None:
    found = view.attributes
    messages = with_system(found["gen_ai.system_instructions"], found.get("gen_ai.input.messages"))
    return json_text(messages) if messages else None


def event_messages(view: View) -> tuple[list[Any], list[Any]]:
    """What the span's own events tell of a conversation."""
    events = [event for event in view.span.events if carries_messages(event.name)]
    return conversation(Event(event.name, read_attributes(event.attributes, view.notes)) for event in events)


def _event_input(view: View) -> str | None:
    if not view.span.events:
        return None
    sent = event_messages(view)[0]
    return json_text(sent) if sent else None


def _event_output(view: View) -> str | None:
    if not view.span.events:
        return None
    answered = event_messages(view)[1]
    return json_text(answered) if answered else None


def _finish_reasons(view: View) -> list[str] | None:
    value = view.attributes["gen_ai.response.finish_reasons"]
    reasons = value if isinstance(value, list) else [value]
    return [reason for reason in reasons if isinstance(reason, str)] or None


def _first_token_ms(view: View) -> float | None:
    value = view.attributes["gen_ai.response.time_to_first_chunk"]
    return value * 1000 if isinstance(value, float) else None


GEN_AI = Dialect(
    name="gen_ai",
    prefixes=frozenset(("gen_ai",)),
    kinds=(("gen_ai.operation.name", OPERATIONS),),
    evidence=(
        ("gen_ai.tool.name", "tool"),
        ("gen_ai.tool.call.id", "tool"),
        ("gen_ai.request.model", "llm"),
        ("gen_ai.response.model", "llm"),
        ("gen_ai.agent.name", "agent"),
    ),
    labels={
        "model": ("gen_ai.response.model",),
        "request_model": ("gen_ai.request.model",),
        "provider": ("gen_ai.provider.name", "gen_ai.system"),
        "tool": ("gen_ai.tool.name",),
        "conversation": ("gen_ai.conversation.id",),
        "agent": ("gen_ai.agent.name",),
        "response_id": ("gen_ai.response.id",),
        "tool_call_id": ("gen_ai.tool.call.id",),
        "service_tier": (
            *("gen_ai.response.service_tier", "openai.response.service_tier"),
            "gen_ai.openai.response.service_tier",
        ),
        "user": ("gen_ai.user",),
    },
    input=(
        "gen_ai.tool.call.arguments",
        Composed(("gen_ai.system_instructions",), _with_system),
        "gen_ai.input.messages",
        "gen_ai.retrieval.query.text",
        Composed(("",), _event_input),
        "gen_ai.prompt",
    ),
    output=(
        "gen_ai.tool.call.result",
        "gen_ai.output.messages",
        "gen_ai.retrieval.documents",
        Composed(("",), _event_output),
        "gen_ai.completion",
    ),
    tokens=(
        TokenKeys(
            input=("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            output=("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
            cached=(
                *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
                "gen_ai.usage.details.cache_read_tokens",
            ),
            cache_write=(
                *("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
                *("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.details.cache_write_tokens"),
            ),
            reasoning=(
                *("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
                *("gen_ai.usage.details.reasoning_tokens", "llm.usage.reasoning_tokens"),
            ),
        ),
    ),
    cost=("gen_ai.usage.cost",),
    extras=(
        ("finish_reasons", Composed(("gen_ai.response.finish_reasons",), _finish_reasons)),
        ("first_token_ms", Composed(("gen_ai.response.time_to_first_chunk",), _first_token_ms)),
    ),
)
