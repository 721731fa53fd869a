"""LiveKit Agents: `lk.*` around a voice conversation, beside GenAI names."""

from collector.mapping.dialects.dialect import Dialect
from collector.mapping.dialects.readers import failed_when, milliseconds

LIVEKIT = Dialect(
    name="livekit",
    prefixes=frozenset(("lk",)),
    scopes=("livekit-agents",),
    evidence=(
        *(("lk.function_tool.name", "tool"), ("lk.pii.chat_ctx", "llm"), ("lk.chat_ctx", "llm")),
        *(("lk.pii.input_text", "function"), ("lk.input_text", "function")),
    ),
    names=(
        *(("agent_session", "agent"), ("agent_turn", "agent"), ("user_turn", "chain"), ("llm_", "llm")),
        *(("function_tool", "tool"), ("tts_", "function"), ("stt_", "function"), ("job_entrypoint", "chain")),
    ),
    labels={
        "tool": ("lk.function_tool.name",),
        "tool_call_id": ("lk.function_tool.id",),
        "agent": ("lk.agent_name", "lk.agent_label"),
        "session": ("lk.job_id",),
        "user": ("lk.pii.participant_identity", "lk.participant_identity"),
    },
    input=(
        *("lk.pii.function_tool.arguments", "lk.function_tool.arguments", "lk.pii.chat_ctx", "lk.chat_ctx"),
        *("lk.pii.user_input", "lk.user_input", "lk.pii.input_text", "lk.input_text"),
    ),
    output=(
        *("lk.pii.function_tool.output", "lk.function_tool.output", "lk.pii.response.text", "lk.response.text"),
        *("lk.pii.response.function_calls", "lk.response.function_calls", "lk.pii.user_transcript"),
        "lk.user_transcript",
    ),
    errors=(failed_when("lk.function_tool.is_error", (True, "true")),),
    extras=(("first_token_ms", milliseconds("lk.response.ttft", 1000)),),
)
