"""SDKs of observability products and frameworks that each need a few lines only."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import ending, member_of, metadata_in, milliseconds, parsed, quoted, token_map
from collector.mapping.values import json_text

COMMON = {
    **{kind: kind for kind in ("llm", "tool", "chain", "agent", "retriever", "embedding", "reranker", "guardrail")},
    "evaluator": "evaluator",
    "evaluation": "evaluator",
    "prompt": "prompt",
    "memory": "memory",
    "rag": "retriever",
    "workflow": "chain",
    "task": "chain",
    "component": "chain",
    "module": "chain",
    "operation": "chain",
    "score": "evaluator",
    "eval": "evaluator",
    "framework": "chain",
    "vectordb": "retriever",
    "session": "agent",
}
MASTRA = {
    "agent_run": "agent",
    "workflow_run": "chain",
    "workflow_step": "chain",
    "processor_run": "chain",
    "model_generation": "llm",
    "llm_generation": "llm",
    "model_inference": "llm",
    "model_step": "chain",
    "model_chunk": "other",
    "tool_call": "tool",
    "mcp_tool_call": "tool",
}


def _value_of(key: str) -> Composed:
    """A value wrapped with its type: {"type": "text", "value": …}."""

    def read(view: View) -> str | None:
        wrapped = parsed(view.attributes[key])
        value: Any = wrapped.get("value") if isinstance(wrapped, dict) and "type" in wrapped else wrapped
        return None if value in (None, "") else json_text(value)

    return Composed((key,), read)


def _type_of(value: str) -> str | None:
    attributes = parsed(value)
    return COMMON.get(str(attributes.get("type"))) if isinstance(attributes, dict) else None


LAMINAR = Dialect(
    name="laminar",
    prefixes=frozenset(("lmnr",)),
    kinds=(("lmnr.span.type", COMMON | {"default": "chain", "executor": "chain"}),),
    labels={
        "session": ("lmnr.association.properties.session_id",),
        "user": ("lmnr.association.properties.user_id",),
    },
    input=(quoted("lmnr.span.input"), "lmnr.span.input"),
    output=(quoted("lmnr.span.output"), "lmnr.span.output"),
)
BRAINTRUST = Dialect(
    name="braintrust",
    prefixes=frozenset(("braintrust",)),
    kinds=(("braintrust.span_attributes", _type_of),),
    input=(quoted("braintrust.input_json"), "braintrust.input_json", "braintrust.input"),
    output=(quoted("braintrust.output_json"), "braintrust.output_json", "braintrust.output"),
    tokens=(token_map("braintrust.metrics"),),
    extras=(("metadata", metadata_in("braintrust.metadata")),),
)
LANGWATCH = Dialect(
    name="langwatch",
    prefixes=frozenset(("langwatch",)),
    kinds=(("langwatch.span.type", COMMON),),
    labels={
        "conversation": ("langwatch.thread.id", member_of("metadata", "thread_id")),
        "user": ("langwatch.user.id", member_of("metadata", "user_id")),
    },
    input=(_value_of("langwatch.input"),),
    output=(_value_of("langwatch.output"),),
    extras=(("metadata", metadata_in("metadata")),),
)
AGENTOPS = Dialect(
    name="agentops",
    prefixes=frozenset(("agentops",)),
    kinds=(("agentops.span.kind", COMMON), ("agentops.entity.type", COMMON)),
    labels={"tool": ("tool.name",)},
    input=(quoted("agentops.entity.input"), "agentops.entity.input"),
    output=(quoted("agentops.entity.output"), "agentops.entity.output"),
)
LANGTRACE = Dialect(
    name="langtrace",
    prefixes=frozenset(("langtrace",)),
    kinds=(("langtrace.service.type", COMMON),),
    input=("llm.prompts",),
    output=("llm.completions", "llm.responses"),
)
MASTRA_AI = Dialect(
    name="mastra",
    prefixes=frozenset(("mastra",)),
    kinds=(("mastra.span.type", MASTRA),),
    input=(ending("mastra.", ".input"),),
    output=(ending("mastra.", ".output"),),
)
PIPECAT = Dialect(
    name="pipecat",
    scopes=("pipecat",),
    names=(("conversation", "agent"), ("turn", "chain"), ("llm", "llm"), ("tts", "function"), ("stt", "function")),
    labels={"conversation": ("conversation.id",)},
    input=("input", "text"),
    output=("output", "transcript"),
    extras=(("first_token_ms", milliseconds("metrics.ttfb", 1000)),),
)
AGENT_SDKS = (LAMINAR, BRAINTRUST, LANGWATCH, AGENTOPS, LANGTRACE, MASTRA_AI, PIPECAT)
