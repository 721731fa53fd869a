"""Coding agents that only log: their records become spans, so that what they did can be read as an execution.

The rule: a record without a trace id belongs to the execution of its agent's prompt (or session, or conversation); the
trace id is a digest of that id. What the agent did (a prompt, a model call, a tool's result) is a step of its own below
the step of the prompt; every other record is kept as an event of the prompt's step.
"""

import hashlib
from typing import NamedTuple

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.values import Notes, number, read_attributes

BODY_KEY = "log.body"


class Agent(NamedTuple):
    """How one coding agent names its records."""

    name: str
    keys: tuple[str, ...]
    """Attributes with the id of what belongs together, narrowest first."""
    root: str
    """The event that starts it."""
    steps: tuple[str, ...]
    """Events that are steps; `name=value` asks for that value of `event.kind`, too."""


AGENTS = (
    Agent("claude_code", ("prompt.id", "session.id"), "user_prompt", ("api_request", "api_error", "tool_result")),
    Agent(
        "codex",
        ("conversation.id",),
        "conversation_starts",
        ("user_prompt", "sse_event=response.completed", "tool_result"),
    ),
    Agent("gemini_cli", ("prompt_id", "session.id"), "user_prompt", ("api_response", "api_error", "tool_call")),
    Agent("qwen-code", ("prompt_id", "session.id"), "user_prompt", ("api_response", "api_error", "tool_call")),
)


class Activity(NamedTuple):
    """A record of an agent, and the execution that it belongs to."""

    agent: str
    trace_id: bytes
    root_span_id: bytes
    span: Span | None
    """The step that it becomes; None: it stays a record."""


def read_activity(record: LogRecord) -> Activity | None:
    """What a record without a trace id tells of an agent; None where it is of no agent that is known."""
    found = read_attributes(record.attributes, Notes())
    named = _agent_of(record, found)
    if named is None:
        return None
    agent, event = named
    key = next((str(found[key]) for key in agent.keys if found.get(key)), None)
    if key is None:
        return None
    trace_id, root_span_id = _digest(16, agent.name, key), _digest(8, agent.name, key, "root")
    span = _span(record, agent, event, found) if _is_step(agent, event, found) else None
    if span is not None:
        is_root = event == agent.root
        span.trace_id = trace_id
        span.span_id = (
            root_span_id if is_root else _digest(8, agent.name, key, record.SerializeToString(deterministic=True))
        )
        span.parent_span_id = b"" if is_root else root_span_id
    return Activity(agent.name, trace_id, root_span_id, span)


def _agent_of(record: LogRecord, found: dict[str, object]) -> tuple[Agent, str] | None:
    for name in (record.event_name, record.body.string_value, found.get("event.name")):
        if not isinstance(name, str):
            continue
        for agent in AGENTS:
            if name.startswith(f"{agent.name}."):
                return agent, name[len(agent.name) + 1 :]
    return None


def _is_step(agent: Agent, event: str, found: dict[str, object]) -> bool:
    return event == agent.root or event in agent.steps or f"{event}={found.get('event.kind')}" in agent.steps


def _span(record: LogRecord, agent: Agent, event: str, found: dict[str, object]) -> Span:
    """The record as a span that ended when it was written, and took as long as it says."""
    end_ns = record.time_unix_nano or record.observed_time_unix_nano
    took_ms = number(found.get("duration_ms"), "duration_ms", Notes()) or 0.0
    took_ns = int(max(took_ms, 0.0) * 1e6)
    span = Span(
        name=f"{agent.name}.{event}",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=end_ns - took_ns if took_ns < end_ns else end_ns,
        end_time_unix_nano=end_ns,
        attributes=record.attributes,
        dropped_attributes_count=record.dropped_attributes_count,
        flags=record.flags,
    )
    if record.HasField("body") and record.body.string_value != span.name:
        span.attributes.add(key=BODY_KEY, value=record.body)
    return span


def _digest(size: int, *parts: str | bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()
