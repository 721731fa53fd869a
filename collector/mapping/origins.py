"""The resource and scope of spans, stored once for all that share them."""

import hashlib
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from collector.mapping.values import NUL_NOTE, Notes, has_nul, json_text, label, read_attributes, without_nul
from collector.model import OriginRow

DIGEST_BYTES = 16


class Origin(NamedTuple):
    """What the spans of one scope of one resource have in common."""

    row: OriginRow
    resource: dict[str, Any]
    scope_name: str
    warnings: list[str]

    @property
    def environment(self) -> str | None:
        given = self.resource.get("deployment.environment.name") or self.resource.get("deployment.environment")
        return label(given, "deployment.environment.name", Notes())


def read_origin(project_id: int, resource: Resource, scope: InstrumentationScope, urls: tuple[str, str]) -> Origin:
    """The origin of spans or records; `urls` are the schema URLs of the resource and of the scope."""
    envelope = ResourceSpans(schema_url=urls[0])
    envelope.resource.CopyFrom(resource)
    envelope.scope_spans.add(schema_url=urls[1]).scope.CopyFrom(scope)
    wire = envelope.SerializeToString(deterministic=True)
    notes = Notes()
    found = read_attributes(resource.attributes, notes)
    scope_attributes = read_attributes(scope.attributes, notes)
    row = OriginRow(
        project_id=project_id,
        origin_id=hashlib.blake2b(wire, digest_size=DIGEST_BYTES).digest(),
        service=_clean(label(found.get("service.name"), "service.name", notes)),
        resource=_described({"attributes": found}, resource, urls[0], notes),
        scope=_described(
            {"name": scope.name, "version": scope.version, "attributes": scope_attributes}, scope, urls[1], notes
        ),
        wire=wire,
    )
    return Origin(row, without_nul(found), scope.name, notes.warnings)


def _described(facts: dict[str, Any], source: Resource | InstrumentationScope, url: str, notes: Notes) -> str:
    if source.dropped_attributes_count:
        facts["dropped_attributes_count"] = source.dropped_attributes_count
    if url:
        facts["schema_url"] = url
    text = json_text(facts)
    if has_nul(text) and (cleaned := json_text(without_nul(facts))) != text:
        notes.warn(f"{NUL_NOTE} in the resource or scope")
        return cleaned
    return text


def _clean(text: str | None) -> str | None:
    return None if text is None else str(without_nul(text))
