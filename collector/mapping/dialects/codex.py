"""OpenAI Codex: the steps that are made of its log records."""

from collector.mapping.dialects.dialect import Dialect, TokenKeys
from collector.mapping.dialects.readers import REDACTED, failed_when, shown, told_error

CODEX = Dialect(
    name="codex",
    scopes=("codex",),
    names=(
        *(("codex.conversation_starts", "agent"), ("codex.user_prompt", "agent"), ("codex.sse_event", "llm")),
        ("codex.tool_result", "tool"),
    ),
    labels={
        "request_model": ("model",),
        "conversation": ("conversation.id",),
        "tool": ("tool_name",),
        "tool_call_id": ("call_id",),
        "user": ("user.account_id", "user.email"),
    },
    input=(shown("prompt", REDACTED, "[REDACTED]"), shown("arguments")),
    output=(shown("output"),),
    tokens=(
        TokenKeys(
            input=("input_token_count",),
            output=("output_token_count",),
            cached=("cached_token_count",),
            reasoning=("reasoning_token_count",),
        ),
    ),
    errors=(failed_when("success", (False, "false"), "output"), told_error("error.message")),
)
