"""Agent frameworks, gateways and protocols: each with a span or two as it sends them."""

import json
from typing import Any

import pytest

from collector.model import KINDS
from tests.unit.mapping.spans import held, row_of

STRANDS = "strands.telemetry.tracer"
ADK = "gcp.vertex.agent"


def test_strands_model_call_speaks_in_events() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "strands-agents",
            "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.usage.total_tokens": 160,
            "gen_ai.usage.cache_read_input_tokens": 40,
            "gen_ai.usage.cache_write_input_tokens": 10,
            "gen_ai.server.time_to_first_token": 120,
            "gen_ai.event.start_time": "2026-11-22T12:17:34+00:00",
        },
        scope=STRANDS,
        status=1,
        events=[
            ("gen_ai.user.message", {"content": '[{"text": "Rain?"}]'}),
            ("gen_ai.choice", {"finish_reason": "end_turn", "message": '[{"text": "Yes."}]'}),
        ],
    )
    assert (row.kind, row.provider, row.tokens_input, row.tokens_cached, row.status) == ("llm", None, 150, 40, "ok")
    assert held(row.input) == [{"role": "user", "content": [{"text": "Rain?"}]}]
    assert held(row.output) == [{"role": "assistant", "content": [{"text": "Yes."}], "finish_reason": "end_turn"}]
    assert held(row.extra)["first_token_ms"] == 120


@pytest.mark.parametrize(
    "events",
    [
        [
            ("gen_ai.tool.message", {"role": "tool", "content": '{"city": "Bern"}', "id": "t1"}),
            ("gen_ai.choice", {"message": '[{"text": "rain"}]', "id": "t1"}),
        ],
        [
            (
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.input.messages": json.dumps(
                        [{"role": "tool", "parts": [{"type": "tool_call", "name": "w", "arguments": {"city": "Bern"}}]}]
                    )
                },
            ),
            (
                "gen_ai.client.inference.operation.details",
                {
                    "gen_ai.output.messages": json.dumps(
                        [{"role": "tool", "parts": [{"type": "tool_call_response", "response": [{"text": "rain"}]}]}]
                    )
                },
            ),
        ],
    ],
)
def test_strands_tool_shows_arguments_and_result(events: list[Any]) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "w", "gen_ai.tool.status": "success"}
    row = row_of(tool, scope=STRANDS, status=1, events=events)
    assert (row.kind, row.tool, row.status) == ("tool", "w", "ok")
    assert (held(row.input), held(row.output)) == ({"city": "Bern"}, [{"text": "rain"}])
    assert row_of({**tool, "gen_ai.tool.status": "error"}, scope=STRANDS, status=1, events=events).status == "error"
    assert row_of({"event_loop.cycle_id": "1"}, scope=STRANDS, name="execute_event_loop_cycle").kind == "chain"


def test_google_adk_model_call() -> None:
    request = {
        "model": "gemini",
        "config": {"system_instruction": "Be brief."},
        "contents": [{"role": "user", "parts": [{"text": "Rain?"}]}],
    }
    row = row_of(
        {
            "gen_ai.system": ADK,
            "gen_ai.request.model": "gemini-2.5-flash",
            "gcp.vertex.agent.session_id": "s-1",
            "gcp.vertex.agent.llm_request": json.dumps(request),
            "gcp.vertex.agent.llm_response": json.dumps({"content": {"role": "model", "parts": [{"text": "Yes."}]}}),
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 2,
        },
        scope=ADK,
        name="call_llm",
    )
    assert (row.kind, row.provider, row.session_id, row.tokens_input) == ("llm", "gcp.vertex_ai", "s-1", 9)
    assert held(row.input) == [{"role": "system", "content": "Be brief."}, *request["contents"]]
    assert held(row.output) == [{"role": "model", "parts": [{"text": "Yes."}]}]


def test_google_adk_tool_and_its_blanks() -> None:
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "get_weather",
        "gcp.vertex.agent.llm_request": "{}",
        "gcp.vertex.agent.llm_response": "{}",
        "gcp.vertex.agent.tool_call_args": '{"city": "Bern"}',
        "gcp.vertex.agent.tool_response": '{"sky": "rain"}',
    }
    row = row_of(tool, scope=ADK, name="execute_tool get_weather")
    assert (row.kind, row.tool, held(row.input), held(row.output)) == (
        "tool",
        "get_weather",
        {"city": "Bern"},
        {"sky": "rain"},
    )
    blank = row_of(
        {**tool, "gcp.vertex.agent.tool_call_args": "N/A", "gcp.vertex.agent.tool_response": "{}"}, scope=ADK
    )
    assert (blank.input, blank.output) == (None, None)
    assert row_of({}, scope=ADK, name="invocation").kind == "chain"
    assert row_of({}, scope=ADK, name="agent_run [clerk]").kind == "agent"


def test_litellm_tells_cost_and_user() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "acompletion",
            "llm.request.type": "acompletion",
            "gen_ai.system": "azure",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.cost.total_cost": 0.002,
            "gen_ai.response.finish_reasons": '["stop"]',
            "metadata.user_api_key_end_user_id": "u-1",
            "metadata.tenant": "umbrella",
            "hidden_params": "{}",
        },
        scope="litellm",
        name="litellm_request",
    )
    assert (row.kind, row.provider, row.cost_usd, row.user_id) == ("llm", "azure.ai.openai", 0.002, "u-1")
    extra = held(row.extra)
    assert (extra["finish_reasons"], extra["metadata"]["tenant"], extra["dialect"]) == (["stop"], "umbrella", "litellm")


def test_litellm_tools_and_raw_requests() -> None:
    row = row_of(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": '[{"role": "user"}]',
            "gen_ai.output.messages": '[{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}]',
            "gen_ai.completion.0.function_call.name": "get_weather",
            "gen_ai.completion.0.function_call.arguments": '{"city": "Bern"}',
        },
        scope="litellm",
    )
    assert held(row.input) == [{"role": "user"}]
    assert held(row.output)[0]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Bern"}}]
    raw = {"llm.openai.messages": "[{'role': 'user'}]", "llm.openai.choices": '[{"index": 0}]'}
    row = row_of(raw, scope="litellm", name="raw_gen_ai_request")
    assert (row.kind, held(row.input), held(row.output)) == ("llm", "[{'role': 'user'}]", [{"index": 0}])


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("tools/call", "tool"),
        ("prompts/get", "prompt"),
        ("resources/read", "retriever"),
        ("tools/list", "rpc"),
        ("server/discover", "rpc"),
    ],
)
def test_mcp_methods(method: str, kind: str) -> None:
    row = row_of({"mcp.method.name": method, "rpc.system": "jsonrpc", "gen_ai.tool.name": "w"}, kind=3)
    assert row.kind == kind
    assert row.tool == ("w" if kind == "tool" else None)
    assert row_of({"mcp.method.name": "tools/call"}, name="MCP send tools/call w").tool == "w"


def test_claude_code_spans_count_cache_apart() -> None:
    row = row_of(
        {
            "span.type": "llm_request",
            "model": "claude-opus-5",
            "gen_ai.system": "anthropic",
            "input_tokens": 2,
            "output_tokens": 1200,
            "cache_read_tokens": 84562,
            "cache_creation_tokens": 7096,
            "new_context": "[USER]\nfix the test",
            "response.model_output": "Done.",
            "session.id": "s-1",
            "user.account_uuid": "u-1",
            "user.id": "hash",
            "success": True,
        },
        scope="com.anthropic.claude_code.tracing",
        name="claude_code.llm_request",
    )
    assert (row.kind, row.model, row.session_id, row.user_id) == ("llm", "claude-opus-5", "s-1", "u-1")
    assert (row.tokens_input, row.tokens_output, row.tokens_cached, row.tokens_cache_write) == (
        91660,
        1200,
        84562,
        7096,
    )
    assert held(row.input) == [{"role": "user", "content": "fix the test"}]
    assert held(row.output) == [{"role": "assistant", "content": "Done."}]
    assert row.status == "unset"


def test_claude_code_tools_and_prompts() -> None:
    row = row_of(
        {
            "span.type": "tool",
            "tool_name": "Bash",
            "tool_input": '[TOOL INPUT: Bash]\n{"command": "ls"}',
            "success": "false",
            "error": "exit 1",
        },
        events=[("tool.output", {"output": "no such file"})],
    )
    assert (row.kind, row.tool, row.status, row.error_message) == ("tool", "Bash", "error", "exit 1")
    assert (held(row.input), held(row.output)) == ({"command": "ls"}, {"output": "no such file"})
    root = {"span.type": "interaction", "user_prompt": "<REDACTED>"}
    assert (row_of(root).kind, row_of(root).input) == ("agent", None)


def test_genkit_flow_and_model() -> None:
    output = {
        "message": {"role": "model", "content": [{"text": "Yes."}]},
        "usage": {"inputTokens": 9, "outputTokens": 2},
    }
    row = row_of(
        {
            "genkit:type": "action",
            "genkit:metadata:subtype": "model",
            "genkit:name": "googleai/gemini-2.5-flash",
            "genkit:input": '{"messages": [{"role": "user", "content": [{"text": "Rain?"}]}]}',
            "genkit:output": json.dumps(output),
        },
        scope="genkit-tracer",
    )
    assert (row.kind, row.model, row.tokens_input, row.tokens_output) == ("llm", "gemini-2.5-flash", 9, 2)
    assert held(row.output) == output
    flow = row_of(
        {"genkit:type": "action", "genkit:metadata:subtype": "flow", "genkit:output": '"Yes."', "genkit:state": "error"}
    )
    assert (flow.kind, held(flow.output), flow.status) == ("chain", "Yes.", "error")


def test_haystack_components_by_their_class() -> None:
    replies = {
        "replies": [
            {"role": "assistant", "meta": {"model": "gpt-4o", "usage": {"prompt_tokens": 9, "completion_tokens": 2}}}
        ]
    }
    row = row_of(
        {
            "haystack.component.name": "llm",
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.input": '{"messages": []}',
            "haystack.component.output": json.dumps(replies),
        },
        name="haystack.component.run",
    )
    assert (row.kind, row.model, row.tokens_input, row.tokens_output) == ("llm", "gpt-4o", 9, 2)
    assert row_of({"haystack.component.type": "InMemoryBM25Retriever"}).kind == "retriever"
    assert row_of({"haystack.pipeline.input_data": "{}"}, name="haystack.pipeline.run").kind == "chain"


def test_livekit_tool_that_failed() -> None:
    row = row_of(
        {
            "lk.function_tool.name": "get_weather",
            "lk.pii.function_tool.arguments": '{"city": "Bern"}',
            "lk.pii.function_tool.output": "no such city",
            "lk.function_tool.is_error": True,
        },
        scope="livekit-agents",
        name="function_tool",
    )
    assert (row.kind, row.tool, row.status, held(row.input)) == ("tool", "get_weather", "error", {"city": "Bern"})
    assert row_of({}, scope="livekit-agents", name="agent_session").kind == "agent"


SDK_SPANS: list[tuple[dict[str, Any], str, Any, Any]] = [
    (
        {"lmnr.span.type": "LLM", "lmnr.span.input": '[{"role": "user"}]', "lmnr.span.output": '"Yes."'},
        "llm",
        [{"role": "user"}],
        "Yes.",
    ),
    (
        {
            "braintrust.span_attributes": '{"type": "tool"}',
            "braintrust.input_json": '{"a": 1}',
            "braintrust.output_json": '"x"',
        },
        "tool",
        {"a": 1},
        "x",
    ),
    (
        {
            "langwatch.span.type": "rag",
            "langwatch.input": '{"type": "text", "value": "Rain?"}',
            "langwatch.output": '{"type": "json", "value": [1]}',
        },
        "retriever",
        "Rain?",
        [1],
    ),
    (
        {"agentops.span.kind": "agent", "agentops.entity.input": "Rain?", "agentops.entity.output": "Yes."},
        "agent",
        "Rain?",
        "Yes.",
    ),
    ({"langtrace.service.type": "llm", "llm.prompts": '[{"role": "user"}]'}, "llm", [{"role": "user"}], None),
    (
        {
            "mastra.span.type": "workflow_step",
            "mastra.workflow_step.input": '{"a": 1}',
            "mastra.workflow_step.output": '"x"',
        },
        "chain",
        {"a": 1},
        "x",
    ),
    (
        {"spring.ai.kind": "tool_call", "spring.ai.tool.call.arguments": '{"a": 1}', "spring.ai.tool.call.result": "x"},
        "tool",
        {"a": 1},
        "x",
    ),
]


@pytest.mark.parametrize(("attributes", "kind", "sent", "answered"), SDK_SPANS)
def test_small_dialects(attributes: dict[str, Any], kind: str, sent: Any, answered: Any) -> None:
    row = row_of(attributes)
    assert (row.kind, held(row.input), held(row.output)) == (kind, sent, answered)
    assert kind in KINDS


def test_pipecat_services() -> None:
    row = row_of(
        {"input": '[{"role": "user", "content": "Rain?"}]', "output": "Yes.", "metrics.ttfb": 0.2},
        scope="pipecat",
        name="llm",
    )
    assert (row.kind, held(row.input), held(row.output)) == ("llm", [{"role": "user", "content": "Rain?"}], "Yes.")
    assert held(row.extra)["first_token_ms"] == 200


def test_xray_attributes_win() -> None:
    row = row_of(
        {
            "xray.step.input": "asked",
            "xray.step.output": '{"films": 3}',
            "xray.execution.id": "order-7",
            "xray.execution.metadata": '{"tenant": "umbrella"}',
            "xray.execution.outcome": "three films",
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": "[]",
            "input.value": "other",
        }
    )
    assert (row.kind, held(row.input), held(row.output)) == ("llm", "asked", {"films": 3})
    extra = held(row.extra)
    assert extra["execution_id"] == "order-7"
    assert (extra["metadata"], extra["outcome"]) == ({"tenant": "umbrella"}, "three films")
    assert row_of({"xray.step.input": "x"}).kind == "function"
    assert row_of({"xray.step.kind": "guardrail"}).kind == "guardrail"
    odd = row_of({"xray.execution.metadata": "no object", "xray.execution.outcome": 7})
    assert (odd.warnings, held(odd.extra)) == (None, {"dialect": "xray", "metadata": "no object", "outcome": 7})
