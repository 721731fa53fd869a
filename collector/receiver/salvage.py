"""A second, lenient reading of requests that protobuf's parser refused as a whole.

It refuses a request for one string that is not UTF-8 and for one value nested too deeply. Here each span is tried by
itself; only those that fail are walked field by field and mended; only those that can't be mended are refused.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from collector.receiver.deep import text_of_wire
from collector.receiver.findings import BAD_TEXT, LOGS_AS_SPANS, MAX_MESSAGE_DEPTH, TOO_DEEP, Findings, Notes
from collector.receiver.shape import TRACES, Shape
from collector.receiver.wire import BYTES, Malformed, delimited, fields

ANY_VALUE = "opentelemetry.proto.common.v1.AnyValue"
CHILD_SCOPES = CHILD_ITEMS = 2
LOG_TIMES = (b"\x09", b"\x59")
"""How a log record begins: `time_unix_nano` or `observed_time_unix_nano`, where a span has its trace id as bytes."""


def salvage(shape: Shape, body: bytes) -> tuple[Any, Findings]:
    """As much of the request as can be read. Raises Malformed where its frame is broken."""
    request, salvager = shape.request(), _Salvager(shape)
    for field in fields(body):
        if field.number == 1 and field.wire_type == BYTES:
            salvager.resource(getattr(request, shape.resources).add(), field.payload)
    return request, salvager.findings


class _Salvager:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.findings = Findings()

    def resource(self, target: Any, data: memoryview) -> None:
        notes = self._own_fields(target, data, CHILD_SCOPES)
        for field in fields(data):
            if field.number == CHILD_SCOPES and field.wire_type == BYTES:
                self._scope(getattr(target, self._shape.scopes).add(), field.payload, notes)

    def _scope(self, target: Any, data: memoryview, inherited: Notes) -> None:
        notes = self._own_fields(target, data, CHILD_ITEMS)
        items = getattr(target, self._shape.items)
        for field in fields(data):
            if field.number == CHILD_ITEMS and field.wire_type == BYTES:
                self._item(items, field.payload, inherited + notes)

    def _own_fields(self, target: Any, data: memoryview, children: int) -> Notes:
        """Everything but the children: the resource or scope itself, the schema URL."""
        own = b"".join(field.raw for field in fields(data) if field.number != children)
        notes = Notes()
        try:
            target.MergeFromString(own)
        except DecodeError:
            target.Clear()
            self._merge(target, mend(own, target.DESCRIPTOR, notes))
        return notes

    def _item(self, items: Any, data: memoryview, inherited: list[str]) -> None:
        item, notes = items.add(), Notes()
        try:
            item.MergeFromString(bytes(data))
        except DecodeError:
            item.Clear()
            try:
                self._merge(item, mend(data, item.DESCRIPTOR, notes))
            except Malformed:
                del items[-1]
                self._refuse(data)
                return
        self.findings.repaired(item, self._shape, notes, inherited)

    def _merge(self, target: Any, data: bytes) -> None:
        try:
            target.MergeFromString(data)
        except DecodeError:
            raise Malformed from None

    def _refuse(self, data: memoryview) -> None:
        if self._shape is TRACES and bytes(data[:1]) in LOG_TIMES:
            self.findings.refuse("not_spans", LOGS_AS_SPANS)
        else:
            self.findings.refuse("malformed", "its bytes are not a protobuf message; it was cut or overwritten")


def mend(data: bytes | memoryview, descriptor: Descriptor, notes: Notes) -> bytes:
    """The message again, with text that is UTF-8 and values that are not too deep. Raises Malformed."""
    out = bytearray()
    for number, wire_type, raw, payload in fields(data):
        field = descriptor.fields_by_number.get(number)
        if field is None or wire_type != BYTES:
            out += raw
        elif field.type == FieldDescriptor.TYPE_STRING:
            out += _mended_text(number, raw, payload, notes)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            out += delimited(number, _mended_message(payload, field.message_type, notes))
        else:
            out += raw
    return bytes(out)


def _mended_text(number: int, raw: memoryview, payload: memoryview, notes: Notes) -> bytes | memoryview:
    try:
        str(payload, "utf-8")
    except UnicodeDecodeError:
        notes.append(BAD_TEXT)
        return delimited(number, str(payload, "utf-8", "replace").encode())
    return raw


def _mended_message(data: memoryview, descriptor: Descriptor, notes: Notes) -> bytes:
    if descriptor.full_name == ANY_VALUE and notes.depth >= MAX_MESSAGE_DEPTH:
        notes.append(TOO_DEEP)
        return delimited(1, text_of_wire(data).encode())
    notes.depth += 1
    try:
        return mend(data, descriptor, notes)
    finally:
        notes.depth -= 1
