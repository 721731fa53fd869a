"""Messages that GenAI senders put into span events."""

from typing import Any

from collector.mapping.dialects.dialect import View
from collector.mapping.messages import Event, carries_messages, conversation
from collector.mapping.values import json_text, read_attributes


def event_messages(view: View) -> tuple[list[Any], list[Any]]:
    """What the span's own events tell of a conversation."""
    spoken = (event for event in view.span.events if carries_messages(event.name))
    return conversation(Event(event.name, read_attributes(event.attributes, view.notes)) for event in spoken)


def event_input(view: View) -> str | None:
    sent = event_messages(view)[0] if view.span.events else []
    return json_text(sent) if sent else None


def event_output(view: View) -> str | None:
    answered = event_messages(view)[1] if view.span.events else []
    return json_text(answered) if answered else None
