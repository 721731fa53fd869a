"""Spans as the newest releases of emitters were seen to send them, where that was not what their pages say."""

import json
from typing import Any

import pytest

from tests.unit.mapping.spans import held, row_of

META = {"model": "gpt-4o-mini", "usage": {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}}
RAN = [{"role": "assistant", "meta": META, "content": [{"tool_call": {"tool_name": "w", "arguments": {}, "id": "c1"}}]}]


def test_haystack_agents_tell_of_their_model_and_tools() -> None:
    asked = {"messages": [{"role": "user", "meta": {}, "name": None, "content": [{"text": "Rain?"}]}], "tools": []}
    row = row_of(
        {
            "haystack.agent.step.llm.input": json.dumps(asked),
            "haystack.agent.step.llm.output": json.dumps({"replies": RAN}),
        },
        name="haystack.agent.step.llm",
    )
    assert (row.kind, row.model, row.tokens_input, row.tokens_output) == ("llm", "gpt-4o-mini", 50, 10)
    assert held(row.input) == [{"role": "user", "content": "Rain?"}]
    assert held(row.output) == [{"role": "assistant", "tool_calls": [{"id": "c1", "name": "w", "arguments": {}}]}]
    row = row_of(
        {
            "haystack.tool.name": "w",
            "haystack.agent.step.tool.input": '{"city": "Bern"}',
            "haystack.agent.step.tool.output": "dry",
        },
        name="haystack.agent.step.tool",
    )
    assert (row.kind, row.tool, held(row.input), held(row.output)) == ("tool", "w", {"city": "Bern"}, "dry")


def test_haystack_embedders_count_and_show_no_vectors() -> None:
    answer = {"embedding": [0.1, 0.2], "meta": {"model": "small", "usage": {"prompt_tokens": 5, "total_tokens": 5}}}
    row = row_of(
        {
            "haystack.component.type": "OpenAITextEmbedder",
            "haystack.component.name": "embedder",
            "haystack.component.output": json.dumps(answer),
        },
        name="haystack.component.run",
    )
    assert (row.kind, row.model, row.tokens_input) == ("embedding", "small", 5)
    assert held(row.output) == {"vectors": 1, "dimensions": 2}
    assert held(row.extra)["label"] == "embedder"


@pytest.mark.parametrize(
    "wire",
    [
        {"http.request.method": "POST", "url.full": "https://api.anthropic.com/v1/messages"},
        {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "Converse"},
    ],
)
def test_a_model_call_was_not_asked_its_url(wire: dict[str, Any]) -> None:
    row = row_of({"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude", **wire})
    assert (row.kind, row.input, row.output) == ("llm", None, None)


def test_openinference_parts_that_only_announce_a_tool_call_are_left_out() -> None:
    start = "llm.output_messages.0.message"
    row = row_of(
        {
            "openinference.span.kind": "LLM",
            f"{start}.role": "assistant",
            f"{start}.contents.0.message_content.type": "tool_use",
            f"{start}.tool_calls.0.tool_call.function.name": "w",
        }
    )
    assert held(row.output) == [{"role": "assistant", "tool_calls": [{"name": "w"}]}]


LANGFUSE = {"input": 30, "input_cache_read": 20, "output": 6, "output_reasoning": 4, "total": 60}
LANGSMITH = {
    "gen_ai.usage.input_tokens": 50,
    "gen_ai.usage.output_tokens": 10,
    "langsmith.metadata.usage_metadata": json.dumps(
        {
            "input_tokens": 50,
            "output_tokens": 10,
            "total_tokens": 60,
            "input_token_details": {"cache_read": 20},
            "output_token_details": {"reasoning": 4},
        }
    ),
}


@pytest.mark.parametrize("sent", [{"langfuse.observation.usage_details": json.dumps(LANGFUSE)}, LANGSMITH])
def test_the_same_call_counts_the_same_through_langfuse_and_langsmith(sent: dict[str, Any]) -> None:
    row = row_of(sent)
    found = (row.tokens_input, row.tokens_output, row.tokens_cached, row.tokens_reasoning)
    assert found == (50, 10, 20, 4)


def test_langsmith_tags_without_langchains_own() -> None:
    assert held(row_of({"langsmith.span.tags": "beta, seq:step:2, graph:step:1"}).extra)["tags"] == ["beta"]


def agents_span(template: str, **more: Any) -> dict[str, Any]:
    return {"logfire.msg_template": template, "logfire.span_type": "span", "gen_ai.system": "openai", **more}


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        *(("OpenAI Agents trace: {name}", "chain"), ("Task: {name}", "chain"), ("Turn {turn} for agent a", "chain")),
        *(("Agent run: {name!r}", "agent"), ("Guardrail {name!r} {triggered=}", "guardrail")),
    ],
)
def test_openai_agents_through_logfire(template: str, kind: str) -> None:
    assert row_of(agents_span(template, name="a")).kind == kind


def test_openai_agents_functions_and_answers_through_logfire() -> None:
    row = row_of(agents_span("Function: {name}", name="w", input='{"city": "Bern"}', output="dry"))
    assert (row.kind, row.tool, held(row.input), held(row.output)) == ("tool", "w", {"city": "Bern"}, "dry")
    events = [
        {"event.name": "gen_ai.user.message", "role": "user", "content": "Rain?"},
        {"event.name": "gen_ai.assistant.message", "role": "assistant", "content": "No."},
    ]
    row = row_of({"gen_ai.operation.name": "chat", "events": json.dumps(events)}, scope="logfire.openai_agents")
    assert held(row.input) == [{"role": "user", "content": "Rain?"}]
    assert held(row.output) == [{"role": "assistant", "content": "No."}]


def test_openai_through_logfire_of_both_generations() -> None:
    messages = [{"role": "user", "content": "Rain?"}]
    old = {
        "request_data": json.dumps({"model": "gpt-4o", "messages": messages}),
        "response_data": json.dumps({"message": {"role": "assistant", "content": "No."}, "usage": {}}),
    }
    row = row_of({**old, "gen_ai.operation.name": "chat"})
    assert (held(row.input), held(row.output)) == (messages, [{"role": "assistant", "content": "No."}])
    new = {"request_data": '{"model": "gpt-4o"}', "gen_ai.operation.name": "chat"}
    assert held(row_of({**new, "gen_ai.input.messages": json.dumps(messages)}).input) == messages
    assert row_of(new).input is None


def test_crews_tell_their_tasks_results_and_sums() -> None:
    used = "{'prompt_tokens': 100, 'cached_prompt_tokens': 40, 'completion_tokens': 20, 'total_tokens': 120}"
    crew = {"crewai.crew.result": "Dry.", "crewai.crew.usage_metrics": used, "crewai.crew.name": "weather"}
    row = row_of({**crew, "gen_ai.operation.name": "invoke_agent"})
    assert (held(row.output), row.tokens_input, row.tokens_output, row.tokens_cached) == ("Dry.", 100, 20, 40)
    assert held(row_of({"crewai.task.id": "1", "crewai.task.description": "Rain?"}).input) == "Rain?"


FOUND = [("db.query.result", {"db.query.result.id": "a", "db.query.result.document": "Bern is dry"})]


@pytest.mark.parametrize(
    "searched",
    [
        {"db.system": "chroma", "db.operation": "query", "db.chroma.query.n_results": 2},
        {"db.system": "Qdrant", "qdrant.search.collection_name": "docs"},
        {"db.system": "Pinecone", "pinecone.query.top_k": 2},
        {"db.system": "Milvus", "db.milvus.search.limit": 2},
    ],
)
def test_searches_of_vector_databases_are_retrievers(searched: dict[str, Any]) -> None:
    row = row_of(searched, events=FOUND)
    assert (row.kind, held(row.output)) == ("retriever", [{"id": "a", "document": "Bern is dry"}])
    assert row_of({"db.system": "chroma", "db.chroma.add.ids_count": 2}).kind == "db"


def test_names_of_prompts_are_no_messages() -> None:
    row = row_of({"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "ask", "gen_ai.prompt.variable.city": "Bern"})
    assert (row.kind, row.input, row.warnings) == ("prompt", None, None)


def test_openlit_speaks_in_texts_and_knows_no_price() -> None:
    asked = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "user: Rain?", "telemetry.sdk.name": "openlit"}
    told = {"gen_ai.completion": "", "gen_ai.tool.name": "w", "gen_ai.tool.call.id": "c1", "gen_ai.tool.args": "{}"}
    row = row_of({**asked, **told, "gen_ai.usage.cost": 0}, scope="openlit.otel.tracing")
    call = {"id": "c1", "name": "w", "arguments": {}}
    assert (row.kind, held(row.input), row.cost_usd) == ("llm", "user: Rain?", None)
    assert held(row.output) == [{"role": "assistant", "tool_calls": [call]}]
    assert row_of({}, scope="openlit.otel.tracing", name="chat gpt-4o").kind == "llm"
    assert row_of({"gen_ai.usage.cost": 0, "gen_ai.operation.name": "chat"}).cost_usd == 0


@pytest.mark.parametrize("key", ["gen_ai.tool.call.result", "ai.toolCall.result"])
def test_results_that_come_quoted_twice(key: str) -> None:
    assert held(row_of({key: '"dry"'}).output) == "dry"


def test_langwatch_names_the_thread_and_user_in_its_metadata() -> None:
    row = row_of({"langwatch.span.type": "span", "metadata": '{"user_id": "ann", "thread_id": "t1"}'})
    assert (row.session_id, row.user_id) == ("t1", "ann")


@pytest.mark.parametrize(("written", "provider"), [("openai", "openai"), ("gemini", "gcp.gemini"), ("langchain", None)])
def test_mlflow_names_the_provider_by_its_messages(written: str, provider: str | None) -> None:
    row = row_of({"mlflow.spanType": '"CHAT_MODEL"', "mlflow.message.format": f'"{written}"'})
    assert (row.kind, row.provider) == ("llm", provider)
