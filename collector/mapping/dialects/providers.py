"""One spelling of each provider's name: the well-known values of OpenTelemetry, where there is one."""

SPELLINGS = {
    "openai": ("openai", "openai.chat", "openai.responses", "openai.completion", "openai.embedding"),
    "anthropic": ("anthropic", "anthropic.messages"),
    "azure.ai.openai": ("azure.ai.openai", "az.ai.openai", "azure", "azure-openai", "azure_openai", "azure.openai"),
    "azure.ai.inference": ("azure.ai.inference", "az.ai.inference", "azure_ai"),
    "aws.bedrock": ("aws.bedrock", "aws", "bedrock", "amazon-bedrock", "amazon", "bedrock_converse", "aws_bedrock"),
    "gcp.gemini": ("gcp.gemini", "gemini", "google.generative-ai", "google_genai"),
    "gcp.vertex_ai": ("gcp.vertex_ai", "vertex_ai", "vertexai", "google_vertexai", "gcp.vertex.agent"),
    "gcp.gen_ai": ("gcp.gen_ai", "google", "google.genai"),
    "mistral_ai": ("mistral_ai", "mistralai", "mistral.chat", "mistral"),
    "x_ai": ("x_ai", "xai", "xai.chat"),
    "moonshot_ai": ("moonshot_ai", "moonshot", "moonshotai"),
    "ibm.watsonx.ai": ("ibm.watsonx.ai", "watsonx"),
    "together_ai": ("together_ai", "togetherai", "together"),
    "fireworks": ("fireworks", "fireworks_ai"),
    "hugging_face": ("hugging_face", "huggingface"),
}
FRAMEWORKS = frozenset(
    (
        *(
            "langchain",
            "langgraph",
            "llamaindex",
            "llama_index",
            "dspy",
            "crewai",
            "autogen",
            "ag2",
            "agno",
            "haystack",
        ),
        *("smolagents", "semantic_kernel", "strands-agents", "microsoft.agent_framework", "unknown"),
    )
)
"""What stands in the provider's place where a framework does not know it."""
PROVIDERS = {seen: ours for ours, all_seen in SPELLINGS.items() for seen in all_seen}
STARTS = {"azure-openai.": "azure.ai.openai", "google.vertex.": "gcp.vertex_ai", "google.generative-ai.": "gcp.gemini"}


def one_spelling(provider: str) -> str | None:
    """Our name of a provider; an unknown one keeps its own."""
    lower = provider.lower()
    if lower in FRAMEWORKS:
        return None
    if lower in PROVIDERS:
        return PROVIDERS[lower]
    for start, ours in STARTS.items():
        if lower.startswith(start):
            return ours
    first = lower.partition(".")[0]
    return PROVIDERS.get(first, lower) if lower.endswith((".chat", ".messages", ".responses", ".embedding")) else lower
