"""Log records to the steps they belong to: messages become input and output, exceptions become errors.

What a span said itself wins. The records of a step count in one order, by time, whatever order they came in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import orjson

from collector.model import Record, Step, StepError, Tokens

ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
DETAILS = "gen_ai.client.inference.operation.details"
EXCEPTIONS = frozenset({"exception", "gen_ai.client.operation.exception"})
PROMPTS = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.content.completion": "gen_ai.completion"}
MESSAGE_FIELDS = ("role", "content", "name", "id", "tool_calls", "finish_reason", "index", "message")
ERROR_SEVERITY = 17
USAGE = {
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cached": ("gen_ai.usage.cache_read.input_tokens",),
    "reasoning": ("gen_ai.usage.reasoning.output_tokens",),
    "cache_write": ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
}


class Told(msgspec.Struct):
    """What the log records of one step say together."""

    messages: list[dict[str, Any]] = []
    choices: list[dict[str, Any]] = []
    whole_input: Any = None
    whole_output: Any = None
    error: StepError | None = None
    failed: bool = False
    tokens: Tokens | None = None
    model: str | None = None

    @property
    def input(self) -> str | None:
        return _text(self.messages if self.whole_input is None else self.whole_input)

    @property
    def output(self) -> str | None:
        return _text(self.choices if self.whole_output is None else self.whole_output)


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
        for name in ("input", "output", "tokens", "model")
        if getattr(step, name) is None and (value := getattr(told, name)) is not None
    }
    # A step whose error has a stack trace had the exception as a span event: that one wins.
    if (
        told.error is not None
        and (step.status == "error" or told.failed)
        and not (step.error and step.error.stacktrace)
    ):
        changes["error"] = _better(told.error, step.error)
    if told.failed and step.status == "unset":
        changes["status"] = "error"
    return msgspec.structs.replace(step, **changes) if changes else step


def _better(error: StepError, known: StepError | None) -> StepError:
    if known is None:
        return error
    return StepError(error.type or known.type, error.message or known.message, error.stacktrace or known.stacktrace)


def tell(records: list[Record]) -> Told:
    """Reads records in the order of `once`."""
    told = Told()
    placed: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
    for record in records:
        _read(record, told, placed)
    # Messages stamped with one time are ordered by their index, then as a conversation goes.
    told.messages = [message for _, message in sorted(placed, key=lambda pair: pair[0])]
    told.choices.sort(key=lambda choice: choice.pop("index"))
    return told


def _read(record: Record, told: Told, placed: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> None:
    name = record.event_name or _event_name(record)
    if name in ROLES:
        said = _said(record)
        role = ROLES[name]
        index = said.pop("index", None)
        place = (record.time_ns, index if isinstance(index, int) else 0, list(ROLES).index(name))
        placed.append((place, {"role": role, **said}))
    elif name == CHOICE:
        told.choices.append(_choice(_said(record)))
    elif name == DETAILS:
        _read_details(_attributes(record), told)
    elif name in PROMPTS:
        text = _attributes(record).get(PROMPTS[name])
        if name == "gen_ai.content.prompt":
            told.whole_input = told.whole_input or _decoded(text)
        else:
            told.whole_output = told.whole_output or _decoded(text)
    elif name in EXCEPTIONS or "exception." in record.attributes:
        _read_exception(record, name, told)


def _event_name(record: Record) -> str:
    if '"event.name"' not in record.attributes:
        return ""
    return str(_attributes(record).get("event.name") or "")


def _attributes(record: Record) -> dict[str, Any]:
    found = _parsed(record.attributes)
    return found if isinstance(found, dict) else {}


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _decoded(value: Any) -> Any:
    """A value that may be JSON in a string."""
    return _parsed(value) if isinstance(value, str) and value[:1] in ("{", "[") else value


def _said(record: Record) -> dict[str, Any]:
    """A message's fields: from the body, from one attribute that holds it as JSON, or from attributes of its own."""
    attributes = _attributes(record)
    body = _decoded(_parsed(record.body))
    if body is None:
        body = _decoded(attributes.get("gen_ai.event.content"))
    if body is None:
        body = {name: attributes[name] for name in MESSAGE_FIELDS if name in attributes}
    said = dict(body) if isinstance(body, dict) else {"content": body}
    if isinstance(index := attributes.get("gen_ai.message.index"), int):
        said.setdefault("index", index)
    if "tool_calls" in said:
        said["tool_calls"] = _decoded(said["tool_calls"])
    return said


def _choice(said: dict[str, Any]) -> dict[str, Any]:
    """One answer: its message's fields beside its own."""
    message = _decoded(said.pop("message", None))
    inner = message if isinstance(message, dict) else {} if message is None else {"content": message}
    index = said.pop("index", 0)
    return {"role": "assistant", **inner, **said, "index": index if isinstance(index, int) else 0}


def _read_details(attributes: Mapping[str, Any], told: Told) -> None:
    """The whole call in one record; structured messages win over single ones."""
    messages = _decoded(attributes.get("gen_ai.input.messages"))
    instructions = _decoded(attributes.get("gen_ai.system_instructions"))
    if told.whole_input is None and (messages or instructions):
        system = [{"role": "system", "parts": instructions}] if instructions else []
        told.whole_input = [*system, *(messages if isinstance(messages, list) else [messages] if messages else [])]
    if told.whole_output is None:
        told.whole_output = _decoded(attributes.get("gen_ai.output.messages"))
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
    told.model = told.model or (model if isinstance(model, str) else None)
    told.tokens = told.tokens or _usage(attributes)


def _usage(attributes: Mapping[str, Any]) -> Tokens | None:
    counts: dict[str, int] = {}
    for field, names in USAGE.items():
        values = [attributes[name] for name in names if isinstance(attributes.get(name), int)]
        if values:
            counts[field] = values[0]
    return Tokens(**counts) if "input" in counts or "output" in counts else None


def _read_exception(record: Record, name: str, told: Told) -> None:
    """The last exception stands: it is the one that ended the step.

    An event that stands for the exception fails its step; a line of a log that mentions one (it may have been dealt
    with) only explains a step that failed anyway.
    """
    attributes = _attributes(record)
    fields = [attributes.get(f"exception.{field}") for field in ("type", "message", "stacktrace")]
    texts = [field if field is None or isinstance(field, str) else orjson.dumps(field).decode() for field in fields]
    if not any(texts):
        return
    told.error = StepError(*texts)
    told.failed = told.failed or (name in EXCEPTIONS and (record.severity == 0 or record.severity >= ERROR_SEVERITY))


def _text(value: Any) -> str | None:
    if value is None or value == [] or value == "":
        return None
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # deeper than can be written: the record itself still shows it
        return None
