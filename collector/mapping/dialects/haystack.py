"""Haystack: the class of a component tells its kind; usage stands inside of its output."""

from collections.abc import Iterator
from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import parsed
from collector.mapping.token_counts import tokens_of
from collector.model import Tokens

ENDINGS = (
    *(("Generator", "llm"), ("Embedder", "embedding"), ("Retriever", "retriever"), ("Ranker", "reranker")),
    *(("ToolInvoker", "tool"), ("PromptBuilder", "prompt"), ("Agent", "agent"), ("Evaluator", "evaluator")),
)


def component_kind(name: str) -> str | None:
    return next((kind for ending, kind in ENDINGS if name.endswith(ending)), "chain")


def _metas(view: View) -> Iterator[dict[str, Any]]:
    """What a generator tells of each reply."""
    output = parsed(view.attributes["haystack.component.output"])
    found = output if isinstance(output, dict) else {}
    for key in ("meta", "replies"):
        for each in found.get(key) or ():
            meta = (each.get("meta") or each.get("_meta") or each) if isinstance(each, dict) else None
            if isinstance(meta, dict):
                yield meta


def _tokens(view: View) -> Tokens | None:
    found = (tokens_of(meta.get("usage"), view.notes) for meta in _metas(view))
    return next((tokens for tokens in found if tokens is not None), None) if view.kind == "llm" else None


def _model(view: View) -> Any:
    return next((meta["model"] for meta in _metas(view) if isinstance(meta.get("model"), str)), None)


OUTPUT = ("haystack.component.output",)

HAYSTACK = Dialect(
    name="haystack",
    prefixes=frozenset(("haystack",)),
    kinds=(("haystack.component.type", component_kind),),
    names=(("haystack.pipeline.", "chain"), ("haystack.async_pipeline.", "chain"), ("haystack.agent.", "agent")),
    labels={"model": (Composed(OUTPUT, _model),), "agent": ("haystack.agent.name",)},
    input=("haystack.component.input", "haystack.pipeline.input_data", "haystack.agent.input"),
    output=("haystack.component.output", "haystack.pipeline.output_data", "haystack.agent.output"),
    tokens=(Composed(OUTPUT, _tokens),),
)
