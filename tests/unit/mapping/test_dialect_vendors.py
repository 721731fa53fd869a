"""OpenInference, Vercel AI SDK, Langfuse, MLflow, LangSmith, Logfire: what their users and SDKs set."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.mapping.spans import START_NS, held, row_of

EACH_KIND = ("llm", "chain", "tool", "agent", "retriever", "embedding", "reranker", "guardrail", "evaluator", "prompt")


@pytest.mark.parametrize("kind", EACH_KIND)
def test_openinference_kinds(kind: str) -> None:
    assert row_of({"openinference.span.kind": kind.upper()}).kind == kind


def test_openinference_messages_are_rebuilt_in_order() -> None:
    row = row_of(
        {
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.model_name": "gpt-4o",
            "input.value": '{"messages": []}',
            "llm.input_messages.2.message.role": "user",
            "llm.input_messages.2.message.contents.0.message_content.type": "text",
            "llm.input_messages.2.message.contents.0.message_content.text": "Rain?",
            "llm.input_messages.1.message.role": "system",
            "llm.input_messages.1.message.content": "Be brief.",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.tool_calls.0.tool_call.id": "c1",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "get_weather",
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": "Bern"}',
            "llm.token_count.prompt": 50,
            "llm.token_count.completion": 7,
            "llm.token_count.prompt_details.cache_read": 10,
            "llm.cost.total": 0.01,
            "metadata": '{"tenant": "umbrella"}',
            "tag.tags": ["beta"],
            "session.id": "s",
            "user.id": "u",
        },
        scope="openinference.instrumentation.openai",
    )
    assert held(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "parts": [{"type": "text", "text": "Rain?"}]},
    ]
    assert held(row.output)[0]["tool_calls"] == [{"id": "c1", "name": "get_weather", "arguments": {"city": "Bern"}}]
    assert (row.model, row.provider, row.tokens_input, row.tokens_cached, row.cost_usd) == (
        "gpt-4o",
        "openai",
        50,
        10,
        0.01,
    )
    assert (row.session_id, row.user_id) == ("s", "u")
    assert held(row.extra) == {"metadata": {"tenant": "umbrella"}, "tags": ["beta"], "dialect": "openinference"}


def test_openinference_documents_are_the_output_of_a_retriever() -> None:
    row = row_of(
        {
            "openinference.span.kind": "RETRIEVER",
            "input.value": "refunds",
            "retrieval.documents.0.document.id": "d0",
            "retrieval.documents.0.document.content": "30 days",
            "retrieval.documents.0.document.score": 0.5,
            "retrieval.documents.0.document.metadata": '{"page": 2}',
        }
    )
    assert held(row.input) == "refunds"
    assert held(row.output) == [{"id": "d0", "content": "30 days", "score": 0.5, "metadata": {"page": 2}}]


def test_openinference_reranker_and_embeddings() -> None:
    row = row_of(
        {
            "openinference.span.kind": "RERANKER",
            "reranker.query": "refunds",
            "reranker.input_documents.0.document.content": "a",
            "reranker.output_documents.0.document.content": "a",
        }
    )
    assert held(row.input) == {"query": "refunds", "documents": [{"content": "a"}]}
    assert held(row.output) == [{"content": "a"}]
    vectors = {f"embedding.embeddings.{i}.embedding.vector": [0.1, 0.2] for i in range(3)}
    texts = {f"embedding.embeddings.{i}.embedding.text": f"t{i}" for i in range(3)}
    row = row_of({"openinference.span.kind": "EMBEDDING", "output.value": "[[0.1]]", **vectors, **texts})
    assert (held(row.input), held(row.output)) == (["t0", "t1", "t2"], {"vectors": 3, "dimensions": 2})


def test_openinference_without_a_kind_is_told_by_what_is_there() -> None:
    assert row_of({"llm.model_name": "gpt-4o"}).kind == "llm"
    assert row_of({"tool.name": "t", "tool.parameters": '{"a": 1}'}).kind == "tool"


def test_vercel_call_with_tools() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Rain?"}]}]
    calls = [{"toolCallId": "1", "toolName": "getWeather", "args": "{}"}]
    row = row_of(
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "operation.name": "ai.generateText.doGenerate support",
            "ai.model.id": "gpt-4o",
            "ai.model.provider": "openai.chat",
            "ai.prompt.messages": json.dumps(messages),
            "ai.response.text": "",
            "ai.response.toolCalls": json.dumps(calls),
            "ai.response.finishReason": "tool-calls",
            "ai.usage.promptTokens": 50,
            "ai.usage.completionTokens": 7,
            "gen_ai.usage.input_tokens": 51,
            "gen_ai.usage.output_tokens": 8,
            "ai.telemetry.metadata.sessionId": "s-1",
            "ai.telemetry.metadata.userId": "u-1",
            "ai.telemetry.functionId": "support",
        },
        scope="ai",
    )
    assert (row.kind, row.model, row.provider) == ("llm", "gpt-4o", "openai")
    assert (row.tokens_input, row.tokens_output) == (50, 7)
    assert (held(row.input), row.input_key) == (messages, "ai.prompt.messages")
    assert held(row.output) == {"role": "assistant", "tool_calls": calls}
    assert (row.session_id, row.user_id, held(row.extra)["agent"]) == ("s-1", "u-1", "support")


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *(("ai.generateText", "chain"), ("ai.streamText.doStream", "llm"), ("ai.toolCall", "tool")),
        *(("ai.embed.doEmbed", "embedding"), ("ai.embedMany", "chain"), ("ai.streamObject.doStream", "llm")),
    ],
)
def test_vercel_kinds(operation: str, kind: str) -> None:
    assert row_of({"ai.operationId": operation}).kind == kind
    assert row_of({"ai.model.id": "gpt-4o", "operation.name": f"{operation} my-function"}).kind == kind


def test_vercel_tools_and_values() -> None:
    row = row_of(
        {
            "ai.operationId": "ai.toolCall",
            "ai.toolCall.name": "w",
            "ai.toolCall.args": '{"a":1}',
            "ai.toolCall.result": '"rain"',
        }
    )
    assert (row.tool, held(row.input), held(row.output)) == ("w", {"a": 1}, "rain")
    row = row_of({"ai.operationId": "ai.embed.doEmbed", "ai.values": ['"a"', '"b"'], "ai.usage.tokens": 4})
    assert (held(row.input), row.tokens_input) == (["a", "b"], 4)


def test_vercel_cache_counts_of_anthropic_stand_beside_the_input() -> None:
    usage = {"cache_read_input_tokens": 30, "cache_creation_input_tokens": 5}
    metadata = {"anthropic": {"usage": usage | {"cache_creation": {"ephemeral_1h_input_tokens": 4}}}}
    row = row_of(
        {
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.usage.inputTokens": 100,
            "ai.usage.outputTokens": 7,
            "ai.response.providerMetadata": json.dumps(metadata),
        }
    )
    assert (row.tokens_input, row.tokens_cached, row.tokens_cache_write) == (135, 30, 5)
    assert held(row.extra)["cache_write_1h"] == 4


def langfuse(**facts: Any) -> dict[str, Any]:
    return {f"langfuse.{name.replace('__', '.')}": value for name, value in facts.items()}


def test_langfuse_generation() -> None:
    row = row_of(
        langfuse(
            observation__type="generation",
            observation__input='[{"role": "user", "content": "Rain?"}]',
            observation__output="Yes.",
            observation__usage_details='{"input": 50, "output": 7, "input_cached_tokens": 10, "total": 57}',
            observation__cost_details='{"input": 0.01, "output": 0.02}',
            trace__name="support",
            trace__tags=["beta"],
            trace__metadata__tenant="umbrella",
            environment="staging",
        )
        | {"langfuse.observation.model.name": "gpt-4o", "user.id": "u-1", "session.id": "s-1"},
        scope="langfuse-sdk",
    )
    assert (row.kind, row.model, row.session_id, row.user_id) == ("llm", "gpt-4o", "s-1", "u-1")
    assert (row.tokens_input, row.tokens_output, row.tokens_cached) == (50, 7, 10)
    assert row.cost_usd == pytest.approx(0.03)
    assert held(row.output) == "Yes."
    extra = held(row.extra)
    assert (extra["tags"], extra["metadata"], extra["environment"]) == (["beta"], {"tenant": "umbrella"}, "staging")
    assert extra["label"] == "support"


def test_langfuse_error_level_and_types() -> None:
    row = row_of(langfuse(observation__type="tool", observation__level="ERROR", observation__status_message="no stock"))
    assert (row.kind, row.status, row.error_message, row.tool) == ("tool", "error", "no stock", "step")
    assert row_of(langfuse(observation__type="span")).kind == "chain"
    assert row_of(langfuse(observation__type="span") | {"gen_ai.operation.name": "invoke_agent"}).kind == "agent"


def test_mlflow_scalars_come_quoted() -> None:
    row = row_of(
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.spanInputs": '{"messages": [{"role": "user", "content": "Rain?"}]}',
            "mlflow.spanOutputs": '"Yes."',
            "mlflow.llm.model": '"gpt-4o"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 50, "output_tokens": 7, "total_tokens": 57}',
            "mlflow.trace.session": '"s-1"',
        }
    )
    assert (row.kind, row.model, row.tokens_input, row.tokens_output) == ("llm", "gpt-4o", 50, 7)
    assert held(row.input)["messages"][0]["content"] == "Rain?"
    assert (held(row.output), row.session_id) == ("Yes.", "s-1")
    assert (
        row_of({"mlflow.spanType": "TOOL", "mlflow.spanInputs": {"city": "Bern"}}, name="get_weather").tool
        == "get_weather"
    )


def test_langsmith_runs() -> None:
    row = row_of(
        {
            "langsmith.span.kind": "retriever",
            "gen_ai.operation.name": "embeddings",
            "gen_ai.system": "langchain",
            "gen_ai.prompt": '{"query": "refunds"}',
            "gen_ai.completion": '{"documents": [{"page_content": "30 days"}]}',
            "langsmith.span.tags": "beta, eu",
            "langsmith.metadata.user_id": "u-1",
            "langsmith.metadata.thread_id": "t-1",
        },
        scope="langsmith",
    )
    assert (row.kind, row.user_id, row.session_id, row.provider) == ("retriever", "u-1", "t-1", None)
    assert held(row.input) == {"query": "refunds"}
    assert held(row.output) == {"documents": [{"page_content": "30 days"}]}
    assert held(row.extra)["tags"] == ["beta", "eu"]


def test_logfire_names_logs_and_pending_spans() -> None:
    row = row_of(
        {
            "logfire.msg": "batch for umbrella",
            "logfire.msg_template": "batch for {tenant}",
            "logfire.span_type": "span",
        },
        name="batch for {tenant}",
        scope="logfire",
    )
    assert (row.name, held(row.extra)["label"]) == ("batch for {tenant}", "batch for umbrella")
    assert row_of({"logfire.span_type": "log", "logfire.level_num": 17, "logfire.msg": "no"}).status == "error"
    assert row_of({"logfire.span_type": "log", "logfire.level_num": 9}).status == "unset"
    pending = row_of({"logfire.span_type": "pending_span", "logfire.pending_parent_id": "00000000000000aa"})
    assert held(pending.extra)["pending_parent_id"] == "00000000000000aa"


def test_pydantic_ai_agents_show_what_they_were_asked() -> None:
    question = {"role": "user", "parts": [{"type": "text", "content": "Rain?"}]}
    called = {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "w", "arguments": "{}"}]}
    returned = {"role": "user", "parts": [{"type": "tool_call_response", "id": "1", "response": "rain"}]}
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]}
    agent = {"gen_ai.operation.name": "invoke_agent", "agent_name": "clerk", "model_name": "gpt-4o"}
    row = row_of({**agent, "pydantic_ai.all_messages": json.dumps([question, called, returned, answer])})
    assert (row.kind, held(row.input), held(row.output)) == ("agent", [question], [answer])
    unfinished = row_of({**agent, "pydantic_ai.all_messages": json.dumps([question, called])})
    assert (held(unfinished.input), unfinished.output) == ([question], None)


def test_langfuse_tells_the_first_token_as_a_time() -> None:
    start = datetime.fromtimestamp(START_NS // 10**9, UTC)
    row = row_of({"langfuse.observation.completion_start_time": f'"{(start + timedelta(seconds=1)).isoformat()}"'})
    assert held(row.extra)["first_token_ms"] == pytest.approx(876.5, abs=0.1)


@pytest.mark.parametrize("cost", [1e64, "9" * 100, -1])
def test_a_cost_that_no_call_can_have_is_left_out(cost: Any) -> None:
    row = row_of({"openinference.span.kind": "LLM", "llm.cost.total": cost})
    assert row.cost_usd is None
    assert any("cost" in warning for warning in held(row.warnings))
