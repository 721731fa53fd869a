"""The conversation in a step's input: its question, its turns, the tool results at its end: without recursion."""

from typing import Any

from collector.reasoning.content import said, unwrapped, word, written

USERS = frozenset(("user", "human", "HumanMessage"))
QUESTION_KEYS = ("messages", "contents", "input", "inputs", "prompt", "question", "query", "text", "content", "args")


def asked(value: Any) -> str:
    """The question in a step's input: the last message of the user, else the text that stands for it."""
    for _ in range(8):
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            if not value:
                return ""
            value = _last_user(value)
        elif isinstance(value, dict):
            key = next((key for key in QUESTION_KEYS if value.get(key)), None)
            if key is None:
                return written(value)
            value = value[key]
        else:
            break
    return "" if value is None else str(value)


def _last_user(messages: list[Any]) -> Any:
    last = messages[-1]
    if len(messages) == 1 and isinstance(last, list):
        return last
    for message in reversed(messages):
        if isinstance(message, dict) and _role(message) in USERS and not _results(message):
            return said(message).text
    if isinstance(last, dict) and ("role" in last or "parts" in last or "kwargs" in last):
        return said(last).text
    return last


def is_conversation(value: Any) -> bool:
    """Whether a value is written as messages, and not plain data."""
    if isinstance(value, list) and value:
        value = value[-1][-1] if isinstance(value[-1], list) and value[-1] else value[-1]
        return isinstance(value, dict) and not MESSAGE_KEYS.isdisjoint(value)
    return isinstance(value, dict) and not CONVERSATION_KEYS.isdisjoint(value)


MESSAGE_KEYS = frozenset(("role", "parts", "kwargs", "message"))
CONVERSATION_KEYS = MESSAGE_KEYS | {"messages", "choices", "generations", "candidates", "contents"}


def conversation(value: Any) -> list[tuple[str, str]]:
    """The messages of a model's input as (role, text); calls are written as text. Empty where there are none."""
    turns: list[tuple[str, str]] = []
    for message in _messages(value):
        if not isinstance(message, dict) or MESSAGE_KEYS.isdisjoint(message):
            continue
        role = ROLE_NAMES.get(_role(message), _role(message))
        results = _results(message)
        text = "\n".join(written(unwrapped(result)) for result in results) if results else _spoken(message)
        turns.append((role, text))
    return turns


ROLE_NAMES = {
    "human": "user",
    "HumanMessage": "user",
    "ai": "assistant",
    "AIMessage": "assistant",
    "model": "assistant",
}


def _spoken(message: dict[str, Any]) -> str:
    answer = said(message)
    calls = [f"calls {call.name}({call.arguments})" for call in answer.calls]
    return "\n".join([*([answer.text] if answer.text else []), *calls])


def last_results(value: Any) -> list[Any]:
    """The tool results after the last answer in a model's input."""
    messages = _messages(value)
    found: list[Any] = []
    for message in reversed(messages[-20:]):
        if not isinstance(message, dict) or _role(message) in ANSWERERS:
            break
        found.extend(_results(message))
    return found


ANSWERERS = frozenset(("assistant", "ai", "model", "AIMessage"))
TOOLS = frozenset(("tool", "function", "ToolMessage"))
RESULT_TYPES = frozenset(("tool_call_response", "tool_result", "function_call_output", "tool-result"))


def _messages(value: Any) -> list[Any]:
    for _ in range(4):
        if isinstance(value, dict):
            value = next((value[key] for key in ("messages", "input", "contents", "args") if key in value), None)
        elif isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        else:
            break
    return value if isinstance(value, list) else []


def _results(message: dict[str, Any]) -> list[Any]:
    """What tools answered, in one message."""
    if word(message.get("type")) in RESULT_TYPES:
        return [_result(message)]
    parts = message.get("parts") or message.get("content")
    if isinstance(parts, list):
        held = [_result(part) for part in parts if isinstance(part, dict) and word(part.get("type")) in RESULT_TYPES]
        if held:
            return held
    if _role(message) not in TOOLS:
        return []
    inner = message.get("kwargs")
    return [_result(inner if isinstance(inner, dict) else message)]


def _result(part: dict[str, Any]) -> Any:
    return next((part[key] for key in ("response", "result", "output", "content", "parts") if part.get(key)), None)


def _role(message: dict[str, Any]) -> str:
    inner = message.get("kwargs")
    if isinstance(inner, dict):
        path = message.get("id")
        return word(inner.get("type")) or (word(path[-1]) if isinstance(path, list) and path else "")
    return word(message.get("role")) or word(message.get("type"))
