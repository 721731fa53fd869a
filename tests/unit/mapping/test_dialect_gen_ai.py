"""OpenTelemetry's GenAI conventions in all their generations, and what OpenLLMetry flattens of them."""

import json
from typing import Any

import pytest

from collector.mapping.dialects.gen_ai import OPERATIONS
from collector.model import KINDS
from tests.unit.mapping.spans import held, row_of

MESSAGES = [{"role": "user", "parts": [{"type": "text", "content": "Zürich tomorrow? ☔"}]}]
ANSWER = [{"role": "assistant", "parts": [{"type": "text", "content": "rain"}], "finish_reason": "stop"}]
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *(("chat", "llm"), ("generate_content", "llm"), ("text_completion", "llm"), ("embeddings", "embedding")),
        *(("execute_tool", "tool"), ("invoke_agent", "agent"), ("create_agent", "agent"), ("invoke_workflow", "chain")),
        *(("retrieval", "retriever"), ("rerank", "reranker"), ("search_memory", "memory"), ("plan", "chain")),
    ],
)
def test_kind_by_operation(operation: str, kind: str) -> None:
    assert row_of({"gen_ai.operation.name": operation}).kind == kind


def test_operations_lead_to_known_kinds() -> None:
    assert set(OPERATIONS.values()) <= KINDS


def test_an_unknown_operation_falls_back_to_evidence() -> None:
    assert row_of({"gen_ai.operation.name": "levitate", "gen_ai.tool.name": "rope"}).kind == "tool"
    assert row_of({"gen_ai.operation.name": "levitate", "gen_ai.request.model": "gpt-4o"}).kind == "llm"
    assert row_of({"gen_ai.operation.name": "levitate"}).kind == "function"


def test_messages_as_json_text_are_moved_unchanged() -> None:
    text = json.dumps(MESSAGES)
    row = row_of({**CHAT, "gen_ai.input.messages": text, "gen_ai.output.messages": json.dumps(ANSWER)})
    assert (row.input, row.input_key) == (text, "gen_ai.input.messages")
    assert held(row.output) == ANSWER
    assert held(row.attributes) == CHAT


def test_messages_as_structures_are_shown_and_stay_attributes() -> None:
    row = row_of({**CHAT, "gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": ANSWER})
    assert (held(row.input), row.input_key) == (MESSAGES, None)
    assert held(row.output) == ANSWER
    assert held(row.attributes)["gen_ai.input.messages"] == MESSAGES


def test_system_instructions_stand_in_front() -> None:
    system = [{"type": "text", "content": "Be brief."}]
    row = row_of(
        {
            **CHAT,
            "gen_ai.system_instructions": json.dumps(system),
            "gen_ai.input.messages": json.dumps(MESSAGES),
        }
    )
    assert held(row.input) == [{"role": "system", "parts": system}, *MESSAGES]
    assert row.input_key is None
    assert "gen_ai.input.messages" in held(row.attributes)


def test_messages_in_span_events() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]
    row = row_of(
        {"gen_ai.system": "openai", "gen_ai.operation.name": "chat"},
        events=[
            ("gen_ai.system.message", {"content": "Be brief."}),
            ("gen_ai.user.message", {"content": "Rain?", "role": "user"}),
            ("gen_ai.tool.message", {"content": '{"sky": "rain"}', "id": "call_1"}),
            ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": json.dumps({"tool_calls": calls})}),
        ],
    )
    assert held(row.input) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {"role": "tool", "content": {"sky": "rain"}, "id": "call_1"},
    ]
    assert held(row.output) == [{"role": "assistant", "tool_calls": calls, "finish_reason": "stop"}]


def test_a_whole_call_in_one_span_event() -> None:
    details = {"gen_ai.input.messages": json.dumps(MESSAGES), "gen_ai.output.messages": ANSWER}
    row = row_of(CHAT, events=[("gen_ai.client.inference.operation.details", details)])
    assert (held(row.input), held(row.output)) == (MESSAGES, ANSWER)


def test_content_events_of_the_first_generation() -> None:
    row = row_of(
        {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"},
        events=[
            ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role": "user", "content": "Rain?"}]'}),
            ("gen_ai.content.completion", {"gen_ai.completion": "[]"}),
        ],
    )
    assert held(row.input) == [{"role": "user", "content": "Rain?"}]
    assert row.output is None


def test_content_on_the_span_beats_events() -> None:
    row = row_of(
        {**CHAT, "gen_ai.input.messages": json.dumps(MESSAGES)}, events=[("gen_ai.user.message", {"content": "other"})]
    )
    assert held(row.input) == MESSAGES


def test_flattened_prompts_of_openllmetry() -> None:
    row = row_of(
        {
            "llm.request.type": "chat",
            "gen_ai.system": "OpenAI",
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": "Rain?",
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": "Be brief.",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.tool_calls.0.name": "get_weather",
            "gen_ai.completion.0.tool_calls.0.arguments": '{"city": "Zürich"}',
            "gen_ai.usage.prompt_tokens": 50,
            "gen_ai.usage.completion_tokens": 67,
            "llm.usage.total_tokens": 117,
        }
    )
    assert (row.kind, row.provider, row.tokens_input, row.tokens_output) == ("llm", "openai", 50, 67)
    assert [message["role"] for message in held(row.input)] == ["system", "user"]
    assert held(row.output)[0]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Zürich"}}]


def test_traceloop_entities_tell_kind_tool_and_content() -> None:
    row = row_of(
        {
            "traceloop.span.kind": "tool",
            "traceloop.entity.name": "get_weather",
            "traceloop.entity.input": '{"args": ["Z\\u00fcrich"], "kwargs": {}}',
            "traceloop.entity.output": '"light rain"',
            "traceloop.association.properties.session_id": "s-1",
            "traceloop.association.properties.user_id": "u-1",
        },
        scope="traceloop.tracer",
    )
    assert (row.kind, row.tool, row.session_id, row.user_id) == ("tool", "get_weather", "s-1", "u-1")
    assert held(row.input) == {"args": ["Zürich"], "kwargs": {}}
    assert (held(row.output), row.output_key) == ("light rain", None)
    assert row_of({"traceloop.span.kind": "workflow"}).kind == "chain"


def test_documents_that_a_vector_database_found_stand_in_events() -> None:
    found = {"db.query.result.id": "d1", "db.query.result.score": 0.9, "db.query.result.document": "30 days"}
    row = row_of({"db.system": "chroma", "db.vector.query.top_k": 3}, events=[("db.query.result", found)])
    assert row.kind == "retriever"
    assert held(row.output) == [{"id": "d1", "score": 0.9, "document": "30 days"}]


def test_models_and_their_facts() -> None:
    row = row_of(
        {
            **CHAT,
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.id": "r-1",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.openai.response.service_tier": "flex",
            "gen_ai.conversation.id": "c-1",
            "session.id": "s-1",
            "gen_ai.agent.name": "clerk",
            "gen_ai.response.time_to_first_chunk": 0.25,
            "gen_ai.usage.cost": 0.002,
        }
    )
    assert (row.model, row.provider, row.session_id) == ("gpt-4o-2024-08-06", "openai", "s-1")
    assert (row.cost_usd, row.cost_source) == (0.002, "sender")
    assert held(row.extra) == {
        "agent": "clerk",
        "response_id": "r-1",
        "service_tier": "flex",
        "finish_reasons": ["stop"],
        "first_token_ms": 250.0,
        "conversation_id": "c-1",
        "request_model": "gpt-4o",
        "dialect": "gen_ai",
    }


def test_a_tool_call() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.call.id": "call_1",
            "gen_ai.tool.call.arguments": '{"city": "Zürich"}',
            "gen_ai.tool.call.result": "light rain",
        }
    )
    assert (row.kind, row.tool, row.model) == ("tool", "get_weather", None)
    assert (held(row.input), held(row.output)) == ({"city": "Zürich"}, "light rain")
    assert (row.input_key, row.output_key) == ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result")


def test_a_tool_whose_error_is_told_beside_an_unset_status() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "error.type": "tool_error"}
    assert (row_of(tool).status, row_of(tool).error_type) == ("error", "tool_error")
    assert row_of(tool, status=1).status == "error"
    assert row_of({**CHAT, "error.type": "timeout"}, status=1).status == "ok"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 100, "output_tokens": 20}, (100, 20, None, None, None)),
        ({"prompt_tokens": 100, "completion_tokens": 20}, (100, 20, None, None, None)),
        ({"input_tokens": 100, "output_tokens": 20, "cache_read.input_tokens": 80}, (100, 20, 80, None, None)),
        ({"input_tokens": 2, "output_tokens": 20, "cache_read_input_tokens": 80}, (82, 20, 80, None, None)),
        (
            {"input_tokens": 90, "output_tokens": 20, "cache_read_input_tokens": 80, "total_tokens": 190},
            (170, 20, 80, None, None),
        ),
        (
            {"input_tokens": 90, "output_tokens": 20, "cache_read_input_tokens": 80, "total_tokens": 110},
            (90, 20, 80, None, None),
        ),
        (
            {"input_tokens": 9, "output_tokens": 20, "cache_write.input_tokens": 8, "reasoning.output_tokens": 5},
            (9, 20, None, 8, 5),
        ),
        ({"input_tokens": "100", "output_tokens": 20.0}, (100, 20, None, None, None)),
        ({"input_tokens": "many", "output_tokens": -1}, (None, None, None, None, None)),
    ],
)
def test_token_counts(usage: dict[str, Any], tokens: tuple[int | None, ...]) -> None:
    row = row_of({**CHAT, **{f"gen_ai.usage.{name}": count for name, count in usage.items()}})
    counts = (row.tokens_input, row.tokens_output, row.tokens_cached, row.tokens_cache_write, row.tokens_reasoning)
    assert counts == tokens


def test_embeddings_show_no_vectors() -> None:
    row = row_of({"gen_ai.operation.name": "embeddings", "gen_ai.output.messages": "[[0.1, 0.2]]"})
    assert (row.kind, row.output, row.output_key) == ("embedding", None, None)
    assert held(row.attributes)["gen_ai.output.messages"] == "[[0.1, 0.2]]"
