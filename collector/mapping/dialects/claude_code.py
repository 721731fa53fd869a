"""Claude Code: its spans, and the steps that are made of its log records."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.readers import REDACTED, failed_when, milliseconds, shown, told_error
from collector.mapping.values import Notes, json_text, parse_json, read_attributes

SPAN_TYPES = {
    "interaction": "agent",
    "llm_request": "llm",
    "tool": "tool",
    "tool.execution": "function",
    "tool.blocked_on_user": "other",
    "hook": "function",
}


def _tool_input(view: View) -> str | None:
    """`[TOOL INPUT: Bash]` and then the arguments."""
    value = view.attributes["tool_input"]
    if not isinstance(value, str) or value in ("", REDACTED):
        return None
    head, _, rest = value.partition("\n")
    text = rest if head.startswith("[TOOL INPUT") and rest else value
    arguments = parse_json(text)
    return json_text(text if arguments is None else arguments)


def _request(view: View) -> str | None:
    """The system prompt, where it came, and what is new since the last request."""
    found = view.attributes
    asked = found.get("new_context") or found.get("user_prompt")
    if not isinstance(asked, str) or asked == REDACTED:
        return None
    system = found.get("system_prompt_preview") or found.get("user_system_prompt")
    messages = [{"role": "system", "content": system}] if system else []
    return json_text([*messages, {"role": "user", "content": asked.removeprefix("[USER]\n")}])


def _tool_output(view: View) -> str | None:
    """What a tool gave back stands in an event of its span."""
    for event in view.span.events:
        if event.name == "tool.output":
            fields: dict[str, Any] = read_attributes(event.attributes, Notes())
            if fields:
                return json_text(fields)
    return None


def _answer(view: View) -> str | None:
    value = view.attributes["response.model_output"]
    if not isinstance(value, str) or value in ("", REDACTED):
        return None
    return json_text([{"role": "assistant", "content": value}])


CLAUDE_CODE = Dialect(
    name="claude_code",
    prefixes=frozenset(("span.type",)),
    scopes=("com.anthropic.claude_code", "claude_code"),
    kinds=(("span.type", SPAN_TYPES),),
    names=(
        *(("claude_code.interaction", "agent"), ("claude_code.user_prompt", "agent")),
        *(("claude_code.llm_request", "llm"), ("claude_code.api_", "llm")),
        *(("claude_code.tool.blocked_on_user", "other"), ("claude_code.tool.execution", "function")),
        *(("claude_code.tool", "tool"), ("claude_code.hook", "function")),
    ),
    labels={
        "model": ("model",),
        "tool": ("tool_name",),
        "tool_call_id": ("tool_use_id",),
        "user": ("user.account_uuid", "user.email"),
    },
    input=(
        Composed(("tool_input",), _tool_input),
        Composed(("new_context", "user_prompt"), _request),
        shown("prompt", REDACTED),
        shown("tool_parameters", REDACTED),
        shown("full_command", REDACTED),
        shown("file_path", REDACTED),
    ),
    output=(Composed(("response.model_output",), _answer), Composed(("",), _tool_output)),
    tokens=(
        TokenKeys(
            input=("input_tokens",),
            output=("output_tokens",),
            cached=("cache_read_tokens",),
            cache_write=("cache_creation_tokens",),
            exclusive=True,
        ),
    ),
    cost=("cost_usd",),
    errors=(failed_when("success", (False, "false"), "error"), told_error("error", "status_code")),
    extras=(("first_token_ms", milliseconds("ttft_ms")),),
)
