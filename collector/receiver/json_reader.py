"""OTLP/JSON to the same protobuf messages that the binary form gives.

Not protobuf's JSON: ids are hex, enums are integers, unknown keys are skipped. What senders do besides is read, too:
snake_case keys, enum names, integers as numbers. A fault in a span (or log record) costs that span; a fault of the
document's shape refuses the request and says where.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from collector.errors import Rejected
from collector.receiver.deep import text_of_json
from collector.receiver.findings import LOGS_AS_SPANS, MAX_MESSAGE_DEPTH, TOO_DEEP, Findings, Notes
from collector.receiver.json_scalars import SIGNED_64, Misfit, Setter, double, integer, scalar_setter, text
from collector.receiver.shape import LOGS, SHAPES, TRACES, Shape

ANY_VALUE = "opentelemetry.proto.common.v1.AnyValue"
CONTAINERS = frozenset(name for shape in SHAPES for name in (shape.resources, shape.scopes, shape.items))


class JsonReader:
    """Tables of setters by JSON key, one for each message type; built once, then only read."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Setter]] = {}
        for shape in SHAPES:
            self._learn(shape.request.DESCRIPTOR)
        self._tables[ANY_VALUE] |= {"intValue": _set_int_value, "int_value": _set_int_value}

    def read(self, shape: Shape, document: dict[str, Any]) -> tuple[Any, Findings]:
        """A request and what was found in it. Raises Rejected for a document of the wrong shape."""
        request, findings = shape.request(), Findings()
        if shape is TRACES and (strays := _count_logs(document)):
            findings.refuse("not_spans", LOGS_AS_SPANS, strays)
        for entry in _objects(document, shape.resources):
            resource = getattr(request, shape.resources).add()
            notes = self._fill_whole(resource, entry)
            for scope_entry in _objects(entry, shape.scopes):
                scope = getattr(resource, shape.scopes).add()
                inherited = notes + self._fill_whole(scope, scope_entry)
                items = getattr(scope, shape.items)
                for item in children(scope_entry, shape.items):
                    self._read_item(shape, items, item, findings, inherited)
        return request, findings

    def _read_item(self, shape: Shape, items: Any, item: Any, findings: Findings, inherited: list[str]) -> None:
        message, notes = items.add(), Notes()
        try:
            self._fill(message, item, notes)
        except Misfit as fault:
            del items[-1]
            findings.refuse(fault.reason, str(fault))
        else:
            findings.repaired(message, shape, notes, inherited)

    def _fill_whole(self, message: Any, entry: Any) -> Notes:
        """A resource or scope: a fault in it concerns all below it, so it refuses the request."""
        notes = Notes()
        try:
            self._fill(message, entry, notes)
        except Misfit as fault:
            raise Rejected(f"{message.DESCRIPTOR.name}: {fault}.") from None
        return notes

    def _fill(self, message: Any, entry: Any, notes: Notes) -> None:
        if not isinstance(entry, dict):
            raise Misfit(f"{message.DESCRIPTOR.name} must be an object")
        table = self._tables[message.DESCRIPTOR.full_name]
        notes.depth += 1
        for key, value in entry.items():
            if value is not None and (put := table.get(key)) is not None:
                put(message, value, notes)
        notes.depth -= 1

    def _fill_value(self, message: Any, entry: Any, notes: Notes) -> None:
        """An AnyValue; one that is nested too deeply becomes text."""
        if notes.depth >= MAX_MESSAGE_DEPTH:
            notes.append(TOO_DEEP)
            message.string_value = text_of_json(entry)
        else:
            self._fill(message, entry, notes)

    def _learn(self, descriptor: Descriptor) -> None:
        if descriptor.full_name in self._tables:
            return
        table = self._tables[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                self._learn(field.message_type)
            if field.name not in CONTAINERS:
                table[field.name] = table[field.json_name] = self._setter(field)

    def _setter(self, field: FieldDescriptor) -> Setter:
        if field.message_type is not None:
            return self._list_setter(field) if field.is_repeated else self._message_setter(field)
        return _strings_setter(field) if field.is_repeated else scalar_setter(field)

    def _message_setter(self, field: FieldDescriptor) -> Setter:
        name, fill = field.name, self._fill_of(field)

        def put(message: Any, value: Any, notes: Notes) -> None:
            child = getattr(message, name)
            child.SetInParent()
            fill(child, value, notes)

        return put

    def _list_setter(self, field: FieldDescriptor) -> Setter:
        name, fill = field.name, self._fill_of(field)

        def put(message: Any, value: Any, notes: Notes) -> None:
            target = getattr(message, name)
            for entry in array(value, name):
                fill(target.add(), {} if entry is None else entry, notes)

        return put

    def _fill_of(self, field: FieldDescriptor) -> Setter:
        return self._fill_value if field.message_type.full_name == ANY_VALUE else self._fill


def _strings_setter(field: FieldDescriptor) -> Setter:
    name = field.name

    def put(message: Any, value: Any, notes: Notes) -> None:
        getattr(message, name).extend(text(entry, notes) for entry in array(value, name))

    return put


def _set_int_value(message: Any, value: Any, notes: Notes) -> None:
    """An integer past 64 bits (JavaScript writes 1e+21) or with a fraction is kept as a double."""
    try:
        number = integer(value)
    except Misfit:
        number = None
    if number is not None and SIGNED_64[0] <= number <= SIGNED_64[1]:
        message.int_value = number
        return
    message.double_value = double(value)
    notes.append("an intValue that is no 64-bit integer was kept as a double")


def array(value: Any, name: str) -> list[Any]:
    """The entries of a JSON array. Raises Rejected for an object, where hand-made exporters go wrong."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        form = '[{"key": …, "value": {"stringValue": …}}]' if name == "attributes" else "[…]"
        raise Rejected(f"`{name}` must be an array, not an object: {form}.")
    raise Misfit(f"`{name}` must be an array")


def children(parent: dict[str, Any], name: str) -> list[Any]:
    """The entries of a container, by its camelCase or its snake_case key; none where it is missing or null."""
    first, *rest = name.split("_")
    value = parent.get(first + "".join(part.capitalize() for part in rest), parent.get(name))
    if value is None:
        return []
    try:
        return array(value, name)
    except Misfit as fault:
        raise Rejected(f"{fault}.") from None


def _objects(parent: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = [entry for entry in children(parent, name) if entry is not None]
    if not all(isinstance(entry, dict) for entry in entries):
        raise Rejected(f"`{name}` must be an array of objects.")
    return entries


def _count_logs(document: dict[str, Any]) -> int:
    """Log records in a document that brings no spans."""
    if children(document, TRACES.resources):
        return 0
    return count(document, LOGS.resources, LOGS.scopes, LOGS.items)


def count(document: dict[str, Any], resources: str, scopes: str, items: str) -> int:
    """How many items stand in a document, unread."""
    return sum(
        len(children(scope, items))
        for resource in _objects(document, resources)
        for scope in _objects(resource, scopes)
    )
