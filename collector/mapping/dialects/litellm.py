"""LiteLLM: GenAI and OpenLLMetry names, with its own for cost, keys, tool calls and the provider's raw request."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import ending, metadata_below
from collector.mapping.messages import as_list, decoded, rebuild
from collector.mapping.values import json_text


def _with_calls(view: View) -> str | None:
    """The answer with the tools that it asks for, which stand beside it."""
    called = [item["function_call"] for item in rebuild(view, "gen_ai.completion.") if "function_call" in item]
    if not called:
        return None
    calls = [{name: decoded(value) for name, value in call.items()} for call in called if isinstance(call, dict)]
    messages = as_list(view.attributes.get("gen_ai.output.messages"))
    first = messages[0] if messages and isinstance(messages[0], dict) else {"role": "assistant"}
    return json_text([{**first, "tool_calls": calls}, *messages[1:]])


def _raw_model(view: View) -> str | None:
    """`llm.openai.model`, whatever the provider."""
    named = (value for key, value in view.attributes.items() if key.startswith("llm.") and key.endswith(".model"))
    return next((value for value in named if isinstance(value, str)), None)


LITELLM = Dialect(
    name="litellm",
    prefixes=frozenset(("hidden_params", "gen_ai.cost", "metadata.user_api_key_hash", "litellm")),
    scopes=("litellm",),
    names=(("litellm_request", "llm"), ("raw_gen_ai_request", "llm"), ("Received Proxy Server Request", "http")),
    labels={
        "request_model": ("gen_ai.request.model", Composed(("llm.",), _raw_model)),
        "user": ("metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id", "llm.user"),
        "session": ("metadata.session_id", "metadata.litellm_session_id"),
    },
    input=(ending("llm.", ".messages"), ending("llm.", ".input")),
    output=(Composed(("gen_ai.completion.",), _with_calls), ending("llm.", ".choices"), ending("llm.", ".output")),
    cost=("gen_ai.cost.total_cost", "llm.response_cost"),
    extras=(("metadata", metadata_below("metadata.")),),
)
