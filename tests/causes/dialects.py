"""How instrumentations write the content of a model call: the same call in six spellings."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson


class Call(NamedTuple):
    """A tool call that a model asks for."""

    name: str
    arguments: dict[str, object]


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    text: str
    calls: Sequence[Call] = ()


FINISH = {
    "stop": {"anthropic": "end_turn"},
    "tool": {"otel": "tool_call", "openai": "tool_calls", "messages": "tool_calls", "anthropic": "tool_use"},
    "length": {"anthropic": "max_tokens", "plain": "MAX_TOKENS"},
    "refusal": {"openai": "content_filter", "anthropic": "refusal", "plain": "SAFETY", "messages": "content_filter"},
}


def finish_reason(dialect: str, reason: str) -> str:
    return FINISH[reason].get(dialect, {"tool": "tool_calls", "refusal": "stop"}.get(reason, reason))


def model_input(dialect: str, turns: Sequence[Turn]) -> object:
    if dialect == "plain":
        return turns[-1].text
    messages = [_message(dialect, turn) for turn in turns]
    if dialect == "openai":
        return {"model": "any", "temperature": 0.2, "messages": messages}
    if dialect == "langchain":
        return {"messages": [messages]}
    if dialect == "anthropic":
        return {"system": "You help.", "messages": messages, "max_tokens": 1024}
    return messages


def model_output(dialect: str, turn: Turn, reason: str) -> object:
    finish = finish_reason(dialect, reason)
    message = _message(dialect, turn)
    if dialect == "plain":
        return turn.text if not turn.calls else orjson.dumps([_flat(call) for call in turn.calls]).decode()
    if dialect == "otel":
        return [{**message, "finish_reason": finish}]
    if dialect == "openai":
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": {"total_tokens": 99}}
    if dialect == "langchain":
        return {"generations": [[{"text": turn.text, "message": message}]], "llm_output": None}
    if dialect == "anthropic":
        return {"id": "msg_1", "type": "message", **message, "stop_reason": finish}
    return [message]


def _message(dialect: str, turn: Turn) -> dict[str, object]:
    if dialect == "otel":
        return {"role": turn.role, "parts": _parts(turn)}
    if dialect == "anthropic":
        return {"role": turn.role, "content": _blocks(turn)}
    if dialect == "langchain":
        kwargs = {"content": turn.text, "type": {"user": "human", "assistant": "ai"}.get(turn.role, turn.role)}
        calls = [{"name": call.name, "args": call.arguments, "id": "c1"} for call in turn.calls]
        return {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {**kwargs, "tool_calls": calls}}
    message: dict[str, object] = {"role": turn.role, "content": turn.text or None}
    if turn.calls:
        message["tool_calls"] = [{"id": "c1", "type": "function", "function": _flat(call)} for call in turn.calls]
    return message


def _flat(call: Call) -> dict[str, object]:
    return {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()}


def _parts(turn: Turn) -> list[dict[str, object]]:
    if turn.role == "tool":
        return [{"type": "tool_call_response", "id": "c1", "response": turn.text}]
    parts: list[dict[str, object]] = [{"type": "text", "content": turn.text}] if turn.text else []
    return parts + [
        {"type": "tool_call", "id": "c1", "name": call.name, "arguments": call.arguments} for call in turn.calls
    ]


def _blocks(turn: Turn) -> list[dict[str, object]]:
    blocks: list[dict[str, object]] = [{"type": "text", "text": turn.text}] if turn.text else []
    return blocks + [
        {"type": "tool_use", "id": "c1", "name": call.name, "input": call.arguments} for call in turn.calls
    ]


def tool_output(dialect: str, text: str, *, failed: bool) -> object:
    """A tool's result: bare, as JSON text, or as MCP wraps it."""
    if dialect == "anthropic":
        return {"content": [{"type": "text", "text": text}], "isError": failed}
    if dialect == "langchain":
        return {"content": text, "type": "tool", "name": "any", "status": "success", "tool_call_id": "c1"}
    if dialect in ("otel", "messages"):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
