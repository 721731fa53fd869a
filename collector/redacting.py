"""Secrets blacked out before anything is stored, where `XRAY_REDACT_STORAGE` asks for it."""

from typing import Any

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from collector.model import Batch, OriginRow, RecordRow, Refusal, StepRow
from collector.reasoning.redact import Redactor
from collector.receiver.ingest import Store

TEXTS = ("name", "status_message", "error_message", "error_stacktrace")
JSON_TEXTS = ("input", "output", "extra", "attributes", "events", "links")
WARNING = "what looked like a secret was blacked out before this was stored"


class RedactingStore:
    """Stands before a store; what a request's spool copy holds is redacted when it is replayed."""

    def __init__(self, store: Store, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor

    async def write(self, batch: Batch) -> list[Refusal]:
        redacted = Batch(
            steps=[self._step(row) for row in batch.steps],
            records=[self._record(row) for row in batch.records],
            origins={key: self._origin(row) for key, row in batch.origins.items()},
            refusals=batch.refusals,
            size_bytes=batch.size_bytes,
        )
        return await self._store.write(redacted)

    def _step(self, row: StepRow) -> StepRow:
        changes = self._changes(row, TEXTS, JSON_TEXTS)
        if not changes:
            return row
        # The span as it came would hold the secret still.
        return row._replace(**changes, wire=None, warnings=_with_warning(row.warnings))

    def _record(self, row: RecordRow) -> RecordRow:
        changes = self._changes(row, (), ("body", "attributes"))
        return row._replace(**changes, warnings=_with_warning(row.warnings)) if changes else row

    def _origin(self, row: OriginRow) -> OriginRow:
        changes = self._changes(row, (), ("resource", "scope"))
        return row._replace(**changes, wire=self._wire(row.wire)) if changes else row

    def _wire(self, wire: bytes) -> bytes:
        message = ResourceSpans.FromString(wire)
        scopes = (scope_spans.scope.attributes for scope_spans in message.scope_spans)
        for attributes in (message.resource.attributes, *scopes):
            for pair in attributes:
                if pair.value.string_value:
                    named = msgspec.json.encode({pair.key: pair.value.string_value}).decode()
                    pair.value.string_value = msgspec.json.decode(self._redactor.json(named))[pair.key]
        return bytes(message.SerializeToString())

    def _changes(self, row: Any, texts: tuple[str, ...], json_texts: tuple[str, ...]) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        for names, redact in ((texts, self._redactor.text), (json_texts, self._redactor.json)):
            for name in names:
                value = getattr(row, name)
                if value and (redacted := redact(value)) != value:
                    changes[name] = redacted
        return changes


def _with_warning(warnings: str | None) -> str:
    told: list[str] = msgspec.json.decode(warnings) if warnings else []
    return msgspec.json.encode([*told, WARNING]).decode()
