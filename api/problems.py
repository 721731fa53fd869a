"""Errors as RFC 9457 problem details: the one place where an error becomes an answer of the REST API."""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from collector.errors import (
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    XRayError,
)
from collector.telemetry import ErrorLog

PROBLEM_JSON = "application/problem+json"
STATUS_OF: dict[type[XRayError], HTTPStatus] = {
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Rejected: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class BadQuery(Rejected):
    """Parameters of a call can't be understood; every fault is listed."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__(" ".join(f"{fault.parameter}: {fault.detail}" for fault in faults))


class Problem(msgspec.Struct, omit_defaults=True):
    """An error as RFC 9457 has it."""

    title: str
    status: int
    detail: str = ""
    errors: list[Fault] = []


def problem(status: int, detail: str, errors: list[Fault] | None = None) -> Response[bytes]:
    body = Problem(HTTPStatus(status).phrase, int(status), detail, errors or [])
    return Response(msgspec.json.encode(body), status_code=status, media_type=PROBLEM_JSON)


def problem_handlers(errors: ErrorLog) -> dict[Any, Any]:
    """What turns an exception of a handler into an answer."""

    def on_xray_error(request: Request[Any, Any, Any], error: XRayError) -> Response[bytes]:
        status = next((code for kind, code in STATUS_OF.items() if isinstance(error, kind)), None)
        if status is None:
            return on_unexpected(request, error)
        answer = problem(status, str(error), error.faults if isinstance(error, BadQuery) else None)
        if isinstance(error, Unavailable):
            answer.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
        return answer

    def on_unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        errors.report("rest", error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "X-Ray could not answer this call; its log says why.")

    return {XRayError: on_xray_error, HTTPException: on_http_error, Exception: on_unexpected}


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Litestar's own refusals: an unknown path, a wrong method, a body that is not what was asked for."""
    faults = [
        Fault(str(fault.get("key", "body")), str(fault.get("message", "")))
        for fault in (error.extra if isinstance(error.extra, list) else [])
        if isinstance(fault, dict)
    ]
    call = f"{request.method} {request.url.path[:200]}"
    unknown = {404: f"There is no {call}: /schema lists all calls.", 405: f"There is no {call}: see the header Allow."}
    answer = problem(error.status_code, unknown.get(error.status_code, error.detail), faults)
    answer.headers.update(error.headers or {})
    return answer
