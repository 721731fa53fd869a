"""OpenLIT: GenAI names, with texts where others send messages; calls that failed say all they say by their names."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.messages import decoded
from collector.mapping.values import json_text


def _tool_call(view: View) -> str | None:
    """What a model asked for where it answered nothing else."""
    found = view.attributes
    if view.kind != "llm":
        return None
    names = {"id": "gen_ai.tool.call.id", "name": "gen_ai.tool.name", "arguments": "gen_ai.tool.args"}
    call = {name: decoded(found.get(key)) for name, key in names.items()}
    return json_text([{"role": "assistant", "tool_calls": [call]}])


OPENLIT = Dialect(
    name="openlit",
    scopes=("openlit",),
    names=(
        *(("chat ", "llm"), ("text_completion ", "llm"), ("embeddings ", "embedding"), ("rerank ", "reranker")),
        *(("execute_tool ", "tool"), ("invoke_agent ", "agent"), ("create_agent ", "agent")),
    ),
    input=("gen_ai.input.messages", "gen_ai.prompt"),
    output=("gen_ai.output.messages", "gen_ai.completion", Composed(("gen_ai.tool.args",), _tool_call)),
)
