"""MLflow: every attribute is JSON text, scalars too (`"CHAT_MODEL"`)."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import cost_map, metadata_below, parsed, quoted, token_map, unquoted

TYPES = {
    **dict.fromkeys(("llm", "chat_model"), "llm"),
    **{kind: kind for kind in ("embedding", "tool", "agent", "retriever", "reranker", "memory", "guardrail")},
    **dict.fromkeys(("chain", "workflow", "task"), "chain"),
    "evaluator": "evaluator",
    "parser": "prompt",
}


def _provider(view: View) -> str | None:
    """Messages are in the format of the provider that was called, or of a framework."""
    found = parsed(view.attributes["mlflow.message.format"])
    return found if isinstance(found, str) and view.kind == "llm" else None


MLFLOW = Dialect(
    name="mlflow",
    prefixes=frozenset(("mlflow",)),
    kinds=(("mlflow.spanType", TYPES),),
    evidence=(("mlflow.llm.model", "llm"),),
    labels={
        "model": (unquoted("mlflow.llm.model"),),
        "provider": (unquoted("mlflow.llm.provider"), Composed(("mlflow.message.format",), _provider)),
        "session": (unquoted("mlflow.trace.session"),),
        "user": (unquoted("mlflow.trace.user"),),
    },
    input=(quoted("mlflow.spanInputs"), "mlflow.spanInputs"),
    output=(quoted("mlflow.spanOutputs"), "mlflow.spanOutputs"),
    tokens=(token_map("mlflow.chat.tokenUsage"),),
    cost=(cost_map("mlflow.llm.cost"),),
    extras=(("metadata", metadata_below("mlflow.trace.")),),
)
