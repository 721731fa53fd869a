"""What a user's program does with X-Ray: sends OTLP, asks REST."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.receiver.otlp import span, traces
from tests.processes import XRay

MS = 10**6
PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Project:
    """One project of a running X-Ray: what is sent goes there, what is asked is asked of it."""

    def __init__(self, xray: XRay, name: str) -> None:
        self._xray = xray
        self.name = name
        self.http = httpx.Client(base_url=xray.url, timeout=20)

    def close(self) -> None:
        self.http.close()

    def twin(self) -> "Project":
        """The same project over a connection of its own."""
        return Project(self._xray, self.name)

    def send(self, *spans: Span, **resource: Any) -> str:
        """Sends the spans; the trace id of the first one."""
        self.post(traces(*spans, resource={"xray.project": self.name} | resource))
        return spans[0].trace_id.hex()

    def post(self, request: ExportTraceServiceRequest) -> None:
        answer = self.http.post("/v1/traces", content=request.SerializeToString(), headers={"content-type": PROTOBUF})
        assert (answer.status_code, answer.content) == (200, b"")

    def post_json(self, document: str | bytes) -> httpx.Response:
        return self.http.post("/v1/traces", content=document, headers={"content-type": JSON})

    def ask(self, path: str, method: str = "GET", body: Any = None, **params: Any) -> httpx.Response:
        params = {"project": self.name, **params}
        return self.http.request(method, f"/api/v1{path}", params=params, json=body)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.ask(path, **params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == JSON
        return answer.json()

    def execution(self, public_id: str) -> Any:
        return self.get(f"/executions/{quote(public_id, safe='')}")

    def step(self, trace_id: str, span_id: bytes) -> Any:
        return self.get(f"/executions/{trace_id}/steps/{span_id.hex()}")

    def ids(self, **params: Any) -> list[str]:
        """The own ids, else trace ids, of the executions that a search finds."""
        return [item["execution_id"] for item in self.get("/executions", **params)["items"]]

    def pages(self, path: str, **params: Any) -> Iterator[list[Any]]:
        page = self.get(path, **params)
        yield page["items"]
        while page["next_cursor"] is not None:
            page = self.get(path, cursor=page["next_cursor"], **params)
            yield page["items"]


def step(name: str, ago_ms: float = 1000, lasts_ms: float = 100, **fields: Any) -> Span:
    """A span that started so long ago."""
    start = time.time_ns() - int(ago_ms * MS)
    times = {"start_time_unix_nano": start, "end_time_unix_nano": start + int(lasts_ms * MS)}
    return span(name, **(times | fields))


def tree(*spans: Span) -> tuple[Span, ...]:
    """The spans as one execution: the first is the root, the others are its children."""
    trace_id, root = os.urandom(16), os.urandom(8)
    for each in spans:
        each.trace_id, each.parent_span_id, each.span_id = trace_id, root, os.urandom(8)
    spans[0].span_id, spans[0].parent_span_id = root, b""
    return spans


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Server-sent events as they come."""
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def misfits(value: Any, wanted: Any, place: str = "") -> list[str]:
    """Where JSON is not of the wanted shape: a type, a tuple of allowed ones, a dict of fields, a list of one shape."""
    if isinstance(wanted, tuple):
        return [] if any(not misfits(value, one) for one in wanted) else [f"{place}: {value!r} is none of {wanted}"]
    if isinstance(wanted, Mapping):
        if not isinstance(value, dict):
            return [f"{place}: {value!r} is no object"]
        missing = [f"{place}.{name} is missing" for name in wanted if name not in value]
        inside = [misfits(value[name], part, f"{place}.{name}") for name, part in wanted.items() if name in value]
        return missing + [fault for faults in inside for fault in faults]
    if isinstance(wanted, list):
        if not isinstance(value, list):
            return [f"{place}: {value!r} is no list"]
        return [fault for each in value for fault in misfits(each, wanted[0], f"{place}[]")]
    if isinstance(wanted, frozenset):
        return [] if value in wanted else [f"{place}: {value!r} is none of {set(wanted)}"]
    fits = value is None if wanted is None else wanted is Any or type(value) is wanted
    return [] if fits else [f"{place}: {value!r} is no {wanted}"]
