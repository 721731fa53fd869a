"""Vercel AI SDK, `ai.*` spans; its newer spans speak GenAI."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.readers import metadata_below, milliseconds, parsed, quoted, tags_in
from collector.mapping.token_counts import tokens_of
from collector.mapping.values import count, json_text
from collector.model import Tokens

OPERATIONS = {
    **{f"ai.{name}": "chain" for name in ("generateText", "streamText", "generateObject", "streamObject")},
    **{f"ai.{name}": "chain" for name in ("embed", "embedMany", "rerank")},
    **{f"ai.{name}.doGenerate": "llm" for name in ("generateText", "generateObject")},
    **{f"ai.{name}.doStream": "llm" for name in ("streamText", "streamObject")},
    **{f"ai.{name}.doEmbed": "embedding" for name in ("embed", "embedMany")},
    "ai.rerank.doRerank": "reranker",
    "ai.toolCall": "tool",
}


def operation_kind(value: str) -> str | None:
    """By the operation's id, which may be followed by the name of the user's function."""
    return OPERATIONS.get(value.partition(" ")[0])


def _answer(view: View) -> str | None:
    """An answer that is more than text: with its tool calls and reasoning."""
    found, message = view.attributes, {"role": "assistant"}
    for key, name in (("text", "content"), ("reasoning", "reasoning"), ("toolCalls", "tool_calls")):
        value = found.get(f"ai.response.{key}") or found.get(f"ai.result.{key}")
        if value not in (None, "", "[]"):
            message[name] = parsed(value) if key == "toolCalls" else value
    return json_text(message) if len(message) > (2 if "content" in message else 1) else None


def _values(view: View) -> str | None:
    values = view.attributes["ai.values"]
    return json_text([parsed(value) for value in values]) if isinstance(values, list) else None


def _value(view: View) -> str | None:
    value = parsed(view.attributes["ai.value"])
    return json_text(value) if isinstance(value, str) and value else None


def _provider_tokens(view: View) -> Tokens | None:
    """Counts whose cached part only the provider's own metadata tells."""
    found = view.attributes
    metadata = parsed(found["ai.response.providerMetadata"])
    sent = found.get("ai.usage.inputTokens", found.get("ai.usage.promptTokens"))
    if not isinstance(metadata, dict) or "ai.usage.inputTokenDetails.cacheReadTokens" in found or sent is None:
        return None
    usage: dict[str, Any] = {
        "input": sent,
        "output": found.get("ai.usage.outputTokens", found.get("ai.usage.completionTokens")),
        "total": found.get("ai.usage.totalTokens"),
        "reasoning_tokens": found.get("ai.usage.reasoningTokens"),
    }
    own = {name: part for name, part in metadata.items() if isinstance(part, dict)}
    if "anthropic" in own:
        usage |= _cache(own["anthropic"], own["anthropic"].get("usage"))
        return tokens_of(usage, view.notes, exclusive=True)
    if "bedrock" in own:
        usage |= _cache(own["bedrock"], own["bedrock"].get("usage"))
        return tokens_of(usage, view.notes, exclusive=True)
    if "openai" in own:
        usage["cached_tokens"] = own["openai"].get("cachedPromptTokens", found.get("ai.usage.cachedInputTokens"))
        return tokens_of(usage, view.notes)
    return None


def _cache(*maps: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in maps:
        if isinstance(each, dict):
            found["cache_read_input_tokens"] = each.get("cache_read_input_tokens", each.get("cacheReadInputTokens"))
            written = each.get("cache_creation_input_tokens", each.get("cacheCreationInputTokens"))
            found["cache_creation_input_tokens"] = each.get("cacheWriteInputTokens", written)
    return {name: value for name, value in found.items() if value is not None}


def _kept_for_an_hour(view: View) -> int | None:
    """Anthropic's dearer cache, which a price table tells apart."""
    metadata = parsed(view.attributes["ai.response.providerMetadata"])
    found: Any = metadata
    for key in ("anthropic", "usage", "cache_creation", "ephemeral_1h_input_tokens"):
        found = found.get(key) if isinstance(found, dict) else None
    return count(found, "ephemeral_1h_input_tokens", view.notes) or None


def _finish_reasons(view: View) -> list[str] | None:
    reason = view.attributes.get("ai.response.finishReason") or view.attributes.get("ai.finishReason")
    return [reason] if isinstance(reason, str) else None


VERCEL = Dialect(
    name="vercel",
    prefixes=frozenset(
        (
            *("ai.operationId", "ai.model", "ai.prompt", "ai.response", "ai.usage", "ai.toolCall", "ai.telemetry"),
            *("ai.settings", "ai.value", "ai.values", "ai.result", "ai.embedding"),
        )
    ),
    kinds=(("ai.operationId", operation_kind), ("operation.name", operation_kind)),
    evidence=(("ai.toolCall.name", "tool"),),
    labels={
        "model": ("ai.response.model",),
        "request_model": ("ai.model.id",),
        "provider": ("ai.model.provider",),
        "tool": ("ai.toolCall.name",),
        "tool_call_id": ("ai.toolCall.id",),
        "response_id": ("ai.response.id",),
        "agent": ("ai.telemetry.functionId",),
        "session": ("ai.telemetry.metadata.sessionId", "ai.telemetry.metadata.session_id"),
        "conversation": (
            *("ai.telemetry.metadata.conversationId", "ai.telemetry.metadata.threadId", "ai.telemetry.metadata.chatId"),
        ),
        "user": ("ai.telemetry.metadata.userId", "ai.telemetry.metadata.user_id"),
    },
    input=(
        "ai.toolCall.args",
        "ai.toolCall.input",
        "ai.prompt.messages",
        "ai.prompt",
        Composed(("ai.value",), _value),
        Composed(("ai.values",), _values),
    ),
    output=(
        quoted("ai.toolCall.result"),
        "ai.toolCall.result",
        "ai.toolCall.output",
        Composed(("ai.response.toolCalls", "ai.response.reasoning", "ai.result.toolCalls"), _answer),
        "ai.response.text",
        "ai.response.object",
        "ai.result.text",
        "ai.result.object",
    ),
    tokens=(
        Composed(("ai.response.providerMetadata",), _provider_tokens),
        TokenKeys(
            input=("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
            output=("ai.usage.outputTokens", "ai.usage.completionTokens"),
            cached=("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
            cache_write=("ai.usage.inputTokenDetails.cacheWriteTokens",),
            reasoning=("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
            total=("ai.usage.totalTokens",),
        ),
    ),
    extras=(
        ("finish_reasons", Composed(("ai.response.finishReason", "ai.finishReason"), _finish_reasons)),
        ("first_token_ms", milliseconds("ai.response.msToFirstChunk")),
        ("cache_write_1h", Composed(("ai.response.providerMetadata",), _kept_for_an_hour)),
        ("tags", tags_in("ai.telemetry.metadata.tags")),
        ("metadata", metadata_below("ai.telemetry.metadata.")),
    ),
)
