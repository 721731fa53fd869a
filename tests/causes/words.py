"""The words that labelled executions are made of.

Each pool has words for both halves, words that only the development half uses, and words that only the held-out half
uses: rules that learned a phrase by heart gain nothing by it on the held-out half.
"""

import random
from typing import Literal, NamedTuple

Half = Literal["development", "held-out"]


class Pool(NamedTuple):
    both: tuple[str, ...]
    development: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    def of(self, half: Half) -> tuple[str, ...]:
        return self.both + (self.development if half == "development" else self.held_out)


POOLS: dict[str, Pool] = {
    "model": Pool(
        ("gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash"),
        ("gpt-4.1", "mistral-large-latest"),
        ("llama-3.3-70b", "gpt-5-mini", "command-r-plus"),
    ),
    "agent": Pool(
        ("support-agent", "travel_planner", "research_agent"),
        ("order helper", "billing-bot"),
        ("claims_adjuster", "ops-copilot"),
    ),
    "tool": Pool(
        ("get_weather", "lookup_order", "search_flights", "create_ticket"),
        ("get_invoice", "calendar_find_slot", "fetch_page"),
        ("geocode", "list_shipments", "read_policy", "currency_convert"),
    ),
    "lister": Pool(("list_open_tickets", "get_discounts"), ("list_reminders",), ("find_previous_claims",)),
    "question": Pool(
        (
            "What is the weather in Zürich tomorrow, and where is my order A-1042?",
            "Find me a flight to Lisbon on Friday under 200 EUR.",
            "Why was I charged twice in March?",
        ),
        ("Can you move my meeting with Dana to next week?", "Summarise the refund policy for damaged umbrellas."),
        ("How much is 1200 SEK in CHF today?", "Is my hail damage covered, and up to which amount?"),
    ),
    "good_result": Pool(
        (
            '{"city": "Zürich", "temperature_c": 17, "sky": "light rain"}',
            '{"order": "A-1042", "state": "in transit", "eta": "2025-06-03"}',
            "3 offers found, the cheapest is 149 EUR with one stop.",
        ),
        ('{"invoice": 8812, "total": 59.9, "paid": true, "errors": []}', "Dana is free on Tuesday at 10:00."),
        ('{"lat": 47.37, "lon": 8.54, "match": "exact"}', '[{"shipment": "S-1", "state": "delivered"}]'),
    ),
    "error_text": Pool(
        (
            "Error: connection refused",
            '{"error": "order service unavailable"}',
            '{"status": "error", "message": "upstream returned 502"}',
        ),
        (
            "Failed to fetch page: HTTP 500 Internal Server Error",
            '{"success": false, "reason": "database is locked"}',
            "Traceback (most recent call last):\n  File 'tool.py', line 12\nKeyError: 'price'",
        ),
        (
            '{"ok": false, "error": {"code": "RATE_LIMITED", "detail": "quota exceeded"}}',
            "An error occurred while calling the service: timeout after 10s",
            "Exception: invalid credentials for tenant acme",
            '{"errors": [{"message": "Cannot resolve field shipment"}], "data": null}',
        ),
    ),
    "exception": Pool(
        (
            "ConnectionError: Connection to inventory:8080 refused",
            "OrderServiceError: order service unavailable",
            "ValueError: could not convert string to float: 'n/a'",
        ),
        ("KeyError: 'price'", "PermissionError: [Errno 13] Permission denied: '/data/out.csv'"),
        (
            "UpstreamError: 503 Service Unavailable from pricing",
            "sqlalchemy.exc.OperationalError: (psycopg.OperationalError) server closed the connection unexpectedly",
            "AttributeError: 'NoneType' object has no attribute 'id'",
        ),
    ),
    "db_error": Pool(
        (
            "OperationalError: FATAL: remaining connection slots are reserved",
            'IntegrityError: duplicate key value violates unique constraint "orders_pkey"',
        ),
        ("DeadlockDetected: deadlock detected",),
        (
            'UndefinedTable: relation "price_list" does not exist',
            "LockNotAvailable: canceling statement due to lock timeout",
        ),
    ),
    "timeout": Pool(
        ("TimeoutError: timed out", "ReadTimeout: The read operation timed out"),
        ("DeadlineExceeded: deadline exceeded", "asyncio.TimeoutError: "),
        ("httpx.ReadTimeout: ", "context deadline exceeded: ", "GatewayTimeout: upstream request timeout"),
    ),
    "cancelled": Pool(
        ("CancelledError: ",),
        ("context canceled: operation was canceled",),
        ("asyncio.CancelledError: Cancelled via cancel scope", "Canceled: call was cancelled by the client"),
    ),
    "downstream": Pool(
        (
            "IndexError: list index out of range",
            "KeyError: 'title'",
            "ValidationError: 1 validation error for Answer\nsources\n  List should have at least 1 item",
        ),
        ("ValueError: max() arg is an empty sequence", "TypeError: 'NoneType' object is not subscriptable"),
        (
            "ZeroDivisionError: division by zero",
            "StopIteration: ",
            "AssertionError: expected at least one candidate",
            "RuntimeError: nothing to rank",
        ),
    ),
    "wrapper": Pool(
        ("RuntimeError: step failed", "PipelineError: stage did not complete"),
        ("AgentRunError: agent stopped", "HTTPException: 500 Internal Server Error"),
        ("WorkflowFailed: workflow aborted", "ServiceException: request could not be processed"),
    ),
    "apology": Pool(
        (
            "I'm sorry, but I couldn't retrieve that information right now. Please try again later.",
            "Unfortunately I was unable to find anything about your request.",
        ),
        ("I don't have enough information to answer that.", "It seems the system isn't responding at the moment."),
        (
            "There appears to be a problem on our side, so I can't tell you.",
            "I could not access the data needed to answer this question.",
            "No relevant documents were found, so I'm not able to say.",
        ),
    ),
    "answer": Pool(
        (
            "Tomorrow will be rainy at 17 °C, so take an umbrella. Your order A-1042 is in transit.",
            "The cheapest flight is 149 EUR with one stop and leaves at 09:40.",
        ),
        ("Your meeting is now on Tuesday at 10:00.", "Damaged umbrellas are refunded in full within 30 days."),
        ("1200 SEK are 98.40 CHF at today's rate.", "Hail damage is covered up to 5,000 CHF a year."),
    ),
    "refusal": Pool(
        (
            "I'm sorry, but I can't help with that request.",
            "I can't assist with that.",
        ),
        ("I cannot provide guidance on this topic.",),
        ("As an AI language model, I'm not able to comply with this request.", "I must decline to answer that."),
    ),
    "bad_arguments": Pool(
        (
            "ValidationError: 1 validation error for {tool}\ncity\n  Field required",
            "Unknown tool: {tool}",
        ),
        ("ToolNotFound: tool {tool} is not registered",),
        (
            "TypeError: {tool}() got an unexpected keyword argument 'hotel_id'",
            "InvalidArgument: no such function '{tool}'",
            "Invalid arguments for tool {tool}: 'date' is not of type string",
        ),
    ),
    "log_error": Pool(
        ("failed to load user profile, using defaults", "could not reach feature store"),
        ("cache returned corrupt entry, dropping results", "partial write: 3 of 40 rows stored"),
        ("price feed signature mismatch, batch ignored", "consumer lost partition 4 while reading"),
    ),
    "log_warning": Pool(
        ("slow response from cache", "deprecated parameter used"), ("queue length above 80%",), ("clock drift of 3 ms",)
    ),
    "harmless_log": Pool(
        ("failed to export 12 spans, will retry in 5s", "metrics push failed: connection reset"),
        ("could not refresh feature flags, keeping the last ones",),
        ("stats socket closed by peer, reconnecting", "license check skipped: server did not answer"),
    ),
    "harmless_result": Pool(
        ('{"checked": 14, "errors": [], "warnings": 1}', "0 errors, 2 warnings"),
        ("No failures found in 31 checks.",),
        ('{"healthy": true, "error_rate": 0.0, "error": null}', "Last error: none"),
    ),
    "cleanup_error": Pool(
        ("OSError: failed to flush metrics",),
        ("RuntimeError: rollback failed",),
        ("ConnectionResetError: audit sink gone",),
    ),
    "noise_error": Pool(
        ("CacheMiss: key not found", "redis.exceptions.ConnectionError: Connection reset by peer"),
        ("NotFound: 404 avatar.png",),
        ("LookupError: no translation for 'de-CH'", "Throttled: 429 from telemetry gateway"),
    ),
    "limit": Pool(
        ("MaxIterationsExceeded: agent stopped after {n} iterations",),
        ("GraphRecursionError: Recursion limit of {n} reached without hitting a stop condition",),
        ("UsageLimitExceeded: The next request would exceed the request_limit of {n}",),
    ),
    "service": Pool(
        ("api-gateway", "orders", "assistant"), ("recommender", "billing"), ("claims-api", "pricing", "ingest-worker")
    ),
    "table": Pool(("orders", "users"), ("movies", "invoices"), ("claims", "prices")),
    "path": Pool(("/orders/{id}", "/users/{id}"), ("/recommend", "/invoices/{id}"), ("/claims", "/quotes/{id}/lines")),
    "stage": Pool(
        ("fetch_candidates", "filter", "rank", "explain"),
        ("load_history", "dedupe", "score"),
        ("extract", "normalise", "enrich", "load"),
    ),
}  # fmt: skip


class Words:
    """Draws words for one half, the same ones for the same seed."""

    def __init__(self, half: Half, rng: random.Random) -> None:
        self.half, self.rng = half, rng

    def pick(self, pool: str) -> str:
        return self.rng.choice(POOLS[pool].of(self.half))

    def some(self, pool: str, count: int) -> list[str]:
        words = POOLS[pool].of(self.half)
        return self.rng.sample(words, min(count, len(words)))
