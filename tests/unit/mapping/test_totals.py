"""Each model call counts once, however many steps report it."""

import pytest

from collector.mapping.assemble import assemble
from collector.mapping.prices import PriceTable
from collector.mapping.rates import Rates, cost_usd
from collector.model import Facts, Step, Tokens
from tests.unit.mapping.shapes import llm, step

# A dollar for an input token, ten for an output token: sums that a person sees at a glance.
PRICES = PriceTable({"gpt-4o*": Rates(input=1e6, output=1e7)})


def facts_of(*steps: Step) -> Facts:
    return assemble(list(steps), [], PRICES)[1]


def sums(*steps: Step) -> tuple[int | None, int | None]:
    tokens = facts_of(*steps).tokens or Tokens()
    return tokens.input, tokens.output


def test_a_wrapper_counts_only_where_nothing_below_it_has_numbers() -> None:
    agent = step(1, kind="agent", tokens=Tokens(300, 60))
    assert sums(agent, step(2, 1), llm(3, 2, (100, 20)), llm(4, 2, (200, 40))) == (300, 60)
    assert sums(agent, step(2, 1), llm(3, 2, None)) == (300, 60)


def test_a_wrapper_that_says_something_else_is_reported() -> None:
    facts = facts_of(step(1, kind="agent", name="planner", tokens=Tokens(310, 60)), llm(2, 1, (100, 20)))
    assert facts.tokens == Tokens(100, 20)
    assert facts.warnings == [
        "planner reports 310 input and 60 output tokens; "
        "the model calls below it add up to 100 input and 20 output tokens, which is what counts"
    ]


def test_many_wrappers_make_few_warnings() -> None:
    steps = [step(i, i - 1 if i > 1 else None, "agent", tokens=Tokens(i, i)) for i in range(1, 30)]
    warnings = assemble(steps, [])[1].warnings
    assert (len(warnings), warnings[-1]) == (4, "25 more wrappers differ from the calls below them")


def test_embeddings_count_and_kinds_of_tokens_are_kept_apart() -> None:
    steps = [
        step(1),
        step(2, 1, "llm", model="gpt-4o", tokens=Tokens(100, 20, 60, 5, 10)),
        step(3, 1, "embedding", model="text-embedding-3-small", tokens=Tokens(input=7)),
    ]
    assert facts_of(*steps).tokens == Tokens(107, 20, 60, 5, 10)


def test_nobody_said_a_number() -> None:
    facts = facts_of(step(1, kind="agent"), llm(2, 1, None), llm(3, 1, (0, 0)))
    assert (facts.tokens, facts.cost_usd, facts.prices_at) == (None, None, None)
    assert facts.warnings == ["2 model calls came without token numbers: the totals leave them out"]


def test_calls_that_failed_or_lie_in_a_counted_wrapper_are_not_missed() -> None:
    assert facts_of(llm(1, None, None, status="error")).warnings == []
    assert facts_of(step(1, kind="agent", tokens=Tokens(5, 5), model="gpt-4o"), llm(2, 1, None)).warnings == []


OTHER = {"name": "openai.chat", "extra": {"dialect": "openllmetry"}}


def test_two_instrumentations_side_by_side_are_one_call() -> None:
    assert sums(step(1), llm(2, 1), llm(3, 1, **OTHER)) == (100, 20)


def test_two_instrumentations_one_below_the_other_are_one_call() -> None:
    assert sums(step(1), llm(2, 1), llm(3, 2, **OTHER), step(4, 3, "http")) == (100, 20)


def test_equal_calls_of_one_instrumentation_are_as_many_calls() -> None:
    assert sums(step(1), *[llm(i, 1, at=2) for i in range(2, 6)]) == (400, 80)


def test_equal_calls_of_one_dialect_under_several_names_are_calls_unless_one_wraps_the_other() -> None:
    assert sums(step(1), llm(2, 1, name="judge a"), llm(3, 1, name="judge b")) == (200, 40)
    assert sums(step(1), llm(2, 1, name="ChatOpenAI", ms=12), llm(3, 1, name="ChatCompletion")) == (100, 20)


def test_equal_calls_seen_twice_are_paired() -> None:
    seen = [llm(i, 1, at=2) for i in range(2, 5)] + [llm(i, 1, at=3, **OTHER) for i in range(5, 8)]
    assert sums(step(1), *seen) == (300, 60)


@pytest.mark.parametrize(
    "second",
    [
        llm(3, 1, (100, 21), **OTHER),
        llm(3, 1, at=900, **OTHER),
        llm(3, 1, ms=900, **OTHER),
        llm(3, 1, model="gpt-4o-mini", **OTHER),
    ],
    ids=["other numbers", "other time", "other length", "other model"],
)
def test_what_differs_is_another_call(second: Step) -> None:
    tokens = second.tokens or Tokens()
    assert sums(step(1), llm(2, 1), second) == (100 + (tokens.input or 0), 20 + (tokens.output or 0))


def test_a_model_with_its_date_is_the_same_model() -> None:
    assert sums(step(1), llm(2, 1), llm(3, 1, model="gpt-4o-2024-08-06", **OTHER)) == (100, 20)


def test_one_response_id_is_one_call_though_the_numbers_differ() -> None:
    first = llm(2, 1, extra={"response_id": "r1"})
    other = {"dialect": "openllmetry", "response_id": "r1"}
    assert sums(step(1), first, llm(3, 1, (90, 20), ms=700, name="openai.chat", extra=other)) == (100, 20)
    other = {"dialect": "openllmetry", "response_id": "r2"}
    assert sums(step(1), first, llm(3, 1, name="openai.chat", extra=other)) == (200, 40)


def test_a_server_that_gives_every_answer_one_id_does_not_hide_calls() -> None:
    calls = [llm(i, 1, (10 * i, i), at=20 * i, extra={"response_id": "fake"}) for i in range(2, 5)]
    assert sums(step(1), *calls) == (90, 9)


def test_cost_follows_the_calls_that_count() -> None:
    steps = [
        step(1, kind="agent", tokens=Tokens(300, 60), model="gpt-4o"),
        llm(2, 1, (100, 20)),
        llm(3, 1, (100, 20), **OTHER),
    ]
    found, facts = assemble(steps, [], PRICES)
    assert facts.cost_usd == 300
    assert [(each.cost_usd, each.cost_source) for each in found] == [(None, None), (300, "prices"), (300, "prices")]


def test_amounts_bear_no_noise_of_binary_fractions() -> None:
    calls = [llm(number, None, **sent(0.1)) for number in (1, 2, 3)]
    assert facts_of(*calls).cost_usd == 0.3
    assert cost_usd(Rates(input=2.5, output=10), Tokens(100, 10), 0) == 0.00035


def sent(usd: float) -> dict[str, object]:
    return {"cost_usd": usd, "cost_source": "sender"}


def test_a_senders_cost_wins_over_the_table() -> None:
    found, facts = assemble([step(1), llm(2, 1, **sent(0.5)), llm(3, 1, (1, 0), at=200)], [], PRICES)
    assert facts.cost_usd == 1.5
    assert (found[1].cost_usd, found[1].cost_source) == (0.5, "sender")
    assert facts_of(llm(1, None, **sent(0.0))).cost_usd == 0.0


def test_a_wrappers_cost_covers_the_calls_below_it_that_have_none() -> None:
    agent = step(1, kind="agent", **sent(7.0))
    assert facts_of(agent, llm(2, 1)).cost_usd == 7.0
    assert facts_of(agent, llm(2, 1, **sent(5.0)), llm(3, 1, (2, 0), at=200)).cost_usd == 7.0
    assert facts_of(agent, llm(2, 1, **sent(5.0))).cost_usd == 5.0


def test_the_twin_that_brought_a_cost_is_kept_and_the_other_adds_nothing() -> None:
    assert facts_of(step(1), llm(2, 1), llm(3, 1, **OTHER, **sent(0.25))).cost_usd == 0.25
    assert facts_of(step(1), llm(2, 1, **sent(0.25)), llm(3, 1, **OTHER, **sent(0.25))).cost_usd == 0.25


def test_an_unknown_model_has_no_price_and_that_is_said() -> None:
    alone = facts_of(llm(1, None, model="house-model"))
    assert (alone.tokens, alone.cost_usd) == (Tokens(100, 20), None)
    assert alone.warnings == ["no price is known for house-model: the cost is not known"]
    partly = facts_of(step(1), llm(2, 1, (1, 0)), llm(3, 1, model="house-model"))
    assert partly.cost_usd == 1
    assert partly.warnings == ["no price is known for house-model: the cost leaves it out"]


def test_without_a_table_nothing_is_priced_and_nothing_missed() -> None:
    _, facts = assemble([llm(1, None)], [])
    assert (facts.cost_usd, facts.warnings) == (None, [])


def test_numbers_that_contradict_themselves_are_named() -> None:
    facts = facts_of(llm(1, None, extra=None), step(2, 1, "llm", model="gpt-4o", tokens=Tokens(5, 5, 4, 9, 4)))
    assert "llm 2 reports more cached tokens than input tokens" in facts.warnings
    assert facts.cost_usd is not None


def test_loops_and_orphans_count_like_any_other() -> None:
    assert sums(llm(1, 2, (1, 1)), llm(2, 1, (2, 2)), llm(3, 77, (4, 4))) == (6, 6)


def test_a_deep_execution_needs_no_deep_stack() -> None:
    steps = [llm(i, i - 1 if i > 1 else None, (i, 1)) for i in range(1, 20_001)]
    assert sums(*steps) == (20_000, 1)


def test_many_equal_calls_seen_twice_take_linear_time() -> None:
    calls = [llm(i, 1, at=i // 100, **(OTHER if i % 2 else {})) for i in range(2, 10_002)]
    tokens = facts_of(step(1), *calls).tokens
    assert tokens is not None
    assert tokens.input == 500_000
