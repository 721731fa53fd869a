"""What counts as an error, and where its type and message come from."""

from typing import Any

import pytest

from tests.unit.mapping.spans import row_of

EXCEPTION = {"exception.type": "shop.OutOfStock", "exception.message": "none left", "exception.stacktrace": "Traceback"}


def error_of(row: Any) -> tuple[str, str | None, str | None, str | None]:
    return row.status, row.error_type, row.error_message, row.error_stacktrace


def test_the_exception_tells_more_than_the_status() -> None:
    row = row_of({"error.type": "500"}, status=(2, "OutOfStock: none left"), events=[("exception", EXCEPTION)])
    assert error_of(row) == ("error", "shop.OutOfStock", "none left", "Traceback")


def test_of_several_exceptions_the_last_ended_the_step() -> None:
    row = row_of(events=[("exception", EXCEPTION), ("exception", {"exception.type": "Timeout"})], status=2)
    assert error_of(row) == ("error", "Timeout", None, None)


def test_without_an_exception_type_and_status_message_tell() -> None:
    assert error_of(row_of({"error.type": "RateLimit"}, status=(2, "slow down"))) == (
        "error",
        "RateLimit",
        "slow down",
        None,
    )
    assert error_of(row_of({"error.message": "boom"}, status=2)) == ("error", None, "boom", None)
    assert error_of(row_of(EXCEPTION, status=2)) == ("error", "shop.OutOfStock", "none left", "Traceback")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": 2}, "error"),
        ({"status": 1, "events": [("exception", EXCEPTION)]}, "ok"),
        ({"events": [("exception", EXCEPTION)]}, "error"),
        ({"attributes": {"error.type": "timeout"}}, "error"),
        ({"attributes": {"error.type": "timeout"}, "status": 1}, "ok"),
        ({"attributes": {"error.type": ""}}, "unset"),
        ({"events": [("retry", {})]}, "unset"),
        ({"attributes": {"http.response.status_code": 404}, "kind": 2, "events": [("exception", EXCEPTION)]}, "unset"),
        ({"attributes": {"http.response.status_code": 503}, "kind": 2, "events": [("exception", EXCEPTION)]}, "error"),
    ],
)
def test_what_makes_an_error(fields: dict[str, Any], status: str) -> None:
    assert row_of(fields.pop("attributes", None), **fields).status == status


@pytest.mark.parametrize(
    ("key", "message"),
    [("http.status_code", "HTTP 502"), ("rpc.grpc.status_code", "gRPC 502"), ("db.response.status_code", "Status 502")],
)
def test_a_failure_that_says_nothing_shows_its_code(key: str, message: str) -> None:
    assert row_of({key: 502}, status=2).error_message == message
