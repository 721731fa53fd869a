"""Haystack: the class of a component tells its kind; messages and usage stand inside of its input and output."""

from collections.abc import Iterator
from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import parsed
from collector.mapping.token_counts import tokens_of
from collector.mapping.values import json_text
from collector.model import Tokens

ENDINGS = (
    *(("Generator", "llm"), ("Embedder", "embedding"), ("Retriever", "retriever"), ("Ranker", "reranker")),
    *(("ToolInvoker", "tool"), ("PromptBuilder", "prompt"), ("Agent", "agent"), ("Evaluator", "evaluator")),
)
INPUT = ("haystack.component.input", "haystack.agent.step.llm.input")
OUTPUT = ("haystack.component.output", "haystack.agent.step.llm.output")


def component_kind(name: str) -> str | None:
    return next((kind for ending, kind in ENDINGS if name.endswith(ending)), "chain")


def _held(view: View, keys: tuple[str, ...]) -> dict[str, Any]:
    found = next((parsed(view.attributes[key]) for key in keys if key in view.attributes), None)
    return found if isinstance(found, dict) else {}


def _metas(view: View) -> Iterator[dict[str, Any]]:
    """What a generator tells of each reply, and an embedder of its call."""
    output = _held(view, OUTPUT)
    for key in ("meta", "replies"):
        found = output.get(key) or ()
        for each in found if isinstance(found, list) else (found,):
            meta = (each.get("meta") or each.get("_meta") or each) if isinstance(each, dict) else None
            if isinstance(meta, dict):
                yield meta


def _tokens(view: View) -> Tokens | None:
    found = (tokens_of(meta.get("usage"), view.notes) for meta in _metas(view))
    known = (tokens for tokens in found if tokens is not None)
    return next(known, None) if view.kind in ("llm", "embedding") else None


def _model(view: View) -> Any:
    return next((meta["model"] for meta in _metas(view) if isinstance(meta.get("model"), str)), None)


def _asked(view: View) -> str | None:
    return _messages(_held(view, INPUT).get("messages"))


def _answered(view: View) -> str | None:
    return _messages(_held(view, OUTPUT).get("replies"))


def _messages(found: Any) -> str | None:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        return None
    return json_text([_message(each) for each in found]) if found else None


def _message(sent: dict[str, Any]) -> dict[str, Any]:
    """`content` is a list of texts, tool calls and tool results; in older releases its name begins with `_`."""
    content = sent.get("content", sent.get("_content"))
    message: dict[str, Any] = {"role": sent.get("role") or sent.get("_role")}
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        texts = [part["text"] for part in content if "text" in part]
        calls = [_call(part["tool_call"]) for part in content if "tool_call" in part]
        rest = [part for part in content if "text" not in part and "tool_call" not in part]
        content = texts[0] if len(texts) == 1 and not rest else [*({"text": text} for text in texts), *rest]
        message |= {"tool_calls": calls} if calls else {}
    return message | ({"content": content} if content else {})


def _call(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    return {"id": call.get("id"), "name": call.get("tool_name"), "arguments": call.get("arguments")}


def _vectors(view: View) -> str | None:
    """How long the vector is, instead of its numbers."""
    vector = _held(view, OUTPUT).get("embedding") if view.kind == "embedding" else None
    return json_text({"vectors": 1, "dimensions": len(vector)}) if isinstance(vector, list) else None


HAYSTACK = Dialect(
    name="haystack",
    prefixes=frozenset(("haystack",)),
    kinds=(("haystack.component.type", component_kind),),
    evidence=(("haystack.agent.step.llm.input", "llm"), ("haystack.tool.name", "tool")),
    names=(
        *(("haystack.pipeline.", "chain"), ("haystack.async_pipeline.", "chain")),
        *(("haystack.agent.step.llm", "llm"), ("haystack.agent.step.tool", "tool"), ("haystack.agent.", "agent")),
    ),
    labels={
        "label": ("haystack.component.name",),
        "model": (Composed(OUTPUT, _model),),
        "tool": ("haystack.tool.name",),
        "agent": ("haystack.agent.name",),
    },
    input=(
        Composed(INPUT, _asked),
        *("haystack.component.input", "haystack.pipeline.input_data", "haystack.agent.input"),
        *("haystack.agent.step.llm.input", "haystack.agent.step.tool.input"),
    ),
    output=(
        Composed(OUTPUT, _answered),
        Composed(OUTPUT, _vectors),
        *("haystack.component.output", "haystack.pipeline.output_data", "haystack.agent.output"),
        *("haystack.agent.step.llm.output", "haystack.agent.step.tool.output"),
    ),
    tokens=(Composed(OUTPUT, _tokens),),
)
