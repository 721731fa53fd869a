"""Google ADK: requests and answers as JSON under `gcp.vertex.agent.*`, beside GenAI names."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import parsed, shown
from collector.mapping.values import json_text

BLANKS = ("{}", "N/A", "<not specified>", "<not serializable>", '{"result": "<not specified>"}')


def _request(view: View) -> str | None:
    """The contents of a request as messages, its system instruction first."""
    request = parsed(view.attributes["gcp.vertex.agent.llm_request"])
    if not isinstance(request, dict) or not isinstance(contents := request.get("contents"), list):
        return None
    config = request.get("config")
    system = config.get("system_instruction") if isinstance(config, dict) else None
    messages = [{"role": "system", "content": system}] if system else []
    messages += [content for content in contents if isinstance(content, dict)]
    return json_text(messages) if messages else None


def _response(view: View) -> str | None:
    response = parsed(view.attributes["gcp.vertex.agent.llm_response"])
    content: Any = response.get("content") if isinstance(response, dict) else None
    return json_text([content]) if isinstance(content, dict) else None


GOOGLE_ADK = Dialect(
    name="google_adk",
    prefixes=frozenset(("gcp.vertex",)),
    scopes=("gcp.vertex.agent",),
    evidence=(("gcp.vertex.agent.tool_call_args", "tool"), ("gcp.vertex.agent.data", "chain")),
    names=(
        *(("call_llm", "llm"), ("execute_tool", "tool"), ("agent_run", "agent"), ("invoke_agent", "agent")),
        *(("invocation", "chain"), ("invoke_workflow", "chain")),
    ),
    labels={"conversation": ("gcp.vertex.agent.session_id",)},
    input=(
        shown("gcp.vertex.agent.tool_call_args", *BLANKS),
        Composed(("gcp.vertex.agent.llm_request",), _request),
        shown("gcp.vertex.agent.llm_request", *BLANKS),
        shown("gcp.vertex.agent.data", *BLANKS),
    ),
    output=(
        shown("gcp.vertex.agent.tool_response", *BLANKS),
        Composed(("gcp.vertex.agent.llm_response",), _response),
        shown("gcp.vertex.agent.llm_response", *BLANKS),
    ),
)
