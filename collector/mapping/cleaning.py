"""Rows without NUL, which Postgres can't store."""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.values import NUL_NOTE, Notes, clean_json, without_nul
from collector.model import StepRow

JSON_COLUMNS = ("input", "output", "extra", "attributes", "events", "links")
TEXT_COLUMNS = (
    *("name", "status_message", "error_type", "error_message", "error_stacktrace", "input_key", "output_key", "model"),
    *("provider", "tool", "session_id", "user_id", "trace_state"),
)


def may_hold_nul(row: StepRow) -> bool:
    """A cheap look at all that can bring a NUL in: other columns are made of these."""
    sent, answered, events, links = row.input, row.output, row.events, row.links
    return (
        # Most texts have no backslash at all, which is found out many times faster.
        ("\\" in row.attributes and "\\u0000" in row.attributes)
        or (sent is not None and "\\" in sent and "\\u0000" in sent)
        or (answered is not None and "\\" in answered and "\\u0000" in answered)
        or (events is not None and "\\u0000" in events)
        or (links is not None and "\\u0000" in links)
        or "\x00" in row.name
        or (row.status_message is not None and "\x00" in row.status_message)
        or (row.trace_state is not None and "\x00" in row.trace_state)
    )


def cleaned(row: StepRow, span: Span) -> StepRow:
    """The row with U+FFFD for every NUL; the same row where there was none."""
    found: dict[str, Any] = {}
    for column in JSON_COLUMNS:
        text = getattr(row, column)
        if text is not None and (clean := clean_json(text)) is not text:
            found[column] = clean
    for column in TEXT_COLUMNS:
        text = getattr(row, column)
        if text is not None and "\x00" in text:
            found[column] = without_nul(text)
    if not found:
        return row
    notes = Notes()
    notes.altered(NUL_NOTE)
    return row._replace(**found, warnings=notes.json(row.warnings), wire=row.wire or span.SerializeToString())
