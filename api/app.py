"""The REST API as Litestar routers, for the application that also carries OTLP over HTTP."""

from importlib.metadata import version
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from api import executions, health, otlp, prices, reasoning, stats, stream
from api.paths import SlashesKept
from api.problems import problem_handlers
from api.schema_page import SchemaPage
from api.services import Services
from collector.asgi import ASGIApp

MOST_BODY_BYTES = 1 << 20


class _Litestar(Litestar):
    """Without the plugins for pydantic and attrs, which it would load because some dependency has installed them."""

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        return plugins


def create_app(services: Services, *, serves: bool) -> ASGIApp:
    """The whole application behind OTLP and probes; where it does not serve, health and its description alone."""
    rest, health = create_routers(services)
    litestar: Any = _Litestar(
        [rest, health] if serves else [health],
        openapi_config=openapi_config(),
        logging_config=None,
        exception_handlers=problem_handlers(services.telemetry.errors),
    )
    return SlashesKept(litestar)


def create_routers(services: Services) -> list[Router]:
    """Everything under /api/v1, and health beside it; wire them with `openapi_config` and `problem_handlers`."""

    def given() -> Services:
        return services

    shared: dict[str, Any] = {
        "dependencies": {"services": Provide(given, sync_to_thread=False, use_cache=True)},
        "exception_handlers": problem_handlers(services.telemetry.errors),
        "request_max_body_size": MOST_BODY_BYTES,
    }
    tagged: dict[str, list[Any]] = {
        "executions": [
            *(executions.list_page, executions.show, executions.show_step, otlp.otlp, executions.remove),
            stream.stream,
        ],
        "reasoning": [
            *(reasoning.ask_again, reasoning.process, reasoning.reasoning_stats),
            *(reasoning.jobs_page, reasoning.show_job, reasoning.retry_job, reasoning.cancel_job),
        ],
        "statistics": [stats.steps_page, stats.timeline_page],
        "prices": [prices.prices_page, prices.put_price, prices.delete_price],
    }
    parts = [Router("/", route_handlers=handlers, tags=[tag]) for tag, handlers in tagged.items()]
    return [
        Router("/api/v1", route_handlers=parts, **shared),
        Router("/", route_handlers=[health.healthz, health.readyz, health.metrics], **shared),
    ]


def openapi_config() -> OpenAPIConfig:
    """The description at /schema; nothing in it is loaded from another host."""
    return OpenAPIConfig(
        title="X-Ray",
        version=version("xray-collector"),
        path="/schema",
        use_handler_docstrings=True,
        render_plugins=[SchemaPage(), JsonRenderPlugin()],
    )
