"""Strands Agents: GenAI with its content in span events, and its own attributes around the event loop."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.gen_ai_events import event_messages
from collector.mapping.dialects.readers import failed_when, milliseconds
from collector.mapping.values import json_text


def _arguments(view: View) -> str | None:
    """A tool's arguments, which stand in an event as if they were a message."""
    if view.kind != "tool" or not view.span.events:
        return None
    return _inner(event_messages(view)[0], "arguments")


def _result(view: View) -> str | None:
    if view.kind != "tool" or not view.span.events:
        return None
    return _inner(event_messages(view)[1], "response")


def _inner(messages: list[object], part_field: str) -> str | None:
    message = messages[-1] if messages else None
    if not isinstance(message, dict):
        return None
    parts = message.get("parts")
    found = parts[0] if isinstance(parts, list) and parts else message
    value = found.get(part_field, found.get("content")) if isinstance(found, dict) else found
    return None if value is None else json_text(value)


STRANDS = Dialect(
    name="strands",
    prefixes=frozenset(("event_loop", "gen_ai.event", "tool.result", "tool.status")),
    scopes=("strands",),
    kinds=(("gen_ai.operation.name", {"invoke_swarm": "agent", "invoke_graph": "agent"}),),
    evidence=(("event_loop.cycle_id", "chain"),),
    names=(("Tool: ", "tool"), ("Model invoke", "llm"), ("Cycle ", "chain"), ("execute_event_loop_cycle", "chain")),
    input=(Composed(("",), _arguments), "tool.parameters"),
    output=(Composed(("",), _result), "tool.result"),
    errors=(
        failed_when("gen_ai.tool.status", ("error",)),
        failed_when("tool.status", ("error",)),
    ),
    extras=(("first_token_ms", milliseconds("gen_ai.server.time_to_first_token")),),
)
