"""Prices: kept ones, rates of one's own, and no price where nobody knows one."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from collector.errors import Misconfigured
from collector.mapping.prices import Listing, PriceTable
from collector.mapping.rates import Rates, read_rates
from collector.model import Step, Tokens
from tests.unit.mapping.shapes import START_NS, step

STARTED = datetime.fromtimestamp(START_NS // 10**9, UTC)


def call(model: str | None, provider: str | None = None, tokens: Tokens | None = None, **extra: object) -> Step:
    return step(0, kind="llm", model=model, provider=provider, tokens=tokens or Tokens(1000, 100), extra=extra)


def usd(each: Step, table: PriceTable | None = None) -> float | None:
    price = (table or PriceTable()).price(each)
    return None if price is None else price.usd


CALLS = [
    ("openai", "gpt-4o", Tokens(1000, 100, 400), {}),
    ("openai", "gpt-4o-mini-2024-07-18", Tokens(1000, 100), {}),
    ("openai", "text-embedding-3-small", Tokens(800), {}),
    ("anthropic", "claude-sonnet-4-5", Tokens(9000, 100, 4000, None, 2000), {}),
    ("anthropic", "claude-sonnet-4-5", Tokens(300_000, 100, 4000, None, 2000), {}),
    ("anthropic", "claude-sonnet-4-5", Tokens(9000, 100, 4000, None, 2000), {"cache_write_1h": 1500}),
    ("anthropic", "claude-sonnet-4-5", Tokens(9000, 100), {"service_tier": "batch"}),
    ("google", "gemini-2.5-pro", Tokens(250_000, 100, 1000), {}),
    ("mistral", "mistral-large-latest", Tokens(1000, 100), {}),
    ("groq", "llama-3.3-70b-versatile", Tokens(1000, 100), {}),
    ("deepseek", "deepseek-chat", Tokens(1000, 100, 500), {}),
]


@pytest.mark.parametrize(("provider", "model", "tokens", "extra"), CALLS)
def test_the_arithmetic_is_that_of_the_package(
    provider: str, model: str, tokens: Tokens, extra: dict[str, object]
) -> None:
    usage = Usage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        cache_write_1h_tokens=extra.get("cache_write_1h"),
    )
    context = {"processing": "batch"} if extra.get("service_tier") == "batch" else None
    theirs = calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=STARTED, price_context=context
    ).total_price
    ours = usd(call(model, provider, tokens, **extra))
    assert theirs > Decimal(0)
    assert ours == pytest.approx(float(theirs), rel=1e-12)


def test_batch_and_service_tier_change_the_price() -> None:
    plain = usd(call("claude-sonnet-4-5", "anthropic"))
    batch = usd(call("claude-sonnet-4-5", "anthropic", service_tier="batch"))
    assert plain is not None
    assert batch == plain / 2


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (None, "gpt-4o"),
        (None, "openai/gpt-4o"),
        ("litellm_proxy", "openai/gpt-4o"),
        ("anthropic", "gpt-4o"),
        ("some-gateway", "gpt-4o"),
        ("azure.ai.openai", "gpt-4o"),
        ("azure.ai.openai", "azure/gpt-4o"),
        ("OpenAI", "GPT-4o"),
    ],
)
def test_a_model_is_found_at_its_maker_where_the_provider_does_not_tell(provider: str | None, model: str) -> None:
    assert usd(call(model, provider)) == pytest.approx(1000 * 2.5e-6 + 100 * 1e-5)


def test_an_embedding_model_is_found_without_its_provider() -> None:
    assert usd(call("text-embedding-3-small", None, Tokens(1000))) == pytest.approx(2e-5)


def test_the_model_asked_for_is_priced_where_the_one_that_answered_is_unknown() -> None:
    assert usd(call("ft:house:7", "openai", request_model="gpt-4o")) == usd(call("gpt-4o", "openai"))


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "house-model"),
        (None, "llama3"),
        ("openai", None),
        pytest.param("ollama", "gpt-4o", id="one's own machine"),
        pytest.param("groq", "gpt-4o", id="a host with a list of its own"),
        pytest.param("ibm.watsonx.ai", "mistral-large-latest", id="a host whose list is not kept"),
    ],
)
def test_what_nobody_knows_has_no_price(provider: str | None, model: str | None) -> None:
    assert usd(call(model, provider)) is None


def test_no_tokens_no_price() -> None:
    assert PriceTable().price(step(0, kind="llm", model="gpt-4o")) is None
    assert usd(call("gpt-4o", "openai", Tokens(cached=5))) is None


def test_the_day_of_the_prices_is_the_last_change_before_the_call() -> None:
    price = PriceTable().price(call("gpt-4o", "openai"))
    assert price is not None
    assert price.at is not None
    assert date(2026, 6, 1) < price.at <= STARTED.date()


def test_own_rates_win_exact_before_pattern_and_long_before_short() -> None:
    table = PriceTable(
        {
            "*": Rates(input=1),
            "gpt-*": Rates(input=2),
            "openai/gpt-4*": Rates(input=3),
            "gpt-4o": Rates(input=4),
            "azure/gpt-4o": Rates(input=5),
        },
        date(2026, 11, 1),
    )
    tokens = Tokens(1_000_000)
    found = [
        table.price(call(model, provider, tokens))
        for provider, model in (
            ("azure", "gpt-4o"),
            ("openai", "GPT-4o"),
            ("openai", "gpt-4.1"),
            ("x", "gpt-5"),
            ("ollama", "llama"),
        )
    ]
    assert [(price.usd, price.at) for price in found if price] == [(n, date(2026, 11, 1)) for n in (5, 4, 3, 2, 1)]


def test_own_rates_for_each_kind_of_token() -> None:
    rates = Rates(input=1, output=2, cached=4, cache_write=8, cache_write_1h=16, reasoning=32)
    table = PriceTable({"m": rates})
    tokens = Tokens(10_000_000, 3_000_000, 2_000_000, 1_000_000, 4_000_000)
    # 4 plain, 2 cached, 3 written for minutes, 1 for an hour; 2 plain out, 1 reasoning
    assert usd(call("m", None, tokens, cache_write_1h=1_000_000), table) == 4 + 8 + 24 + 16 + 4 + 32
    assert usd(call("m", None, tokens), PriceTable({"m": Rates(input=1, output=2)})) == 16


def test_what_is_set_by_rest_wins_over_the_file_and_both_over_the_package() -> None:
    table = PriceTable({"openai/gpt-4o": Rates(input=1), "m": Rates(input=3)})
    tokens = Tokens(1_000_000)
    kept = usd(call("gpt-4.1", "openai", tokens), table)
    table.override([Listing("GPT-4*", Rates(input=9), date(2026, 11, 2), "rest")])
    price = table.price(call("gpt-4o", "openai", tokens))
    assert price is not None
    assert (price.usd, price.at) == (9, date(2026, 11, 2))
    assert (usd(call("gpt-4.1", "openai", tokens), table), usd(call("m", None, tokens), table)) == (9, 3)
    table.override([])
    assert (usd(call("gpt-4o", "openai", tokens), table), usd(call("gpt-4.1", "openai", tokens), table)) == (1, kept)


def test_a_listing_says_where_rates_come_from() -> None:
    table = PriceTable({"local/*": Rates(input=1)})
    found = [table.listing(provider, model, START_NS) for provider, model in (("local", "x"), (None, "gpt-4o"))]
    assert [(each.name, each.source, each.rates.input) for each in found if each] == [
        ("local/*", "file", 1),
        ("gpt-4o", "package", 2.5),
    ]
    assert table.listing("openai", "house-model", START_NS) is None


TOML = """
date = 2026-11-01
["gpt-4o"]
input = 2.5
output = 10
["local/*"]
input = 0
output = 0
"""


def test_rates_are_read_from_toml_and_json() -> None:
    expected = {"gpt-4o": Rates(input=2.5, output=10), "local/*": Rates()}
    assert read_rates(TOML, "prices.toml") == (expected, date(2026, 11, 1))
    json_text = '{"gpt-4o": {"input": 2.5, "output": 10}, "local/*": {}, "date": "2026-11-01"}'
    assert read_rates(json_text, "prices.json") == (expected, date(2026, 11, 1))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"gpt-4o": {"inptu": 1}}', "gpt-4o"),
        ('{"a": {"input": -1}, "b": {"output": "x"}}', "a"),
        ('{"date": "soon"}', "date"),
        ("[1]", "object"),
        ("{", "JSON"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        read_rates(text, "prices.json")
    assert fault in str(caught.value)
    assert "prices.json" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        read_rates('{"a": {"input": -1}, "b": {"output": "x"}}', "prices.json")
    assert len(caught.value.faults) == 2


def test_the_package_is_imported_only_for_a_price() -> None:
    program = (
        "import sys; from collector.mapping.assemble import assemble; from collector.mapping.prices import PriceTable;"
        "assemble([], [], PriceTable()); print('genai_prices' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert done.stdout.decode().strip() == "False"
