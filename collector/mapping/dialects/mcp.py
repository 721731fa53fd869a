"""Model Context Protocol: calls between a client and its servers."""

from collector.mapping.dialects.dialect import Dialect

METHODS = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "retriever",
    "sampling/createMessage": "llm",
    "tools/list": "rpc",
}

MCP = Dialect(
    name="mcp",
    prefixes=frozenset(("mcp", "fastmcp")),
    kinds=(
        ("mcp.method.name", METHODS),
        ("mcp.method", METHODS),
        ("fastmcp.component.type", {"tool": "tool", "prompt": "prompt", "resource": "retriever"}),
    ),
    evidence=(
        *(("mcp.tool.name", "tool"), ("mcp.prompt.name", "prompt"), ("mcp.resource.uri", "retriever")),
        *(("mcp.method.name", "rpc"), ("mcp.method", "rpc")),
    ),
    labels={"tool": ("gen_ai.tool.name", "mcp.tool.name")},
    input=(
        *("gen_ai.tool.call.arguments", "mcp.tool.arguments", "mcp.request.params", "mcp.request.argument"),
        "mcp.resource.uri",
    ),
    output=("gen_ai.tool.call.result", "mcp.tool.result", "mcp.response.value"),
)
