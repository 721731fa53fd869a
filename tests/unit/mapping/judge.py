"""The recordings, and whether steps show what a person expects of them (rules: `tests/recordings/README.md`)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.model import Facts, Step

FOLDER = Path(__file__).parents[2] / "recordings"
NAMES = sorted(path.name.removesuffix(".expected.json") for path in FOLDER.glob("*.expected.json"))
STEP_FIELDS = ("kind", "input", "output", "model", "input_tokens", "output_tokens", "cost", "error", "tool")
TRACE_FIELDS = {"root": "name", "root_parent_missing": "root_missing", "service": "service"}

Request = ExportTraceServiceRequest | ExportLogsServiceRequest


def requests(name: str) -> list[Request]:
    """The requests of a recording in the order they were sent."""
    kinds = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}
    entries = json.loads((FOLDER / f"{name}.headers.json").read_text())
    return [
        kinds[entry["signal"]].FromString((FOLDER / entry["file"]).read_bytes())
        for entry in entries
        if entry["signal"] in kinds
    ]


def expected(name: str) -> dict[bytes, dict[str, Any]]:
    traces = json.loads((FOLDER / f"{name}.expected.json").read_text())["traces"]
    return {bytes.fromhex(trace_id): trace for trace_id, trace in traces.items()}


def wrong(trace: dict[str, Any], steps: list[Step], facts: Facts) -> Iterator[str]:
    """What does not fit, in words."""
    by_id = {step.span_id.hex(): step for step in steps}
    for name, member in (*TRACE_FIELDS.items(), ("session_id", "session_id"), ("user_id", "user_id")):
        if getattr(facts, member) != trace[name]:
            yield f"{member}: expected {trace[name]!r}, got {getattr(facts, member)!r}"
    if sorted(by_id) != sorted(span["span_id"] for span in trace["spans"]) or len(steps) != len(by_id):
        yield "other spans than expected"
        return
    for span in trace["spans"]:
        step = by_id[span["span_id"]]
        is_root = span["span_id"] == trace["root_span_id"]
        for field in STEP_FIELDS:
            if field in span and not fits(field, span[field], step, is_root):
                yield f"{span['name']} {field}: expected {span[field]!r}, got {stored(field, step)!r}"


def stored(field: str, step: Step) -> Any:
    if field in ("input_tokens", "output_tokens"):
        return getattr(step.tokens, field.removesuffix("_tokens")) if step.tokens else None
    if field in ("input", "output"):
        text = getattr(step, field)
        return None if text is None else json.loads(text)
    if field == "error":
        return step.status, step.error
    return step.cost_usd if field == "cost" else getattr(step, field)


def fits(field: str, want: Any, step: Step, is_root: bool) -> bool:
    got = stored(field, step)
    if want == {"ignore": True}:
        return True
    if field == "error":
        return error_fits(want, step)
    if field in ("input", "output"):
        return (got is None or is_root) if want is None else got is not None and shows(got, want["contains"])
    if field == "cost" and want is not None:
        return got is not None and abs(got - want) < 1e-9
    return got in want if isinstance(want, list) else bool(got == want)


def error_fits(want: dict[str, Any] | None, step: Step) -> bool:
    counts = step.status == "error"
    if want is None:
        return not counts
    told = {name: getattr(step.error, name, None) for name in ("type", "message", "stacktrace")}
    if "any" in want:
        return counts and shows(told, want["any"])
    return counts and all(want[name] is None or shows(told[name], want[name]) for name in ("type", "message"))


def shows(value: Any, text: str) -> bool:
    keys: set[str] = set()
    parts = list(texts(value, keys))
    return text in " ".join(parts) or text in "".join(parts) or text in keys


def texts(value: Any, keys: set[str]) -> Iterator[str]:
    """All texts and numbers in a JSON value, JSON inside of strings decoded; names of members go to `keys`."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        try:
            value = json.loads(value)
        except ValueError:
            pass
        else:
            yield from texts(value, keys)
            return
    if isinstance(value, dict):
        keys.update(value)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from texts(each, keys)
    elif value is not None:
        yield value if isinstance(value, str) else json.dumps(value)
