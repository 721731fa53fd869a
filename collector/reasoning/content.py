"""Reads what a step was given and gave, whatever spelling its sender has: pure, bounded, without recursion.

Model calls come as OpenAI choices, as OTel or Anthropic parts, as LangChain constructors, as Gemini candidates or as
bare text; tool results come bare, wrapped by MCP, or as JSON inside a string. All end here as text, calls and values.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

MAX_PARSED_CHARS = 400_000
"""A larger text is judged by its head alone."""
MAX_NODES = 3_000
ANSWER_KEYS = (
    *("choices", "candidates", "generations", "outputs", "output", "messages", "message", "kwargs", "data", "parts"),
    *("content", "text", "output_text", "refusal", "tool_calls", "toolCalls", "function_call"),
    *("result", "response", "completion", "answer"),
)
FINISH_KEYS = ("finish_reason", "stop_reason", "finishReason", "done_reason")
CALL_TYPES = frozenset(("tool_call", "tool_use", "function_call", "server_tool_call", "tool-call"))
HIDDEN_TYPES = frozenset(("reasoning", "thinking", "redacted_thinking"))
ARGUMENT_KEYS = ("arguments", "args", "input")
WRAPPERS = ("content", "result", "output", "structuredContent", "response", "text", "data", "value")


class Called(NamedTuple):
    """A tool call that a model asked for."""

    name: str
    arguments: str
    """JSON text where it is JSON."""


class Said(NamedTuple):
    """What a model answered."""

    text: str
    calls: Sequence[Called]
    finish: str | None


NOTHING_SAID = Said("", (), None)


def parse(text: str | None) -> Any:
    """The value of a JSON text; a text in it that is JSON itself is opened once more."""
    if text is None or len(text) > MAX_PARSED_CHARS:
        return None if text is None else text[:MAX_PARSED_CHARS]
    value = _loads(text)
    return _loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def written(value: Any) -> str:
    """A value as text: a text as it is, else JSON; deeper than can be written, an ellipsis."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return "…"


def word(value: Any) -> str:
    """A label of a structure; what is no text is none."""
    return value if isinstance(value, str) else ""


def said(value: Any) -> Said:
    """The text, the tool calls and the finish reason in a model's output."""
    if isinstance(value, str):
        return Said(value, (), None)
    texts: list[str] = []
    calls: list[Called] = []
    finish: str | None = None
    waiting = [value]
    for _ in range(MAX_NODES):
        if not waiting:
            break
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, list):
            waiting.extend(reversed(node))
        elif isinstance(node, dict):
            finish = finish or _finish(node)
            call = _call(node)
            if call:
                calls.append(call)
            elif word(node.get("type")) not in HIDDEN_TYPES:
                waiting.extend(reversed(_answers(node)))
    return Said("\n".join(text for text in texts if text), calls, finish)


def _answers(node: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for key in ANSWER_KEYS:
        value = node.get(key)
        if value is None or isinstance(value, (int, float)):
            continue
        if key in ("choices", "candidates", "messages", "generations") and isinstance(value, list):
            value = value[-1:] if key == "messages" else value[:1]
        elif key == "text" and "message" in node:
            continue
        found.append(value)
    return found


def _finish(node: dict[str, Any]) -> str | None:
    for key in FINISH_KEYS:
        value = node.get(key)
        if isinstance(value, str):
            return value
    return None


def _call(node: dict[str, Any]) -> Called | None:
    inner = node.get("function")
    if isinstance(inner, dict):
        node = inner
    elif word(node.get("type")) not in CALL_TYPES and not any(key in node for key in ARGUMENT_KEYS):
        return None
    name = node.get("name")
    if not isinstance(name, str):
        return None
    given = next((node[key] for key in ARGUMENT_KEYS if node.get(key) is not None), "{}")
    return Called(name, written(given))


def unwrapped(value: Any) -> Any:
    """A tool's own result inside of what transports put around it."""
    for _ in range(6):
        if isinstance(value, str) and value[:1] in ("{", "["):
            opened = _loads(value)
            if isinstance(opened, str):
                return value
            value = opened
        elif isinstance(value, list) and len(value) == 1 and _is_block(value[0]):
            value = value[0].get("text", value[0].get("content"))
        elif isinstance(value, dict) and (key := _wrapper(value)):
            value = value[key]
        else:
            break
    return value


def _is_block(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "text"


ENVELOPE = frozenset(
    (
        *("type", "name", "status", "tool_call_id", "id", "isError", "is_error", "role", "artifact", "_meta"),
        *("additional_kwargs", "response_metadata"),
    )
)


def _wrapper(value: dict[str, Any]) -> str | None:
    """The one key that holds the result, where the others only describe it."""
    held = [key for key in value if key not in ENVELOPE]
    return held[0] if len(held) == 1 and held[0] in WRAPPERS else None


def items_in(value: Any) -> int | None:
    """How many items a result lists, where it is a list or holds exactly one."""
    value = unwrapped(value)
    if isinstance(value, list):
        return len(value)
    if isinstance(value, dict):
        lists = [held for key, held in value.items() if isinstance(held, list) and key != "messages"]
        return len(lists[0]) if len(lists) == 1 else None
    return None


def arguments(value: Any) -> dict[str, Any] | None:
    """A tool's arguments by name, where they have names."""
    if isinstance(value, str) and value[:1] == "{":
        value = _loads(value)
    if not isinstance(value, dict):
        return None
    if set(value) <= {"args", "kwargs"} and isinstance(value.get("kwargs"), dict):
        named: dict[str, Any] = {str(place): item for place, item in enumerate(value.get("args") or ())}
        return {**named, **value["kwargs"]}
    return value
