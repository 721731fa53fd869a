"""Spring AI: `spring.ai.*` beside GenAI names."""

from collector.mapping.dialects.dialect import Dialect

SPRING_AI = Dialect(
    name="spring_ai",
    prefixes=frozenset(("spring.ai", "db.vector")),
    kinds=(
        (
            "spring.ai.kind",
            {"chat_client": "chain", "advisor": "chain", "vector_store": "retriever", "tool_call": "tool"},
        ),
    ),
    labels={
        "tool": ("spring.ai.tool.definition.name",),
        "conversation": ("spring.ai.chat.client.conversation.id",),
    },
    input=("spring.ai.tool.call.arguments", "spring.ai.chat.client.prompt", "db.vector.query.content"),
    output=("spring.ai.tool.call.result", "spring.ai.chat.client.completion", "db.vector.query.response.documents"),
)
