"""Executions with more due steps than one question holds."""

from collections import Counter

from collector.store.database import Database
from tests.fake_provider import Act, FakeProvider
from tests.integration.reasoning.queue import AT_ONCE, arrive, statuses
from tests.integration.reasoning.test_model import reasoning
from tests.integration.reasoning.test_worker import is_quiet, until
from tests.integration.store.writer_rows import rows, writing

A_QUESTION = 40
TOKENS_A_CALL = 120
SPEND = "SELECT calls, tokens FROM reasoning_spend"


async def test_two_thousand_steps_take_fifty_questions(database: Database, fake: FakeProvider) -> None:
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake):
        key = await arrive(writer, steps=1_999)
        await until(lambda: is_quiet(database), within_s=18)
    assert [len(asked) for asked in fake.asked] == [A_QUESTION + 1] + [A_QUESTION] * 49
    assert Counter(await statuses(database, key)) == {"completed": 2_001}
    assert await rows(database, SPEND) == [{"calls": 50, "tokens": 50 * TOKENS_A_CALL}]


async def test_the_budget_is_asked_before_each_question_and_what_was_paid_for_shows(
    database: Database, fake: FakeProvider
) -> None:
    settings = {"reasoner_budget_tokens_per_day": 3 * TOKENS_A_CALL}
    async with writing(database, AT_ONCE) as writer, reasoning(database, fake, **settings):
        key = await arrive(writer, steps=199)

        async def waits() -> bool:
            return "completed" in await statuses(database, key)

        await until(waits)
    assert len(fake.calls) == 3
    assert Counter(await statuses(database, key)) == {"completed": 3 * A_QUESTION + 1, "pending": 2 * A_QUESTION}
    left = await rows(database, "SELECT DISTINCT attempts, errors -> -1 ->> 'message' AS reason FROM reasoning_jobs")
    assert [row["attempts"] for row in left] == [0]
    assert "the budget of 360 tokens a day is spent" in left[0]["reason"]


async def test_an_interruption_repeats_one_question_at_most(database: Database, fake: FakeProvider) -> None:
    fake.script.extend([Act(), Act(), Act(hang=True)])

    async def hangs() -> bool:
        return len(fake.calls) == 3

    async with writing(database, AT_ONCE) as writer:
        async with reasoning(database, fake, stop_within_s=0.0):
            key = await arrive(writer, steps=199)
            await until(hangs)
        async with reasoning(database, fake):
            await until(lambda: is_quiet(database))
    assert Counter(await statuses(database, key)) == {"completed": 201}
    asked = Counter(tuple(aliases) for aliases in fake.asked)
    assert sorted(asked.values()) == [1, 1, 1, 1, 2]
