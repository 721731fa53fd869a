"""Probes and REST as they stand behind the HTTP door: one does not wait for the other."""

import asyncio

import httpx
import pytest
from litestar import Litestar

from api.probes import Probes
from api.rest import Rest, load
from api.services import Services
from collector.asgi import ASGIApp


def calling(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://xray")


async def test_probes_are_answered_before_anything_is_loaded_and_as_described(
    services: Services, app: Litestar
) -> None:
    async def waiting() -> dict[str, str]:
        return {"database": "ok", "writer": "the spool is full"}

    def build() -> ASGIApp:
        raise AssertionError("a probe loaded REST")

    services.ready = waiting
    described = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://xray")
    async with calling(Probes(services, Rest(build))) as probes, described:
        for path, status in (("/healthz", 200), ("/readyz", 503), ("/metrics", 200)):
            answer, told = await probes.get(path), await described.get(path)
            assert answer.status_code == told.status_code == status
            assert answer.headers["content-type"] == told.headers["content-type"]
            if path != "/metrics":
                assert answer.json() == told.json()


@pytest.mark.parametrize(("serves", "status"), [(True, 200), (False, 404)])
async def test_rest_is_built_once_by_its_first_requests(services: Services, serves: bool, status: int) -> None:
    built = list[ASGIApp]()

    def build() -> ASGIApp:
        built.append(load(services, serves=serves))
        return built[-1]

    async with calling(Probes(services, Rest(build))) as client:
        answers = await asyncio.gather(*(client.get("/api/v1/reasoning/stats") for _ in range(3)))
        assert [answer.status_code for answer in answers] == [status] * 3
        assert (await client.post("/healthz")).status_code == 405
        heads = [(await client.head(path)).status_code for path in ("/healthz", "/api/v1/reasoning/stats")]
        assert heads == [200, status]
    assert len(built) == 1
