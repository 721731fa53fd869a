"""Model Context Protocol: calls between a client and its servers."""

from collector.mapping.dialects.dialect import Dialect

METHODS = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "retriever",
    **dict.fromkeys(
        (
            *("initialize", "ping", "tools/list", "prompts/list", "resources/list", "resources/templates/list"),
            *("resources/subscribe", "resources/unsubscribe", "logging/setLevel", "completion/complete"),
            *("roots/list", "elicitation/create", "notifications/initialized", "notifications/cancelled"),
        ),
        "rpc",
    ),
    "sampling/createMessage": "llm",
}

MCP = Dialect(
    name="mcp",
    prefixes=frozenset(("mcp", "fastmcp")),
    kinds=(
        ("mcp.method.name", METHODS),
        ("mcp.method", METHODS),
        ("fastmcp.component.type", {"tool": "tool", "prompt": "prompt", "resource": "retriever"}),
    ),
    evidence=(("mcp.tool.name", "tool"), ("mcp.prompt.name", "prompt"), ("mcp.resource.uri", "retriever")),
    labels={"tool": ("gen_ai.tool.name", "mcp.tool.name")},
    input=(
        *("gen_ai.tool.call.arguments", "mcp.tool.arguments", "mcp.request.params", "mcp.request.argument"),
        "mcp.resource.uri",
    ),
    output=("gen_ai.tool.call.result", "mcp.tool.result", "mcp.response.value"),
)
