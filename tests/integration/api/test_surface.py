"""The outside of the API: health, metrics, its description, errors that are ours."""

import json
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.services import Services
from collector.errors import Unavailable

from .conftest import Client

CALLS = {
    ("get", "/api/v1/executions"),
    ("get", "/api/v1/executions/{execution_id}"),
    ("delete", "/api/v1/executions/{execution_id}"),
    ("get", "/api/v1/executions/{execution_id}/steps/{span_id}"),
    ("get", "/api/v1/executions/{execution_id}/otlp"),
    ("post", "/api/v1/executions/{execution_id}/reasoning"),
    ("post", "/api/v1/reasoning/process"),
    ("get", "/api/v1/reasoning/jobs"),
    ("get", "/api/v1/reasoning/jobs/{job}"),
    ("post", "/api/v1/reasoning/jobs/{job}/retry"),
    ("post", "/api/v1/reasoning/jobs/{job}/cancel"),
    ("get", "/api/v1/reasoning/stats"),
    ("get", "/api/v1/stats/steps"),
    ("get", "/api/v1/stats/timeline"),
    ("get", "/api/v1/prices"),
    ("put", "/api/v1/prices/{model}"),
    ("delete", "/api/v1/prices/{model}"),
    ("get", "/api/v1/stream"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
}


async def test_health_readiness_and_metrics(client: Client, services: Services) -> None:
    async def waiting() -> dict[str, str]:
        return {"database": "ok", "writer": "the spool is full"}

    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).status_code == 200
    services.ready = waiting
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["parts"]["writer"]) == (503, "the spool is full")
    services.telemetry.metrics.spans_accepted.inc(7)
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "xray_spans_accepted_total 7.0" in metrics.text


async def test_the_description_names_every_call_and_parameter(client: Client) -> None:
    described = (await client.get("/schema/openapi.json")).json()
    found = {(method, path) for path, item in described["paths"].items() for method in item}
    assert found == CALLS
    parameters = {each["name"]: each for each in described["paths"]["/api/v1/executions"]["get"]["parameters"]}
    asked = "service name status kind model session_id user_id tag since until min_duration_ms max_duration_ms"
    assert set(parameters) >= {*asked.split(), "has_error", "q", "attr.KEY", "plumbing", "limit", "cursor", "project"}
    assert (parameters["limit"]["schema"]["minimum"], parameters["limit"]["schema"]["maximum"]) == (1, 500)
    assert parameters["status"]["schema"]["enum"] == ["error", "ok", "running"]
    step = described["components"]["schemas"]["StepView"]["properties"]
    assert "input" in step


async def test_every_parameter_and_call_is_described(client: Client) -> None:
    described = (await client.get("/schema/openapi.json")).json()
    calls = [call for item in described["paths"].values() for call in item.values()]
    parameters = [parameter for call in calls for parameter in call.get("parameters", [])]
    bare = [parameter["name"] for parameter in parameters if not parameter.get("description")]
    assert (bare, [call for call in calls if not call["summary"] or not call["tags"]]) == ([], [])
    step = described["components"]["schemas"]["StepView"]["properties"]
    assert "structured where the sender gave structure" in step["input"]["description"]


async def test_the_page_for_people_loads_nothing_from_elsewhere(client: Client) -> None:
    page = await client.get("/schema")
    assert page.status_code == 200
    assert "/api/v1/executions/{execution_id}" in page.text
    for word in ("http://", "https://", "src=", "<script", "@import", "url("):
        assert word not in page.text, word


class Lost:
    """A database that is away."""

    def begin(self) -> Any:
        raise Unavailable("The database can't be used just now.", retry_after_s=3)


class Broken:
    def begin(self) -> Any:
        raise RuntimeError("secret words")


@pytest.mark.parametrize(("database", "status"), [(Lost(), 503), (Broken(), 500)])
async def test_a_fault_of_ours_is_a_problem_without_its_text(
    services: Services, client: Client, database: Any, status: int
) -> None:
    services.database = database
    answer = await client.get("/api/v1/executions")
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "secret" not in answer.text


async def test_a_body_over_the_limit_is_refused(app: Litestar, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/reasoning/process", content=json.dumps({"execution_id": "x" * (1 << 20)}))
    assert answer.status_code == 413


async def test_a_method_that_is_not_there_is_a_405(client: Client) -> None:
    answer = await client.put("/api/v1/executions")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    unknown = await client.get("/api/v1/nothing")
    assert unknown.json()["detail"] == "There is no GET /api/v1/nothing: /schema lists all calls."


async def test_what_a_form_left_empty_is_not_asked_for(client: Client) -> None:
    answer = await client.get("/api/v1/executions?status=&since=&q=&cursor=&project=&kind=")
    assert (answer.status_code, answer.json()["items"]) == (200, [])
