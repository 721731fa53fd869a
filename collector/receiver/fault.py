"""An error as both doors answer it: the one place that turns errors into status codes."""

import random

import msgspec
import orjson
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from collector.errors import Forbidden, Overloaded, Rejected, TooLarge, Unauthenticated, Unavailable

INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 3, 7, 8, 12
UNAVAILABLE, UNAUTHENTICATED = 14, 16
LEAST_WAIT_S, MOST_WAIT_S = 1.0, 3.0
"""Clients give up on an export after 10 s in all: a longer wait makes them drop it."""
UNEXPECTED = "An unexpected error occurred; send it again."
MESSAGE_LIMIT = 1000
"""A gRPC status travels in trailers, two or three times; clients take 8 KiB of them."""


class WrongMediaType(Rejected):
    """A Content-Type or Content-Encoding that nobody here reads."""


class WrongMethod(Rejected):
    """The path takes POST alone."""


class Fault(msgspec.Struct, frozen=True):
    """`code` is the gRPC status, `http_status` the same over HTTP. Only a fault with a wait is to be tried again."""

    word: str
    """What the metric calls it."""
    code: int
    http_status: int
    message: str
    retry_after_s: float | None = None
    bad_request: bool = False

    def status(self) -> Status:
        """The google.rpc.Status that every error answer holds."""
        status = Status(code=self.code, message=self.message)
        if self.bad_request:
            violation = BadRequest.FieldViolation(field="body", description=self.message)
            status.details.add().Pack(BadRequest(field_violations=[violation]))
        if (wait := self.retry_info()) is not None:
            status.details.add().Pack(wait)
        return status

    def retry_info(self) -> RetryInfo | None:
        if self.retry_after_s is None:
            return None
        seconds = int(self.retry_after_s)
        nanos = int((self.retry_after_s - seconds) * 1e9)
        return RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos))

    def status_json(self) -> bytes:
        """The same Status in protobuf's JSON."""
        details: list[dict[str, object]] = []
        if self.bad_request:
            violation = {"field": "body", "description": self.message}
            details.append({"@type": _type_url(BadRequest), "fieldViolations": [violation]})
        if self.retry_after_s is not None:
            details.append({"@type": _type_url(RetryInfo), "retryDelay": f"{self.retry_after_s:.3f}s"})
        return orjson.dumps({"code": self.code, "message": self.message, "details": details})


def fault_of(error: BaseException) -> Fault:
    """What to answer to an error. What nobody foresaw may pass: it is answered so that clients try again."""
    message = str(error)[:MESSAGE_LIMIT]
    match error:
        case TooLarge():
            return Fault("too_large", RESOURCE_EXHAUSTED, 413, message)
        case WrongMediaType():
            return Fault("media_type", INVALID_ARGUMENT, 415, message)
        case WrongMethod():
            return Fault("method", UNIMPLEMENTED, 405, message)
        case Rejected():
            return Fault("invalid", INVALID_ARGUMENT, 400, message, bad_request=True)
        case Unauthenticated():
            return Fault("unauthenticated", UNAUTHENTICATED, 401, message)
        case Forbidden():
            return Fault("forbidden", PERMISSION_DENIED, 403, message)
        case Overloaded():
            return Fault("overloaded", RESOURCE_EXHAUSTED, 503, message, _wait_s(error.retry_after_s))
        case Unavailable():
            return Fault("unavailable", UNAVAILABLE, 503, message, _wait_s(error.retry_after_s))
        case _:
            return Fault("unexpected", UNAVAILABLE, 503, UNEXPECTED, _wait_s(2.0))


def _wait_s(asked_s: float) -> float:
    jittered = asked_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
    return min(max(jittered, LEAST_WAIT_S), MOST_WAIT_S)


def _type_url(message: type) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"  # type: ignore[attr-defined]  # a message
