"""Whether a span failed, and how: from its status, its exception events and its error attributes together."""

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from collector.mapping.dialects.dialect import Attributes, Composed, View
from collector.mapping.dialects.plan import Plan
from collector.mapping.values import Notes, json_text, read_attributes
from collector.model import Status, StepError

NO_OUTCOME = ("unset", 0, None, None, None, None)
STATUSES: tuple[Status, Status] = ("unset", "ok")
STATUS_CODES = (
    *("http.response.status_code", "http.status_code", "rpc.response.status_code", "rpc.grpc.status_code"),
    "db.response.status_code",
)


def read_outcome(view: View, plan: Plan) -> tuple[Any, ...]:
    """`status` to `error_stacktrace`."""
    code, message = 0, None
    if view.span.HasField("status"):
        code, message = view.span.status.code, view.span.status.message or None
    if (code or plan.may_fail or view.events) and (error := read_failure(view, plan.errors)) is not None:
        return "error", code, message, error.type, error.message, error.stacktrace
    return STATUSES[code == 1], code, message, None, None, None


def read_failure(view: View, own: tuple[Composed, ...]) -> StepError | None:
    """The error, or None where the span did not fail; `own` are what its dialects tell of failures.

    A failed status decides. Where none was set, an exception event or `error.type` does, but for a server's answer
    below 500, which is the client's fault; where a status of OK was set, only a tool's own error does.
    """
    span, attributes = view.span, view.attributes
    code = span.status.code
    if code == SpanStatus.STATUS_CODE_OK and view.kind != "tool":
        return None
    exception = _last_exception(span, view.notes)
    error_type = attributes.get("error.type")
    told = next((error for each in own if (error := each.read(view)) is not None), None)
    if code == SpanStatus.STATUS_CODE_ERROR:
        failed = True
    elif code == SpanStatus.STATUS_CODE_OK:
        failed = bool(error_type)
    else:
        failed = (exception is not None or bool(error_type)) and not _is_fine_answer(span, attributes)
    if not failed:
        return told
    return _filled(_described(span, attributes, exception), told)


def _filled(error: StepError, told: StepError | None) -> StepError:
    if told is None:
        return error
    return StepError(error.type or told.type, error.message or told.message, error.stacktrace or told.stacktrace)


def _is_fine_answer(span: Span, attributes: Attributes) -> bool:
    answered = attributes.get("http.response.status_code", attributes.get("http.status_code"))
    return span.kind == Span.SPAN_KIND_SERVER and isinstance(answered, int) and 0 < answered < 500


def _last_exception(span: Span, notes: Notes) -> Attributes | None:
    found = None
    for event in span.events:
        if event.name == "exception":
            found = event
    return None if found is None else read_attributes(found.attributes, notes)


def _described(span: Span, attributes: Attributes, exception: Attributes | None) -> StepError:
    told = exception or attributes
    error_type = told.get("exception.type") or attributes.get("error.type")
    message = told.get("exception.message") or span.status.message
    return StepError(
        type=_text(error_type),
        message=_text(message or _from_attributes(attributes)),
        stacktrace=_text(told.get("exception.stacktrace")),
    )


def _from_attributes(attributes: Attributes) -> Any:
    for key in ("error.message", "exception.message"):
        if attributes.get(key):
            return attributes[key]
    for key in STATUS_CODES:
        if (code := attributes.get(key)) is not None:
            family = "HTTP" if key.startswith("http") else "gRPC" if "grpc" in key else "Status"
            return f"{family} {code}"
    return None


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json_text(value)
