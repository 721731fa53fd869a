"""What frameworks put on the wire when their wrappers repeat their calls, and the sums that a person would get."""

from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from collector.mapping.assemble import assemble
from collector.mapping.steps import map_traces
from collector.model import Facts, Tokens
from tests.unit.mapping.shapes import MS, START_NS, span_id, step_of


class Sent(NamedTuple):
    """One span: its number, its parent's, the scope, the name, begin and end in ms, and its attributes."""

    number: int
    parent: int | None
    scope: str
    name: str
    begin: int
    end: int
    attributes: dict[str, Any] | None = None


def request(*spans: Sent) -> ExportTraceServiceRequest:
    sent = ExportTraceServiceRequest()
    resource = sent.resource_spans.add()
    for each in spans:
        held = ScopeSpans(scope=InstrumentationScope(name=each.scope))
        span = Span(
            trace_id=b"\1" * 16,
            span_id=span_id(each.number),
            parent_span_id=b"" if each.parent is None else span_id(each.parent),
            name=each.name,
            start_time_unix_nano=START_NS + each.begin * MS,
            end_time_unix_nano=START_NS + each.end * MS,
        )
        for key, value in (each.attributes or {}).items():
            span.attributes.add(key=key, value=_any(value))
        held.spans.append(span)
        resource.scope_spans.append(held)
    return sent


def _any(value: Any) -> AnyValue:
    kinds = {str: "string_value", int: "int_value", float: "double_value", bool: "bool_value"}
    return AnyValue(**{kinds[type(value)]: value})


def facts_of(*spans: Sent) -> Facts:
    batch = map_traces(request(*spans), lambda _: 1)
    return assemble([step_of(row) for row in batch.steps], [])[1]


def genai(operation: str, sent: int | None = None, answered: int | None = None, **more: Any) -> dict[str, Any]:
    used = {"gen_ai.usage.input_tokens": sent, "gen_ai.usage.output_tokens": answered}
    named = {"gen_ai.operation.name": operation, "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
    return {**named, **{key: value for key, value in used.items() if value is not None}, **more}


def pydantic_ai_1() -> tuple[Sent, ...]:
    """The agent's run has the sum of its calls under the very names of a call."""
    scope = "pydantic-ai"
    total = {"gen_ai.usage.input_tokens": 300, "gen_ai.usage.output_tokens": 50, "model_name": "gpt-4o"}
    return (
        Sent(1, None, scope, "agent run", 0, 100, {"agent_name": "support", **total}),
        Sent(2, 1, scope, "chat gpt-4o", 1, 40, genai("chat", 100, 20)),
        Sent(3, 1, scope, "running tools", 41, 60),
        Sent(4, 3, scope, "running tool", 42, 59, {"gen_ai.tool.name": "get_weather"}),
        Sent(5, 1, scope, "chat gpt-4o", 61, 99, genai("chat", 200, 30)),
    )


def pydantic_ai_2() -> tuple[Sent, ...]:
    """A name of their own for the sum."""
    total = {"gen_ai.aggregated_usage.input_tokens": 300, "gen_ai.aggregated_usage.output_tokens": 50}
    first, *rest = pydantic_ai_1()
    return first._replace(name="invoke_agent support", attributes=genai("invoke_agent", **total)), *rest


def agent_in_agent() -> tuple[Sent, ...]:
    """A tool that runs an agent: sums of sums."""
    scope = "pydantic-ai"
    return (
        Sent(1, None, scope, "agent run", 0, 300, {"agent_name": "boss", **_usage(180, 18)}),
        Sent(2, 1, scope, "chat gpt-4o", 1, 40, genai("chat", 100, 10)),
        Sent(3, 1, scope, "running tool", 41, 200, {"gen_ai.tool.name": "ask_writer"}),
        Sent(4, 3, scope, "agent run", 42, 199, {"agent_name": "writer", **_usage(80, 8)}),
        Sent(5, 4, scope, "chat gpt-4o", 43, 100, genai("chat", 30, 3)),
        Sent(6, 4, scope, "chat gpt-4o", 101, 198, genai("chat", 50, 5)),
    )


def _usage(sent: int, answered: int) -> dict[str, Any]:
    return {"gen_ai.usage.input_tokens": sent, "gen_ai.usage.output_tokens": answered}


def vercel_old() -> tuple[Sent, ...]:
    """The wrapper has the sum, each call has its numbers under two names."""

    def call(sent: int, answered: int) -> dict[str, Any]:
        both = {"ai.usage.promptTokens": sent, "ai.usage.completionTokens": answered, **_usage(sent, answered)}
        return {
            "ai.operationId": "ai.generateText.doGenerate",
            "gen_ai.system": "openai",
            "ai.model.id": "gpt-4o",
            **both,
        }

    total = {"ai.usage.promptTokens": 300, "ai.usage.completionTokens": 50, "ai.operationId": "ai.generateText"}
    return (
        Sent(1, None, "ai", "ai.generateText", 0, 100, {"ai.model.id": "gpt-4o", **total}),
        Sent(2, 1, "ai", "ai.generateText.doGenerate", 1, 40, call(100, 20)),
        Sent(3, 1, "ai", "ai.toolCall", 41, 60, {"ai.operationId": "ai.toolCall", "ai.toolCall.name": "weather"}),
        Sent(4, 1, "ai", "ai.generateText.doGenerate", 61, 99, call(200, 30)),
    )


def vercel_new() -> tuple[Sent, ...]:
    return (
        Sent(1, None, "gen_ai", "invoke_agent gpt-4o", 0, 100, genai("invoke_agent", 300, 50)),
        Sent(2, 1, "gen_ai", "step 1", 0, 60, genai("agent_step", 100, 20)),
        Sent(3, 2, "gen_ai", "chat gpt-4o", 1, 40, genai("chat", 100, 20)),
        Sent(4, 2, "gen_ai", "execute_tool weather", 41, 60, {"gen_ai.operation.name": "execute_tool"}),
        Sent(5, 1, "gen_ai", "step 2", 60, 99, genai("agent_step", 200, 30)),
        Sent(6, 5, "gen_ai", "chat gpt-4o", 61, 99, genai("chat", 200, 30)),
    )


def strands() -> tuple[Sent, ...]:
    """The agent has the sum, under the old names and the new ones; loops lie between."""
    scope = "strands.telemetry.tracer"

    def both(sent: int, answered: int) -> dict[str, Any]:
        old = {"gen_ai.usage.prompt_tokens": sent, "gen_ai.usage.completion_tokens": answered}
        return {**old, "gen_ai.usage.total_tokens": sent + answered, "gen_ai.system": "strands-agents"}

    return (
        Sent(1, None, scope, "invoke_agent Strands", 0, 100, genai("invoke_agent", 300, 50, **both(300, 50))),
        Sent(2, 1, scope, "execute_event_loop_cycle", 0, 60, {"event_loop.cycle_id": "a"}),
        Sent(3, 2, scope, "chat", 1, 40, genai("chat", 100, 20, **both(100, 20))),
        Sent(4, 2, scope, "execute_tool weather", 41, 60, {"gen_ai.operation.name": "execute_tool"}),
        Sent(5, 2, scope, "execute_event_loop_cycle", 60, 100, {"event_loop.cycle_id": "b"}),
        Sent(6, 5, scope, "chat", 61, 99, genai("chat", 200, 30, **both(200, 30))),
    )


def openinference() -> tuple[Sent, ...]:
    """AGENT and CHAIN repeat what LLM spans below them say."""

    def span(kind: str, sent: int, answered: int) -> dict[str, Any]:
        counts = {"llm.token_count.prompt": sent, "llm.token_count.completion": answered}
        total = {"llm.token_count.total": sent + answered}
        return {
            "openinference.span.kind": kind,
            **counts,
            **total,
            **({"llm.model_name": "gpt-4o"} if kind == "LLM" else {}),
        }

    scope = "openinference.instrumentation.smolagents"
    return (
        Sent(1, None, scope, "CodeAgent.run", 0, 100, span("AGENT", 300, 50)),
        Sent(2, 1, scope, "Step 1", 0, 50, span("CHAIN", 100, 20)),
        Sent(3, 2, scope, "OpenAIServerModel.generate", 1, 40, span("LLM", 100, 20)),
        Sent(4, 1, scope, "Step 2", 50, 99, span("CHAIN", 200, 30)),
        Sent(5, 4, scope, "OpenAIServerModel.generate", 51, 98, span("LLM", 200, 30)),
    )


def openllmetry_above_openai_v2() -> tuple[Sent, ...]:
    """Two instrumentations of one client: one wraps the other, and the HTTP call is below both."""
    reply = {"gen_ai.response.id": "chatcmpl-1", "gen_ai.response.model": "gpt-4o-2024-08-06"}
    outer = {"llm.request.type": "chat", "gen_ai.system": "OpenAI", "llm.usage.total_tokens": 350, **_usage(300, 50)}
    return (
        Sent(1, None, "app", "answer", 0, 100),
        Sent(2, 1, "opentelemetry.instrumentation.openai.v1", "openai.chat", 1, 99, {**outer, **reply}),
        Sent(3, 2, "opentelemetry.instrumentation.openai_v2", "chat gpt-4o", 2, 98, genai("chat", 300, 50, **reply)),
        Sent(4, 3, "opentelemetry.instrumentation.httpx", "POST", 3, 97, {"http.request.method": "POST"}),
    )


def openllmetry_beside_openai_v2() -> tuple[Sent, ...]:
    """The same, where neither is made the other's parent."""
    root, outer, inner, http = openllmetry_above_openai_v2()
    return root, outer, inner._replace(parent=1), http


def langchain_beside_openai() -> tuple[Sent, ...]:
    """A callback handler's span is never current: the client's span lands beside it, without a response id."""
    chat = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-2024-08-06"}
    counts = {"llm.token_count.prompt": 300, "llm.token_count.completion": 50}
    return (
        Sent(
            1,
            None,
            "openinference.instrumentation.langchain",
            "RunnableSequence",
            0,
            900,
            {"openinference.span.kind": "CHAIN"},
        ),
        Sent(2, 1, "openinference.instrumentation.langchain", "ChatOpenAI", 1, 890, {**chat, **counts}),
        Sent(3, 1, "opentelemetry.instrumentation.openai.v1", "openai.chat", 20, 880, genai("chat", 300, 50)),
    )


def litellm_proxy() -> tuple[Sent, ...]:
    """The app's call, the proxy's request below it, and the raw request below that."""
    scope = "litellm"
    used = {"gen_ai.usage.prompt_tokens": 300, "gen_ai.usage.completion_tokens": 50, "gen_ai.usage.total_tokens": 350}
    named = {"gen_ai.request.model": "gpt-4o", "gen_ai.system": "openai", "gen_ai.response.id": "chatcmpl-1"}
    return (
        Sent(1, None, "opentelemetry.instrumentation.openai_v2", "chat gpt-4o", 0, 100, genai("chat", 300, 50)),
        Sent(2, 1, scope, "Received Proxy Server Request", 5, 95, {"http.route": "/chat/completions"}),
        Sent(3, 2, scope, "litellm_request", 10, 90, {**named, **used}),
        Sent(4, 3, scope, "raw_gen_ai_request", 10, 90, {"llm.openai.id": "chatcmpl-1", "llm.openai.model": "gpt-4o"}),
    )


def claude_code() -> tuple[Sent, ...]:
    """The interaction has the sum; input counts leave the cache out."""
    scope = "com.anthropic.claude_code.tracing"

    def counts(plain: int, cached: int, written: int, answered: int) -> dict[str, Any]:
        cache = {"cache_read_tokens": cached, "cache_creation_tokens": written}
        return {"input_tokens": plain, "output_tokens": answered, "model": "claude-sonnet-4-5", **cache}

    return (
        Sent(
            1, None, scope, "claude_code.interaction", 0, 100, {"span.type": "interaction", **counts(30, 200, 70, 50)}
        ),
        Sent(2, 1, scope, "claude_code.llm_request", 1, 40, {"span.type": "llm_request", **counts(10, 40, 50, 20)}),
        Sent(3, 1, scope, "claude_code.tool", 41, 60, {"span.type": "tool", "tool_name": "Bash"}),
        Sent(4, 1, scope, "claude_code.llm_request", 61, 99, {"span.type": "llm_request", **counts(20, 160, 20, 30)}),
    )


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (pydantic_ai_1, (300, 50)),
        (pydantic_ai_2, (300, 50)),
        (agent_in_agent, (180, 18)),
        (vercel_old, (300, 50)),
        (vercel_new, (300, 50)),
        (strands, (300, 50)),
        (openinference, (300, 50)),
        (openllmetry_above_openai_v2, (300, 50)),
        (openllmetry_beside_openai_v2, (300, 50)),
        (langchain_beside_openai, (300, 50)),
        (litellm_proxy, (300, 50)),
        (claude_code, (300, 50)),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_each_call_counts_once(spans: Any, expected: tuple[int, int]) -> None:
    facts = facts_of(*spans())
    tokens = facts.tokens or Tokens()
    assert (tokens.input, tokens.output) == expected
    assert facts.warnings == []


def test_caches_are_part_of_the_input_and_known_apart() -> None:
    assert facts_of(*claude_code()).tokens == Tokens(300, 50, cached=200, cache_write=70)


@pytest.mark.parametrize("spans", [pydantic_ai_1, vercel_old, strands, openinference, claude_code])
def test_the_wrapper_counts_while_its_calls_have_not_come(spans: Any) -> None:
    tokens = facts_of(spans()[0]).tokens or Tokens()
    assert (tokens.input, tokens.output) == (300, 50)


def test_a_call_that_the_wrapper_knows_of_and_that_never_came_is_stated() -> None:
    whole = strands()
    facts = facts_of(*(span for span in whole if span.number != 6))
    assert facts.tokens == Tokens(100, 20)
    assert any("invoke_agent Strands reports 300 input and 50 output tokens" in warning for warning in facts.warnings)
