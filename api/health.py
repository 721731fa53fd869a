"""Whether the process lives, whether it can do its work, and its metrics: outside of /api/v1."""

from typing import Any

from litestar import MediaType, Response, get

from api.schemas import Alive, Readiness
from api.services import Given

EXPOSITION = "text/plain; version=0.0.4"
"""Litestar adds the charset; named twice, Prometheus would refuse the answer."""


@get("/healthz", tags=["health"], sync_to_thread=False)
def healthz() -> Alive:
    """The process answers."""
    return Alive()


@get("/readyz", tags=["health"])
async def readyz(services: Given) -> Response[Readiness]:
    """200 where every part can do its work, else 503 with what keeps it from that."""
    parts = await services.ready()
    is_ready = all(state == "ok" for state in parts.values())
    return Response(Readiness("ok" if is_ready else "not ready", parts), status_code=200 if is_ready else 503)


@get("/metrics", tags=["health"], media_type=MediaType.TEXT)
async def metrics(services: Given) -> Response[Any]:
    """Prometheus text."""
    await services.before_metrics()
    return Response(services.telemetry.metrics.text(), media_type=EXPOSITION)
