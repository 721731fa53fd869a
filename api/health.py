"""Whether the process lives, whether it can do its work, and its metrics: `api.probes`, as the description tells it."""

from typing import Any

from litestar import MediaType, Response, get

from api import probes
from api.asked import Given
from api.schemas import Alive, Readiness


@get("/healthz", tags=["health"])
async def healthz(services: Given) -> Response[Alive]:
    """The process answers."""
    return _response(await probes.liveness(services))


@get("/readyz", tags=["health"])
async def readyz(services: Given) -> Response[Readiness]:
    """200 where every part can do its work, else 503 with what keeps it from that."""
    return _response(await probes.readiness(services))


@get("/metrics", tags=["health"], media_type=MediaType.TEXT)
async def metrics(services: Given) -> Response[Any]:
    """Prometheus text."""
    return _response(await probes.exposition(services))


def _response(answer: probes.Answer) -> Response[Any]:
    # Litestar adds the charset to text; named twice, Prometheus would refuse the answer.
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type)
