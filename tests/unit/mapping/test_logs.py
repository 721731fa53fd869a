"""Log records: what belongs to a trace, and coding agents that only log."""

from typing import Any

import pytest

from collector.mapping.assemble import assemble
from tests.unit.mapping.shapes import record_of, step_of
from tests.unit.mapping.spans import MS, START_NS, TRACE_ID, held, log, logged

SPAN_ID = bytes(7) + b"\x01"


def test_a_record_of_a_step() -> None:
    batch = logged(
        log(
            "gen_ai.user.message", {"content": "Rain?"}, {"gen_ai.system": "openai"}, trace_id=TRACE_ID, span_id=SPAN_ID
        )
    )
    [row] = batch.records
    assert (row.project_id, row.trace_id, row.span_id, row.time_ns) == (1, TRACE_ID, SPAN_ID, START_NS)
    assert (row.event_name, row.severity, held(row.body)) == ("gen_ai.user.message", 9, {"content": "Rain?"})
    assert held(row.attributes) == {"gen_ai.system": "openai"}
    assert (1, row.origin_id) in batch.origins
    assert (batch.steps, row.warnings) == ([], None)


def test_the_same_record_has_the_same_id() -> None:
    made = [log("a", "b", {"c": 1}, trace_id=TRACE_ID) for _ in range(2)]
    assert logged(made[0]).records == logged(made[1]).records
    other = log("a", "b", {"c": 2}, trace_id=TRACE_ID)
    assert logged(other).records[0].record_id != logged(made[0]).records[0].record_id


def test_names_times_and_ids_that_are_missing() -> None:
    [row] = logged(
        log(
            None,
            None,
            {"event.name": "gen_ai.choice"},
            trace_id=TRACE_ID,
            span_id=b"\x01",
            time_unix_nano=0,
            observed_time_unix_nano=7,
        )
    ).records
    assert (row.event_name, row.span_id, row.time_ns, row.body) == ("gen_ai.choice", b"", 7, None)
    [row] = logged(log(None, "", trace_id=TRACE_ID, time_unix_nano=2**64 - 1)).records
    assert (row.body, row.time_ns) == ('""', 2**63 - 1)


def test_nul_in_a_record() -> None:
    [row] = logged(log("n\x00", "b\x00", {"k\x00": "v\x00"}, trace_id=TRACE_ID, dropped_attributes_count=2)).records
    assert (row.event_name, held(row.body), held(row.attributes)) == ("n\ufffd", "b\ufffd", {"k\ufffd": "v\ufffd"})
    assert len(held(row.warnings)) == 2


def test_a_record_of_nobody_is_not_kept() -> None:
    batch = logged(log(None, "starting"), log("app.event", "x", {"session.id": "s"}))
    assert (batch.steps, batch.records, batch.origins, batch.refusals) == ([], [], {}, [])


def claude(event: str, at_ms: int = 0, **attributes: Any) -> Any:
    known = {"event.name": event, "session.id": "s-1", "prompt.id": "p-1", "user.account_uuid": "u-1"}
    return log(None, f"claude_code.{event}", {**known, **attributes}, time_unix_nano=START_NS + at_ms * MS)


CLAUDE = [
    claude("user_prompt", prompt="fix the test", prompt_length=12),
    claude(
        "api_request",
        900,
        model="claude-opus-5",
        input_tokens=2,
        output_tokens=50,
        cache_read_tokens=80,
        cache_creation_tokens=8,
        cost_usd=0.05,
        duration_ms=800,
    ),
    claude("tool_decision", 950, tool_name="Bash", decision="accept"),
    claude(
        "tool_result",
        1000,
        tool_name="Bash",
        success="false",
        error="exit 1",
        duration_ms="40",
        tool_parameters='{"bash_command": "ls"}',
    ),
    claude("api_error", 1500, model="claude-opus-5", error="overloaded", status_code="529", duration_ms=100),
]


def test_claude_code_that_only_logs() -> None:
    batch = logged(*CLAUDE, scope="com.anthropic.claude_code.events")
    prompt, call, tool, failed = batch.steps
    assert len({row.trace_id for row in (*batch.steps, *batch.records)}) == 1
    assert (prompt.kind, prompt.name, held(prompt.input), prompt.parent_span_id) == (
        "agent",
        "claude_code.user_prompt",
        "fix the test",
        None,
    )
    assert {row.parent_span_id for row in (call, tool, failed)} == {prompt.span_id}
    assert (call.kind, call.model, call.tokens_input, call.tokens_cached, call.tokens_cache_write) == (
        "llm",
        "claude-opus-5",
        90,
        80,
        8,
    )
    assert (call.cost_usd, call.start_ns, call.duration_ns) == (0.05, START_NS + 100 * MS, 800 * MS)
    assert (tool.kind, tool.tool, tool.status, tool.error_message, tool.duration_ns) == (
        "tool",
        "Bash",
        "error",
        "exit 1",
        40 * MS,
    )
    assert held(tool.input) == {"bash_command": "ls"}
    assert (failed.kind, failed.status, failed.error_type, failed.error_message) == (
        "llm",
        "error",
        "529",
        "overloaded",
    )
    assert {row.session_id for row in batch.steps} == {"s-1"}
    assert {row.user_id for row in batch.steps} == {"u-1"}
    [decision] = batch.records
    assert (decision.span_id, held(decision.attributes)["decision"]) == (prompt.span_id, "accept")


def test_agents_steps_do_not_depend_on_order_or_batches() -> None:
    whole = logged(*CLAUDE)
    for made in CLAUDE:
        alone = logged(made)
        assert set(alone.steps) <= set(whole.steps)
        assert set(alone.records) <= set(whole.records)
    assert sorted(logged(*reversed(CLAUDE)).steps) == sorted(whole.steps)


def test_agents_execution_is_named_and_summed() -> None:
    batch = logged(*CLAUDE)
    steps, facts = assemble([step_of(row) for row in batch.steps], [record_of(row) for row in batch.records])
    assert (facts.name, facts.session_id, facts.user_id, len(steps)) == ("claude_code.user_prompt", "s-1", "u-1", 4)
    assert facts.tokens is not None
    assert (facts.tokens.input, facts.tokens.output, facts.cost_usd) == (90, 50, 0.05)


def test_other_prompts_are_other_executions() -> None:
    first, second = (logged(claude("user_prompt", **{"prompt.id": name})).steps[0] for name in ("p-1", "p-2"))
    assert first.trace_id != second.trace_id


def test_codex() -> None:
    def codex(event: str, **attributes: Any) -> Any:
        return log(
            None, None, {"event.name": f"codex.{event}", "conversation.id": "c-1", "model": "gpt-5", **attributes}
        )

    batch = logged(
        codex("conversation_starts", provider_name="openai"),
        codex("user_prompt", prompt="fix the test", prompt_length="12"),
        codex("sse_event", **{"event.kind": "response.output_item.done", "duration_ms": "3"}),
        codex(
            "sse_event",
            **{
                "event.kind": "response.completed",
                "input_token_count": 90,
                "output_token_count": 50,
                "cached_token_count": 80,
                "reasoning_token_count": 5,
            },
        ),
        codex(
            "tool_result",
            tool_name="shell",
            call_id="t1",
            arguments='{"cmd": "ls"}',
            output="ok",
            success="true",
            duration_ms="7",
        ),
    )
    start, prompt, call, tool = batch.steps
    assert [row.kind for row in batch.steps] == ["agent", "agent", "llm", "tool"]
    assert (held(prompt.input), prompt.parent_span_id, prompt.session_id) == ("fix the test", start.span_id, "c-1")
    assert (call.model, call.tokens_input, call.tokens_output, call.tokens_cached, call.tokens_reasoning) == (
        "gpt-5",
        90,
        50,
        80,
        5,
    )
    assert (tool.tool, held(tool.input), held(tool.output), tool.status, tool.duration_ns) == (
        "shell",
        {"cmd": "ls"},
        "ok",
        "unset",
        7 * MS,
    )
    assert len(batch.records) == 1


@pytest.mark.parametrize("cli", ["gemini_cli", "qwen-code"])
def test_gemini_cli_and_its_fork(cli: str) -> None:
    def gemini(event: str, **attributes: Any) -> Any:
        return log(
            None, "text", {"event.name": f"{cli}.{event}", "session.id": "s-1", "prompt_id": "p-1", **attributes}
        )

    batch = logged(
        gemini("user_prompt", prompt="fix the test"),
        gemini(
            "api_response",
            model="gemini-2.5-pro",
            input_token_count=90,
            output_token_count=50,
            cached_content_token_count=80,
            thoughts_token_count=5,
            response_text="Done.",
            duration_ms=100,
        ),
        gemini(
            "tool_call",
            function_name="shell",
            function_args='{"cmd": "ls"}',
            success=False,
            error="exit 1",
            error_type="unhandled",
            duration_ms=7,
        ),
        gemini("config", model="gemini-2.5-pro"),
    )
    prompt, call, tool = batch.steps
    assert [row.kind for row in batch.steps] == ["agent", "llm", "tool"]
    assert (call.tokens_input, call.tokens_output, call.tokens_cached, call.tokens_reasoning) == (90, 55, 80, 5)
    assert (held(call.output), call.parent_span_id) == ("Done.", prompt.span_id)
    assert (tool.tool, tool.status, tool.error_type, tool.error_message) == ("shell", "error", "unhandled", "exit 1")
    assert held(prompt.attributes)["log.body"] == "text"
    assert len(batch.records) == 1


def test_agents_that_trace_keep_their_own_trace() -> None:
    made = claude("api_request", model="m")
    made.trace_id, made.span_id = TRACE_ID, SPAN_ID
    batch = logged(made)
    assert (batch.steps, [row.span_id for row in batch.records]) == ([], [SPAN_ID])


def test_an_agents_record_without_an_id_belongs_nowhere() -> None:
    batch = logged(log(None, "claude_code.api_request", {"event.name": "api_request", "model": "m"}))
    assert (batch.steps, batch.records) == ([], [])


@pytest.mark.parametrize("duration", [-5, "x", 1e30, "1e400", float("nan"), [1], True])
def test_durations_that_are_none(duration: Any) -> None:
    [row] = logged(claude("api_request", duration_ms=duration)).steps
    assert row.duration_ns == 0
    assert row.start_ns == START_NS
