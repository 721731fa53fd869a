"""Logfire and pydantic-ai: message templates, log records as spans, pending spans, agent runs."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, TokenKeys, View
from collector.mapping.dialects.readers import metadata_in, parsed, quoted, tags_in
from collector.mapping.messages import split_dialogue, with_system
from collector.mapping.values import any_json, json_text
from collector.model import StepError

ERROR_LEVEL = 17
BARE_REQUEST = frozenset(("model", "stream"))
FUNCTION, AGENT_RUN = "Function: ", "Agent run: "
TEMPLATES = (
    *((FUNCTION, "tool"), (AGENT_RUN, "agent"), ("Guardrail ", "guardrail"), ("Handoff: ", "chain")),
    *(("OpenAI Agents trace: ", "chain"), ("Task: ", "chain"), ("Turn {turn} for agent ", "chain")),
)


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
    sent = _dialogue(view)[0]
    return json_text(sent) if sent else None


def _event_output(view: View) -> str | None:
    answered = _dialogue(view)[1]
    return json_text(answered) if answered else None


def _dialogue(view: View) -> tuple[list[Any], list[Any]]:
    """What went in and what came out; calls of OpenAI's Responses API have the answer as one more message."""
    events = parsed(view.attributes["events"])
    sent, answered = split_dialogue(events)
    last = events[-1] if isinstance(events, list) and events else None
    if answered or not isinstance(last, dict) or last.get("role") != "assistant":
        return sent, answered
    answer = {key: value for key, value in last.items() if key != "event.name"}
    return [message for message in sent if message != answer], [answer]


def _agents_kind(template: str) -> str | None:
    """Spans of the OpenAI Agents SDK are told apart by their message templates alone."""
    return next((kind for start, kind in TEMPLATES if template.startswith(start)), None)


def _named(start: str) -> Composed:
    def read(view: View) -> Any:
        return view.attributes.get("name") if _template(view).startswith(start) else None

    return Composed(("logfire.msg_template",), read)


def _of_function(key: str) -> Composed:
    """What a function was given and returned."""

    def read(view: View) -> str | None:
        value = view.attributes[key]
        return any_json(value) if value not in (None, "") and _template(view).startswith(FUNCTION) else None

    return Composed((key,), read)


def _request(view: View) -> str | None:
    """The messages of a request's body; newer releases leave no more of it there than the model."""
    body = parsed(view.attributes["request_data"])
    if "gen_ai.input.messages" in view.attributes or not isinstance(body, dict):
        return None
    asked = next((body[key] for key in ("messages", "input", "prompt") if body.get(key)), None)
    if asked is not None:
        return json_text(with_system(body.get("system"), asked))
    return None if body.keys() <= BARE_REQUEST else json_text(body)


def _response(view: View) -> str | None:
    """The message of a response's body, the joined text of a streamed one, else the body."""
    body = parsed(view.attributes["response_data"])
    if "gen_ai.output.messages" in view.attributes or not isinstance(body, dict):
        return None
    text = body.get("combined_chunk_content")
    answered = [body["message"]] if isinstance(body.get("message"), dict) else text
    return json_text(answered or body)


def _template(view: View) -> str:
    return str(view.attributes.get("logfire.msg_template"))


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
    kinds=(("logfire.span_type", {"log": "other"}), ("logfire.msg_template", _agents_kind)),
    evidence=(
        *(("tool_arguments", "tool"), ("tool_response", "tool"), ("all_messages_events", "agent")),
        *(("pydantic_ai.all_messages", "agent"), ("agent_name", "agent")),
    ),
    labels={
        "label": ("logfire.msg",),
        "agent": ("agent_name", _named(AGENT_RUN)),
        "tool": (_named(FUNCTION),),
        "request_model": ("model_name",),
    },
    input=(
        Composed(("pydantic_ai.all_messages", "all_messages_events"), _agent_input),
        "tool_arguments",
        Composed(("events",), _event_input),
        Composed(("request_data",), _request),
        _of_function("input"),
    ),
    output=(
        quoted("final_result"),
        "final_result",
        Composed(("pydantic_ai.all_messages", "all_messages_events"), _agent_output),
        "tool_response",
        Composed(("events",), _event_output),
        Composed(("response_data",), _response),
        _of_function("output"),
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
