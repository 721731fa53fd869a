"""The worker that the settings ask for."""

import os

from collector.config import Settings
from collector.mapping.prices import PriceTable
from collector.reasoning.budget import Allowance, Budget
from collector.reasoning.cache import Cache
from collector.reasoning.context import Limits
from collector.reasoning.endpoint import Endpoint, EndpointOptions
from collector.reasoning.openai import Means, OpenAI
from collector.reasoning.own_traces import make_own_traces
from collector.reasoning.prompt import PROMPT_VERSION
from collector.reasoning.provider import Provider
from collector.reasoning.reasoner import Engine
from collector.reasoning.redact import Redactor
from collector.reasoning.rules import Rules
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.database import Database
from collector.telemetry import Telemetry


def make_worker(
    settings: Settings, database: Database, telemetry: Telemetry, prices: PriceTable | None = None
) -> Worker:
    """A worker with the reasoner of the settings, not yet started."""
    kind, means = settings.resolved_reasoner, None
    engine = Engine(Rules(), "rules") if kind == "rules" else None
    if kind == "openai":
        means = _means(settings, database, telemetry, prices or PriceTable())
        reasoner = OpenAI(means)
        engine = Engine(reasoner, "openai", PROMPT_VERSION, is_slow=True, close=reasoner.close)
    worker = Worker(database, engine, WorkerOptions.of(settings), telemetry)
    worker.use(prices=prices, provider=means.provider if means else None)
    return worker


def _means(settings: Settings, database: Database, telemetry: Telemetry, prices: PriceTable) -> Means:
    endpoint = Endpoint(
        EndpointOptions(
            model=settings.reasoner_model,
            api_key=settings.openai_api_key,
            base_url=settings.openai_base_url,
            timeout_s=settings.reasoner_timeout_ms / 1000,
        )
    )
    allowance = Allowance(settings.reasoner_budget_usd_per_day, settings.reasoner_budget_tokens_per_day)
    return Means(
        endpoint=endpoint,
        provider=Provider(database, endpoint.name, settings.reasoner_concurrency),
        budget=Budget(database, allowance),
        cache=Cache(database),
        prices=prices,
        telemetry=telemetry,
        traces=make_own_traces(os.environ),
        redactor=Redactor(settings.reasoner_redact_patterns) if settings.reasoner_redact else None,
        limits=Limits(include_content=settings.reasoner_include_content),
        rules_over_budget=settings.reasoner_over_budget == "rules",
    )
