"""A movie recommendation pipeline, traced with nothing but the OpenTelemetry SDK, as any app would be.

Four steps: fetch candidates, filter them, rank them by a model, explain the choice. The model is played here, so that
the demo needs no key. Every fourth run fails in a step in the middle.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import rich_click as click
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, Status, StatusCode, Tracer, format_trace_id

from collector.commands.client import Client, usual_url_of
from collector.commands.executions import print_execution
from collector.config import load
from collector.errors import Misconfigured, XRayError

MODEL = "gpt-5-mini"
GRPC_PORT = 4317
WAIT_S = 20.0
POLL_S = 0.25
FAILS_EVERY = 4
LEAST_RATING = 7.5


class Movie(NamedTuple):
    title: str
    year: int
    genre: str
    rating: float | None


CATALOG = (
    Movie("Blade Runner", 1982, "science fiction", 8.1),
    Movie("Arrival", 2016, "science fiction", 7.9),
    Movie("Paprika", 2006, "science fiction", 7.7),
    Movie("Stalker", 1979, "science fiction", 8.1),
    Movie("Amélie", 2001, "comedy", 8.3),
    Movie("Playtime", 1967, "comedy", 7.8),
    Movie("Spirited Away", 2001, "fantasy", 8.6),
    Movie("Pan's Labyrinth", 2006, "fantasy", 8.2),
)
# What a broken import leaves behind: the filter stumbles over it.
BROKEN = Movie("Solaris", 1972, "science fiction", None)


class Wish(NamedTuple):
    user: str
    genre: str
    since: int


WISHES = (
    Wish("ann", "science fiction", 1980),
    Wish("ben", "comedy", 1960),
    Wish("chloe", "fantasy", 2000),
    Wish("dan", "science fiction", 1970),
)


class ModelTimeoutError(Exception):
    """The model did not answer in time."""


class Pipeline:
    """The app: it knows a tracer, and nothing of X-Ray."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def recommend(self, wish: Wish, fault: str | None) -> str:
        """One execution; returns its trace id."""
        asked = f"A {wish.genre} movie from {wish.since} or later, please."
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "movie-recommender",
            "gen_ai.input.messages": messages("user", asked),
            "user.id": wish.user,
            "session.id": f"evening-{wish.user}",
        }
        with self._tracer.start_as_current_span("recommend movie", attributes=attributes) as span:
            trace_id = format_trace_id(span.get_span_context().trace_id)
            try:
                answer = self._answer(wish, fault)
            except (ValueError, ModelTimeoutError) as error:
                span.set_status(Status(StatusCode.ERROR, f"no recommendation: {error}"))
            else:
                span.set_attribute("gen_ai.output.messages", messages("assistant", answer))
        return trace_id

    def _answer(self, wish: Wish, fault: str | None) -> str:
        candidates = self._fetch(wish, is_broken=fault == "filter")
        ranked = self._rank(self._filter(candidates, wish), wish, is_slow=fault == "rank")
        return self._explain(ranked[0], wish)

    def _fetch(self, wish: Wish, *, is_broken: bool) -> list[Movie]:
        attributes = {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": "movies",
            "gen_ai.retrieval.query.text": wish.genre,
        }
        with self._tracer.start_as_current_span("fetch candidates", attributes=attributes) as span:
            time.sleep(0.03)
            found = [movie for movie in CATALOG if movie.genre == wish.genre] + [BROKEN] * is_broken
            span.set_attribute("gen_ai.retrieval.documents", as_json(found))
            return found

    def _filter(self, candidates: list[Movie], wish: Wish) -> list[Movie]:
        wanted = {"since": wish.since, "least_rating": LEAST_RATING, "titles": [movie.title for movie in candidates]}
        with self._tool("filter candidates", wanted) as span:
            time.sleep(0.01)
            kept = [movie for movie in candidates if movie.year >= wish.since and rating_of(movie) >= LEAST_RATING]
            span.set_attribute("gen_ai.tool.call.result", as_json(kept))
            return kept

    def _rank(self, movies: list[Movie], wish: Wish, *, is_slow: bool) -> list[Movie]:
        titles = ", ".join(movie.title for movie in movies)
        with self._model("rank candidates", f"Rank these for {wish.user}, best first: {titles}.") as span:
            time.sleep(0.4 if is_slow else 0.12)
            if is_slow:
                raise ModelTimeoutError(f"{MODEL} did not answer within 0.4 s")
            ranked = sorted(movies, key=rating_of, reverse=True)
            answered(span, json.dumps([movie.title for movie in ranked]))
            return ranked

    def _explain(self, movie: Movie, wish: Wish) -> str:
        with self._model("explain choice", f"Why is {movie.title} right for somebody who likes {wish.genre}?") as span:
            time.sleep(0.08)
            answer = f"{movie.title} ({movie.year}) is the best rated {wish.genre} movie of its kind: {movie.rating}."
            answered(span, answer)
            return answer

    @contextmanager
    def _tool(self, name: str, arguments: dict[str, Any]) -> Iterator[Span]:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name.replace(" ", "_"),
            "gen_ai.tool.call.arguments": json.dumps(arguments, ensure_ascii=False),
        }
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield span

    @contextmanager
    def _model(self, name: str, prompt: str) -> Iterator[Span]:
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": MODEL,
            "gen_ai.input.messages": messages("user", prompt),
            "gen_ai.usage.input_tokens": 12 + len(prompt) // 4,
        }
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield span


def rating_of(movie: Movie) -> float:
    if movie.rating is None:
        raise ValueError(f"{movie.title} ({movie.year}) has no rating")
    return movie.rating


def answered(span: Span, text: str) -> None:
    span.set_attribute("gen_ai.response.model", MODEL)
    span.set_attribute("gen_ai.output.messages", messages("assistant", text))
    span.set_attribute("gen_ai.usage.output_tokens", 4 + len(text) // 4)


def messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)


def as_json(movies: list[Movie]) -> str:
    return json.dumps([movie._asdict() for movie in movies], ensure_ascii=False)


def demo(runs: int, endpoint: str | None, protocol: str | None, url: str | None) -> None:
    """Run the pipeline, say where its executions are, and show one with its reasoning."""
    endpoint = endpoint or usual_url_of(load({}, os.environ))
    client = Client(url or rest_url(endpoint))
    _check_reachable(endpoint)
    trace_ids = send(runs, make_exporter(endpoint, protocol))
    shown = _stored(client, trace_ids)
    for trace_id, execution in zip(trace_ids, shown, strict=True):
        click.echo(f"{execution['status']:<6} {client.url}/api/v1/executions/{trace_id}")
    failed = next((trace_id for trace_id, found in zip(trace_ids, shown, strict=True) if found["error_count"]), None)
    print_execution(_explained(client, failed or trace_ids[-1]))
    click.echo(f"All of it: xray executions show {failed or trace_ids[-1]} --json")


def send(runs: int, exporter: SpanExporter) -> list[str]:
    """Run the pipeline through the SDK; the trace ids of the executions."""
    provider = TracerProvider(resource=Resource.create({"service.name": "movie-recommender"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    pipeline = Pipeline(provider.get_tracer("movies", "1.0"))
    try:
        return [pipeline.recommend(WISHES[run % len(WISHES)], fault_of(run)) for run in range(runs)]
    finally:
        provider.shutdown()


def fault_of(run: int) -> str | None:
    """Every fourth run fails: by turns in the filter and in the model."""
    if run % FAILS_EVERY != FAILS_EVERY - 1:
        return None
    return ("filter", "rank")[run // FAILS_EVERY % 2]


def make_exporter(endpoint: str, protocol: str | None) -> SpanExporter:
    if protocol == "grpc" or (protocol is None and urlsplit(endpoint).port == GRPC_PORT):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")


def rest_url(endpoint: str) -> str:
    """Where X-Ray answers that takes spans at this endpoint: the usual HTTP port beside the usual gRPC port."""
    return endpoint.replace(f":{GRPC_PORT}", f":{GRPC_PORT + 1}")


def _check_reachable(endpoint: str) -> None:
    """Fail at once where nothing listens; the SDK would only try again and again."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f"--endpoint={endpoint!r} is no URL: write it like http://127.0.0.1:4318.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except OSError as error:
        raise XRayError(
            f"Nothing takes spans at {endpoint} ({error.strerror or error}). Start X-Ray with `xray up`, "
            "or name another endpoint with --endpoint."
        ) from error


def _stored(client: Client, trace_ids: list[str]) -> list[dict[str, Any]]:
    """Every execution as REST shows it; what was acknowledged is there."""
    return [client.get(f"/executions/{trace_id}") for trace_id in trace_ids]


def _explained(client: Client, trace_id: str) -> dict[str, Any]:
    """The execution with its reasoning, or as it is once that has been waited for long enough."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found: dict[str, Any] = client.get(f"/executions/{trace_id}")
        status = (found["reasoning"] or {}).get("status")
        if status in ("completed", "failed", "skipped") or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)
