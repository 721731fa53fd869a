"""Firebase Genkit: `genkit:*`, with usage inside of a model's output."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import failed_when, parsed, quoted
from collector.mapping.token_counts import tokens_of
from collector.model import Tokens

SUBTYPES = {
    "model": "llm",
    "background-model": "llm",
    "flow": "chain",
    "tool": "tool",
    "tool.v2": "tool",
    "agent": "agent",
    "retriever": "retriever",
    "embedder": "embedding",
    "reranker": "reranker",
    "evaluator": "evaluator",
    "prompt": "prompt",
    "executable-prompt": "prompt",
    "util": "chain",
    "indexer": "chain",
}
TYPES = {"flow": "chain", "flowStep": "chain", "flowstep": "chain", "util": "chain", "promptTemplate": "prompt"}


def _tokens(view: View) -> Tokens | None:
    output = parsed(view.attributes["genkit:output"])
    usage = output.get("usage") if isinstance(output, dict) else None
    return tokens_of(usage, view.notes) if view.kind == "llm" else None


def _model(view: View) -> Any:
    """`googleai/gemini-2.5-flash`: the plugin and its model."""
    name = view.attributes["genkit:name"]
    return name.rpartition("/")[2] if view.kind in ("llm", "embedding") and isinstance(name, str) else None


def _tool(view: View) -> Any:
    return view.attributes["genkit:name"] if view.kind == "tool" else None


GENKIT = Dialect(
    name="genkit",
    prefixes=frozenset(("genkit:type", "genkit:name", "genkit:input", "genkit:output")),
    scopes=("genkit-tracer",),
    kinds=(("genkit:metadata:subtype", SUBTYPES), ("genkit:type", TYPES)),
    labels={
        "model": (Composed(("genkit:name",), _model),),
        "tool": (Composed(("genkit:name",), _tool),),
        "session": ("genkit:sessionId",),
    },
    input=(quoted("genkit:input"), "genkit:input"),
    output=(quoted("genkit:output"), "genkit:output"),
    tokens=(Composed(("genkit:output",), _tokens),),
    errors=(failed_when("genkit:state", ("error",)),),
)
