"""Log records to the steps they belong to: messages become input and output, exceptions become errors.

What a span said itself wins. The records of a step count in one order, by time, whatever order they came in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

from collector.mapping.dialects.dialect import TokenKeys
from collector.mapping.dialects.gen_ai import GEN_AI
from collector.mapping.messages import DETAILS, ROLES, Event, carries_messages, conversation
from collector.mapping.token_counts import whole_input
from collector.mapping.values import MAX_LABEL, Notes, count, parse_json
from collector.model import Record, Step, StepError, Tokens

CHOICE = "gen_ai.choice"
EXCEPTIONS = frozenset({"exception", "gen_ai.client.operation.exception"})
ERROR_SEVERITY = 17
# Messages stamped with one time are ordered as a conversation goes; a record of the whole call speaks last, and wins.
PLACES = {name: place for place, name in enumerate((*ROLES, CHOICE, DETAILS))}


class Told(msgspec.Struct):
    """What the log records of one step say together."""

    input: str | None = None
    """JSON text."""
    output: str | None = None
    """JSON text."""
    tokens: Tokens | None = None
    model: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    error: StepError | None = None
    failed: bool = False
    """An exception came as an event of its own, not as a line of a log that mentions one."""


def join(steps: list[Step], records: list[Record]) -> tuple[list[Step], list[Record]]:
    """The steps with what their records tell of them, and the records that no step here is named by."""
    by_span: dict[bytes, list[Record]] = {}
    for record in once(records):
        by_span.setdefault(record.span_id, []).append(record)
    if not by_span:
        return steps, []
    joined = [_with(step, found) if (found := by_span.get(step.span_id)) else step for step in steps]
    for step in steps:
        by_span.pop(step.span_id, None)
    return joined, [record for found in by_span.values() for record in found]


def once(records: Iterable[Record]) -> list[Record]:
    """Each record once, in the order in which things happened."""
    distinct: dict[object, Record] = {}
    for record in records:
        distinct.setdefault(record.record_id or msgspec.structs.astuple(record), record)
    return sorted(distinct.values(), key=_order)


def _order(record: Record) -> tuple[int, bytes, str, str, str, int]:
    return (
        *(record.time_ns, record.record_id),
        *(record.event_name or "", record.attributes, record.body or "", record.severity),
    )


def _with(step: Step, records: list[Record]) -> Step:
    told = tell(records)
    changes: dict[str, Any] = {
        name: value
        for name in ("input", "output", "tokens", "model", "session_id", "user_id")
        if getattr(step, name) is None and (value := getattr(told, name)) is not None
    }
    if noted := [text for record in records if record.warnings for text in orjson.loads(record.warnings)]:
        changes["warnings"] = list(dict.fromkeys([*step.warnings, *noted]))
    # A step whose error has a stack trace had the exception as a span event: that one wins.
    if (
        told.error is not None
        and (step.status == "error" or told.failed)
        and not (step.error and step.error.stacktrace)
    ):
        changes["error"] = _filled(told.error, step.error)
    if told.failed and step.status == "unset":
        changes["status"] = "error"
    return msgspec.structs.replace(step, **changes) if changes else step


def _filled(error: StepError, known: StepError | None) -> StepError:
    if known is None:
        return error
    return StepError(error.type or known.type, error.message or known.message, error.stacktrace or known.stacktrace)


def tell(records: list[Record]) -> Told:
    """Reads the records of one step, given in the order of `once`."""
    told = Told()
    spoken: list[tuple[tuple[bool, int, int, int], Event]] = []
    for record in records:
        attributes = attributes_of(record)
        name = record.event_name or str(attributes.get("event.name") or "")
        if name in EXCEPTIONS or "exception.type" in attributes or "exception.message" in attributes:
            _read_exception(record, name, attributes, told)
        elif carries_messages(name):
            event = _event(record, name, attributes)
            spoken.append((_place(record, event), event))
            if name == DETAILS:
                _read_details(attributes, told)
    spoken.sort(key=lambda pair: pair[0])
    sent, answered = conversation(event for _, event in spoken)
    told.input, told.output = _text(sent), _text(answered)
    return told


def attributes_of(record: Record) -> Mapping[str, Any]:
    found = parse_json(record.attributes)
    return found if isinstance(found, dict) else {}


def _event(record: Record, name: str, attributes: Mapping[str, Any]) -> Event:
    """The record as an event; a body may be JSON in a text, or stand in an attribute of its own."""
    body = None if record.body is None else parse_json(record.body)
    if body is None:
        body = attributes.get("gen_ai.event.content")
    if isinstance(body, str) and body[:1] == "{":
        body = parse_json(body) or body
    return Event(name, attributes, body)


def _place(record: Record, event: Event) -> tuple[bool, int, int, int]:
    """Where an event stands in the conversation: choices by their index, all else by time."""
    index = event.attributes.get("gen_ai.message.index")
    if event.name == CHOICE:
        index = event.body.get("index") if isinstance(event.body, dict) else event.attributes.get("index")
        return False, 0, index if isinstance(index, int) else 0, record.time_ns
    whole = event.name == DETAILS
    return whole, record.time_ns, index if isinstance(index, int) else 0, PLACES.get(event.name, 0)


def _read_details(attributes: Mapping[str, Any], told: Told) -> None:
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
    if told.model is None and isinstance(model, str):
        told.model = model
    told.session_id = told.session_id or _name(attributes.get("gen_ai.conversation.id"))
    told.user_id = told.user_id or _name(attributes.get("user.id"))
    told.tokens = told.tokens or _usage(attributes)


def _name(value: Any) -> str | None:
    return value[:MAX_LABEL] if isinstance(value, str) and value else None


def _usage(attributes: Mapping[str, Any]) -> Tokens | None:
    names = next(each for each in GEN_AI.tokens if isinstance(each, TokenKeys))
    counts: dict[str, int | None] = {}
    for field in Tokens.__struct_fields__:
        found = (count(attributes.get(name), name, Notes()) for name in getattr(names, field))
        counts[field] = next((value for value in found if value is not None), None)
    tokens = whole_input(Tokens(**counts), None, names.exclusive)
    return None if tokens.input is None and tokens.output is None else tokens


def _read_exception(record: Record, name: str, attributes: Mapping[str, Any], told: Told) -> None:
    """The last exception stands: it is the one that ended the step.

    An event that stands for the exception fails its step; a line of a log that mentions one (it may have been dealt
    with) only explains a step that failed anyway.
    """
    fields = [attributes.get(f"exception.{field}") for field in ("type", "message", "stacktrace")]
    texts = [field if field is None or isinstance(field, str) else orjson.dumps(field).decode() for field in fields]
    if not any(texts):
        return
    told.error = StepError(*texts)
    told.failed = told.failed or (name in EXCEPTIONS and (record.severity == 0 or record.severity >= ERROR_SEVERITY))


def _text(messages: list[Any]) -> str | None:
    if not messages:
        return None
    try:
        return orjson.dumps(messages).decode()
    except TypeError:  # deeper than can be written: the record itself still shows it
        return None
