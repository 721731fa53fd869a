"""Health and metrics as they are asked for from the first second on, often by nobody else: no framework is loaded."""

import msgspec

from api.schemas import Alive, Readiness
from api.services import Services
from collector.asgi import ASGIApp, Receive, Scope, Send

JSON = "application/json"
EXPOSITION = "text/plain; version=0.0.4"
CHARSET = "; charset=utf-8"


class Answer(msgspec.Struct, frozen=True):
    status: int
    media_type: str
    body: bytes


async def liveness(_: Services) -> Answer:
    """The process answers."""
    return Answer(200, JSON, msgspec.json.encode(Alive()))


async def readiness(services: Services) -> Answer:
    """200 where every part can do its work, else 503 with what keeps it from that."""
    parts = await services.ready()
    is_ready = all(state == "ok" for state in parts.values())
    told = Readiness("ok" if is_ready else "not ready", parts)
    return Answer(200 if is_ready else 503, JSON, msgspec.json.encode(told))


async def exposition(services: Services) -> Answer:
    """Prometheus text."""
    await services.before_metrics()
    return Answer(200, EXPOSITION, services.telemetry.metrics.text())


ANSWERS = {"/healthz": liveness, "/readyz": readiness, "/metrics": exposition}


class Probes:
    """Answers probes, and hands every other request to the app behind."""

    def __init__(self, services: Services, then: ASGIApp) -> None:
        self._services = services
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "HEAD":  # of the answer to GET, the server leaves the body out
            scope = {**scope, "method": "GET"}
        answers = ANSWERS.get(scope["path"]) if scope.get("method") == "GET" else None
        if answers is None:
            await self._then(scope, receive, send)
            return
        answer = await answers(self._services)
        media_type = answer.media_type + (CHARSET if answer.media_type == EXPOSITION else "")
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
