"""Bytes to OTLP messages: strict first, then lenient, so that a fault costs no more than what it stands in."""

import enum
from contextlib import suppress
from typing import Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.errors import Rejected
from collector.receiver.findings import Findings
from collector.receiver.json_reader import JsonReader, count
from collector.receiver.json_text import parse_json
from collector.receiver.salvage import salvage
from collector.receiver.shape import LOGS, TRACES, Shape
from collector.receiver.wire import Malformed


class Encoding(enum.Enum):
    PROTOBUF = "protobuf"
    JSON = "json"


class Decoded(msgspec.Struct):
    request: Any
    findings: Findings


class Decoder:
    """Reads requests of all signals. Raises Rejected for a body that can't be read at all.

    The strict reading leaves the attributes of spans unread: mapping raises Unreadable for a bad one, and then the
    request is to be read again, leniently.
    """

    def __init__(self) -> None:
        self._json = JsonReader()

    def traces(self, body: bytes, encoding: Encoding, *, leniently: bool = False) -> Decoded:
        return self._decode(body, encoding, TRACES, leniently)

    def logs(self, body: bytes, encoding: Encoding, *, leniently: bool = False) -> Decoded:
        return self._decode(body, encoding, LOGS, leniently)

    def metrics(self, body: bytes, encoding: Encoding) -> int:
        """How many metrics a request brings: they are counted, not kept."""
        if encoding is Encoding.JSON:
            return count(parse_json(body), "resource_metrics", "scope_metrics", "metrics")
        try:
            request = ExportMetricsServiceRequest.FromString(body)
        except DecodeError:
            raise _undecodable("ExportMetricsServiceRequest") from None
        return sum(len(scope.metrics) for resource in request.resource_metrics for scope in resource.scope_metrics)

    def _decode(self, body: bytes, encoding: Encoding, shape: Shape, leniently: bool) -> Decoded:
        if encoding is Encoding.JSON:
            return Decoded(*self._json.read(shape, parse_json(body)))
        if not leniently:
            with suppress(DecodeError):
                return Decoded(shape.quick.FromString(body), Findings())
        try:
            return Decoded(*salvage(shape, body))
        except Malformed:
            raise _undecodable(shape.request.DESCRIPTOR.name) from None


def _undecodable(message: str) -> Rejected:
    return Rejected(
        f"The body is not a protobuf {message}: it is cut off, compressed without a Content-Encoding, "
        "or another message. Send an OTLP request, or OTLP/JSON with Content-Type: application/json."
    )
