"""OTLP.md section 2, CORS: exporters in browsers."""

import pytest

from collector.errors import Unauthenticated
from tests.integration.receiver.conftest import JSON, Receiver, Setup
from tests.integration.receiver.otlp import otlp_json, span, traces

ORIGINS = ("https://app.example", "https://*.shop.example")
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-api-key,x-team",
}


async def refuse(_: object) -> str | None:
    raise Unauthenticated("An API key is needed.")


async def test_preflight_is_off_by_default(receiver: Receiver) -> None:
    answer = await receiver.client.options("/v1/traces", headers=PREFLIGHT | {"origin": ORIGINS[0]})
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("setup", [Setup(http={"cors_origins": ORIGINS, "authorize": refuse})])
@pytest.mark.parametrize("origin", ["https://app.example", "https://eu.shop.example"])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/base/v1/metrics/"])
async def test_preflight_needs_no_key(receiver: Receiver, origin: str, path: str) -> None:
    answer = await receiver.client.options(path, headers=PREFLIGHT | {"origin": origin})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-headers"] == "content-type,x-api-key,x-team"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("setup", [Setup(http={"cors_origins": ORIGINS})])
@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil", "http://app.example"])
async def test_other_origins_get_nothing(receiver: Receiver, origin: str) -> None:
    for answer in (
        await receiver.client.options("/v1/traces", headers=PREFLIGHT | {"origin": origin}),
        await receiver.client.post("/v1/traces", content=otlp_json(traces(span())), headers=JSON | {"origin": origin}),
    ):
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("setup", [Setup(http={"cors_origins": ("*",)})])
async def test_answers_and_refusals_can_be_read_by_the_page(receiver: Receiver) -> None:
    headers = JSON | {"origin": "https://any.example"}
    for body, status in ((otlp_json(traces(span())), 200), (b"[", 400)):
        answer = await receiver.client.post("/v1/traces", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://any.example"
        assert "retry-after" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "origin"
