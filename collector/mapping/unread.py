"""OTLP's trace messages once more, with the attributes of spans left as bytes.

The wire format is the same. But each message inside a message costs Python an object, and attributes are most of what
a span holds; the same few come with span after span, so that `collector.mapping.pairs` knows most by their bytes.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

PACKAGE = "xray.unread"
OWN = ("TracesData", "ResourceSpans", "ScopeSpans", "Span")
"""Messages on the way to a span's attributes; what else they hold stays OTLP's own."""


def _descriptors() -> FileDescriptorProto:
    otlp, found = FileDescriptorProto(), FileDescriptorProto()
    trace_pb2.DESCRIPTOR.CopyToProto(otlp)
    found.name, found.package, found.syntax = "xray/unread.proto", PACKAGE, otlp.syntax
    found.dependency.extend([*otlp.dependency, otlp.name])
    of_otlp = {f".{otlp.package}.{name}": f".{PACKAGE}.{name}" for name in OWN}
    for message in otlp.message_type:
        if message.name in OWN:
            own = found.message_type.add(name=message.name)
            own.field.extend(message.field)
            for field in own.field:
                if field.type_name:
                    field.type_name = of_otlp.get(field.type_name, field.type_name)
                if message.name == "Span" and field.name == "attributes":
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    field.ClearField("type_name")
    return found


def _messages() -> tuple[Any, Any]:
    pool: DescriptorPool = trace_pb2.DESCRIPTOR.pool
    pool.AddSerializedFile(_descriptors().SerializeToString())
    return tuple(GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in ("TracesData", "Span"))


UnreadTraces, UnreadSpan = _messages()
"""An `ExportTraceServiceRequest` (whose fields are those of `TracesData`) and a `Span` whose `attributes` are bytes."""


def unread(request: Any) -> Any:
    """The request with its spans' attributes as bytes; the same object where they are."""
    if isinstance(request, ExportTraceServiceRequest):
        return UnreadTraces.FromString(request.SerializeToString())
    return request
