"""Plain services: HTTP, databases, RPC, messaging, functions; old and new names of OpenTelemetry."""

from typing import Any

from collector.mapping.dialects.dialect import Attributes, Composed, Dialect, View
from collector.mapping.values import json_text
from collector.model import KINDS

PLAIN_KINDS = frozenset(("http", "db", "rpc", "messaging", "function", "other"))
AI_KINDS = KINDS - PLAIN_KINDS


def _first(found: Attributes, *keys: str) -> Any:
    for key in keys:
        value = found.get(key)
        if value is not None and value != "":
            return value
    return None


def _request(view: View) -> str | None:
    """`GET /orders/7?verbose=1`: the method and as much of the URL as was sent.

    A model call that tells of its request, too (Anthropic's own client and Bedrock's do), was not asked that.
    """
    found = view.attributes
    if "asgi.event.type" in found or view.kind in AI_KINDS:
        return None
    method = _first(found, "http.request.method", "http.method")
    url = _first(found, "url.full", "http.url", "http.target") or _path(found)
    if method is None and url is None:
        return None
    return json_text(" ".join(str(part) for part in (method, url) if part is not None))


def _path(found: Attributes) -> str | None:
    path, query = _first(found, "url.path", "http.route", "url.template"), found.get("url.query")
    return f"{path}?{query}" if path is not None and query else path


def _response(view: View) -> str | None:
    found = view.attributes
    if "asgi.event.type" in found or view.kind != "http":
        return None
    status = _first(found, "http.response.status_code", "http.status_code")
    return None if status is None else json_text(status)


def _call(view: View) -> str | None:
    """`package.Service/Method`."""
    found = view.attributes
    method, service = found.get("rpc.method"), found.get("rpc.service")
    if view.kind in AI_KINDS:
        return None
    if method is None or service is None:
        return None if method is None and service is None else json_text(str(method or service))
    return json_text(method if "/" in str(method) else f"{service}/{method}")


def _rpc_status(view: View) -> str | None:
    status = _first(
        view.attributes,
        *("rpc.response.status_code", "rpc.grpc.status_code", "rpc.connect_rpc.error_code", "rpc.jsonrpc.error_code"),
    )
    return None if status is None or view.kind != "rpc" else json_text(status)


def _message(view: View) -> str | None:
    """`publish orders`: what is done, and where; `run shop.add celery` for a task."""
    found = view.attributes
    if view.kind != "messaging":
        return None
    operation = _first(
        found,
        *("celery.action", "messaging.operation.name", "messaging.operation.type", "messaging.operation"),
        "rpc.method",
    )
    place = _first(found, "messaging.destination.name", "messaging.destination")
    parts = [str(part) for part in (operation, found.get("celery.task_name"), place) if part is not None]
    return json_text(" ".join(parts)) if parts else None


HTTP_KEYS = ("http.request.method", "http.method", "url.full", "http.url", "http.target", "url.path", "http.route")

WEB = Dialect(
    name="web",
    prefixes=frozenset(("http", "url", "db", "rpc", "messaging", "faas", "graphql", "asgi", "net", "celery", "aws")),
    evidence=(
        *((key, "db") for key in ("db.system.name", "db.system", "db.query.text", "db.statement")),
        *((key, "messaging") for key in ("messaging.system", "messaging.destination.name", "celery.task_name")),
        *((key, "rpc") for key in ("rpc.system.name", "rpc.system", "rpc.method", "rpc.service")),
        *((key, "rpc") for key in ("graphql.document", "graphql.operation.type", "graphql.operation.name")),
        *((key, "http") for key in HTTP_KEYS),
        *((key, "http") for key in ("http.response.status_code", "http.status_code", "asgi.event.type")),
        *((key, "function") for key in ("faas.invocation_id", "faas.trigger", "faas.invoked_name", "faas.execution")),
    ),
    input=(
        "db.query.text",
        "db.statement",
        "graphql.document",
        Composed(("messaging.",), _message),
        Composed(("rpc.method", "rpc.service"), _call),
        Composed(HTTP_KEYS, _request),
    ),
    output=(
        Composed(("rpc.",), _rpc_status),
        Composed(("http.response.status_code", "http.status_code"), _response),
    ),
    plumbing=("asgi.event.type",),
)
