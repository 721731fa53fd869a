"""Logfire and pydantic-ai: message templates, log records as spans, pending spans, agent runs."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.readers import metadata_in, parsed, quoted, tags_in
from collector.mapping.messages import split_dialogue, with_system
from collector.mapping.values import json_text
from collector.model import StepError

ERROR_LEVEL = 17


def _agent_input(view: View) -> str | None:
    """What an agent was asked: its messages up to the last of the user."""
    found = view.attributes
    messages = parsed(found.get("pydantic_ai.all_messages") or found.get("all_messages_events"))
    if not isinstance(messages, list):
        return None
    asked = with_system(found.get("gen_ai.system_instructions"), asked_for(messages))
    return json_text(asked) if asked else None


def _agent_output(view: View) -> str | None:
    """What an agent said at last, where its result was not kept apart."""
    found = view.attributes
    messages = parsed(found.get("pydantic_ai.all_messages") or found.get("all_messages_events"))
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "assistant" or last.get("tool_calls"):
        return None
    parts = last.get("parts")
    if isinstance(parts, list) and any(isinstance(part, dict) and part.get("type") == "tool_call" for part in parts):
        return None
    return json_text([last])


def asked_for(messages: list[Any]) -> list[Any]:
    """The messages up to the last one of a user that is more than a tool's answer."""
    last = max((i for i, message in enumerate(messages) if _is_question(message)), default=len(messages) - 1)
    return messages[: last + 1]


def _is_question(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") != "user":
        return False
    parts = message.get("parts")
    if not isinstance(parts, list):
        return True
    return any(not (isinstance(part, dict) and part.get("type") == "tool_call_response") for part in parts)


def _event_input(view: View) -> str | None:
    sent = split_dialogue(parsed(view.attributes["events"]))[0]
    return json_text(sent) if sent else None


def _event_output(view: View) -> str | None:
    answered = split_dialogue(parsed(view.attributes["events"]))[1]
    return json_text(answered) if answered else None


def _error_level(view: View) -> StepError | None:
    level = view.attributes["logfire.level_num"]
    if not isinstance(level, int) or level < ERROR_LEVEL:
        return None
    message = view.attributes.get("logfire.msg")
    return StepError(message=message if isinstance(message, str) else None)


def _pending_parent(view: View) -> str | None:
    """Pending spans name their real parent apart: zeros where there is none."""
    if view.attributes.get("logfire.span_type") != "pending_span":
        return None
    parent = view.attributes.get("logfire.pending_parent_id")
    return parent if isinstance(parent, str) else "0" * 16


LOGFIRE = Dialect(
    name="logfire",
    prefixes=frozenset(
        (
            *(
                "logfire",
                "pydantic_ai",
                "all_messages_events",
                "final_result",
                "agent_name",
                "model_request_parameters",
            ),
            *("tool_arguments", "tool_response", "operation.cost", "request_data", "response_data"),
        )
    ),
    scopes=("pydantic-ai", "logfire"),
    kinds=(("logfire.span_type", {"log": "other"}),),
    evidence=(
        *(("tool_arguments", "tool"), ("tool_response", "tool"), ("all_messages_events", "agent")),
        *(("pydantic_ai.all_messages", "agent"), ("agent_name", "agent")),
    ),
    labels={
        "label": ("logfire.msg",),
        "agent": ("agent_name",),
        "request_model": ("model_name",),
    },
    input=(
        Composed(("pydantic_ai.all_messages", "all_messages_events"), _agent_input),
        "tool_arguments",
        Composed(("events",), _event_input),
        "request_data",
    ),
    output=(
        quoted("final_result"),
        "final_result",
        Composed(("pydantic_ai.all_messages", "all_messages_events"), _agent_output),
        "tool_response",
        Composed(("events",), _event_output),
        "response_data",
    ),
    tokens=(
        TokenKeys(
            input=("gen_ai.aggregated_usage.input_tokens",),
            output=("gen_ai.aggregated_usage.output_tokens",),
            cached=("gen_ai.aggregated_usage.details.cache_read_tokens",),
            cache_write=("gen_ai.aggregated_usage.details.cache_write_tokens",),
            reasoning=("gen_ai.aggregated_usage.details.reasoning_tokens",),
        ),
    ),
    cost=("operation.cost",),
    errors=(Composed(("logfire.level_num",), _error_level),),
    extras=(
        ("pending_parent_id", Composed(("logfire.span_type",), _pending_parent)),
        ("tags", tags_in("logfire.tags")),
        ("metadata", metadata_in("metadata")),
    ),
)
