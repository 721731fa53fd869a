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


def may_hold_nul(name: str, attributes: str, *others: str | None) -> bool:
    """A cheap look at all that can bring a NUL in, written as JSON or plain: other columns are made of these."""
    # Most texts have no backslash at all, which is found out many times faster.
    if "\x00" in name or ("\\" in attributes and "\\u0000" in attributes):
        return True
    for text in others:  # noqa: SIM110 - half the time of any(…), and every span passes here
        if text and (("\\" in text and "\\u0000" in text) or "\x00" in text):
            return True
    return False


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
