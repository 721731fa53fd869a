"""Plain services, by old and new names."""

from typing import Any

import pytest

from tests.unit.mapping.spans import held, row_of

CLIENT, SERVER, PRODUCER, CONSUMER = 3, 2, 4, 5


@pytest.mark.parametrize(
    ("attributes", "asked"),
    [
        ({"http.request.method": "GET", "url.path": "/orders/7", "url.query": "verbose=1"}, "GET /orders/7?verbose=1"),
        (
            {"http.request.method": "GET", "url.full": "http://shop/orders/7", "url.path": "/x"},
            "GET http://shop/orders/7",
        ),
        ({"http.method": "POST", "http.target": "/orders"}, "POST /orders"),
        ({"http.method": "GET", "http.url": "http://shop/"}, "GET http://shop/"),
        ({"http.request.method": "GET", "http.route": "/orders/{id}"}, "GET /orders/{id}"),
    ],
)
def test_http_shows_method_url_and_status(attributes: dict[str, Any], asked: str) -> None:
    code = "http.response.status_code" if "http.request.method" in attributes else "http.status_code"
    row = row_of({**attributes, code: 204}, kind=CLIENT)
    assert (row.kind, held(row.input), held(row.output)) == ("http", asked, 204)


def test_http_errors_by_the_rules_of_the_conventions() -> None:
    call = {"http.request.method": "GET", "url.full": "http://shop/", "http.response.status_code": 500}
    failed = row_of(call, kind=CLIENT, status=2)
    assert (failed.status, failed.error_message, failed.error_type) == ("error", "HTTP 500", None)
    typed = row_of({**call, "error.type": "500"}, kind=CLIENT, status=2)
    assert (typed.error_type, typed.error_message) == ("500", "HTTP 500")
    assert row_of({**call, "http.response.status_code": 404}, kind=SERVER).status == "unset"
    assert row_of({**call, "http.response.status_code": 404, "error.type": "404"}, kind=SERVER).status == "unset"
    assert row_of({**call, "http.response.status_code": 404}, kind=CLIENT, status=2).status == "error"


@pytest.mark.parametrize(("system", "statement"), [("db.system.name", "db.query.text"), ("db.system", "db.statement")])
def test_a_database_call_shows_its_statement(system: str, statement: str) -> None:
    row = row_of({system: "postgresql", statement: "SELECT 1", "http.response.status_code": 200}, kind=CLIENT)
    assert (row.kind, held(row.input), row.input_key, row.output) == ("db", "SELECT 1", statement, None)
    assert row_of({system: "sqlite"}, kind=CLIENT).input is None


@pytest.mark.parametrize(
    ("attributes", "kind", "asked", "answered"),
    [
        (
            {"rpc.system": "grpc", "rpc.service": "shop.Orders", "rpc.method": "Get", "rpc.grpc.status_code": 5},
            "rpc",
            "shop.Orders/Get",
            5,
        ),
        (
            {"rpc.system.name": "grpc", "rpc.method": "shop.Orders/Get", "rpc.response.status_code": "OK"},
            "rpc",
            "shop.Orders/Get",
            "OK",
        ),
        (
            {"messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": "orders"},
            "messaging",
            "send orders",
            None,
        ),
        (
            {"messaging.system": "rabbitmq", "messaging.operation": "receive", "messaging.destination": "orders"},
            "messaging",
            "receive orders",
            None,
        ),
        (
            {"celery.action": "run", "celery.task_name": "shop.pay", "messaging.destination": "celery"},
            "messaging",
            "run shop.pay celery",
            None,
        ),
        ({"faas.trigger": "timer", "faas.invocation_id": "1"}, "function", None, None),
        ({"graphql.operation.type": "query", "graphql.document": "query { orders }"}, "rpc", "query { orders }", None),
        (
            {"rpc.system": "aws-api", "messaging.system": "aws_sqs", "rpc.method": "SendMessage"},
            "messaging",
            "SendMessage",
            None,
        ),
        ({"code.function.name": "shop.orders.get"}, "function", None, None),
    ],
)
def test_other_services(attributes: dict[str, Any], kind: str, asked: Any, answered: Any) -> None:
    row = row_of(attributes, kind=CLIENT)
    assert (row.kind, held(row.input), held(row.output)) == (kind, asked, answered)


def test_plain_spans_by_their_span_kind() -> None:
    kinds = [row_of({}, kind=kind).kind for kind in (0, 1, SERVER, CLIENT, PRODUCER, CONSUMER, 77)]
    assert kinds == ["function", "function", "other", "other", "messaging", "messaging", "other"]
    assert row_of({}, kind=77).span_kind == 77


def test_inputs_are_not_invented_of_other_attributes() -> None:
    row = row_of({"tenant": "umbrella", "prompt": "x", "input": "y", "output": "z"})
    assert (row.input, row.output, row.extra) == (None, None, None)


@pytest.mark.parametrize(
    "attributes",
    [
        {"asgi.event.type": "http.response.start", "http.status_code": 200},
        {"http.request.method": "GET", "url.path": "/healthz"},
        {"http.method": "GET", "http.target": "/health"},
        {"db.system": "redis", "db.statement": "PING"},
    ],
)
def test_plumbing_is_marked(attributes: dict[str, Any]) -> None:
    row = row_of(attributes)
    assert held(row.extra)["plumbing"] is True


def test_asgi_messages_show_nothing_of_their_own() -> None:
    row = row_of({"asgi.event.type": "http.response.start", "http.status_code": 200})
    assert (row.kind, row.input, row.output) == ("http", None, None)


def test_the_environment_stands_where_an_execution_may_start() -> None:
    resource = {"service.name": "shop", "deployment.environment.name": "staging"}
    parent = bytes(7) + b"\x09"
    assert held(row_of({}, resource=resource).extra) == {"environment": "staging"}
    assert held(row_of({}, resource=resource, parent_span_id=parent, kind=SERVER).extra) == {"environment": "staging"}
    assert row_of({}, resource=resource, parent_span_id=parent).extra is None
