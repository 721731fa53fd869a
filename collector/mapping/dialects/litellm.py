"""LiteLLM: GenAI and OpenLLMetry names, with its own for cost, keys and errors."""

from collector.mapping.dialects.dialect import Dialect
from collector.mapping.dialects.readers import metadata_below

LITELLM = Dialect(
    name="litellm",
    prefixes=frozenset(("hidden_params", "gen_ai.cost", "metadata.user_api_key_hash")),
    scopes=("litellm",),
    names=(("litellm_request", "llm"), ("raw_gen_ai_request", "llm"), ("Received Proxy Server Request", "http")),
    labels={
        "user": ("metadata.user_api_key_end_user_id", "metadata.user_api_key_user_id", "llm.user"),
        "session": ("metadata.session_id", "metadata.litellm_session_id"),
    },
    cost=("gen_ai.cost.total_cost", "llm.response_cost"),
    extras=(("metadata", metadata_below("metadata.")),),
)
