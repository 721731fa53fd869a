"""The rules name the cause far more often than the baselines do, also where nobody looked while they were written."""

from pathlib import Path

import pytest

from tests.causes.accuracy import JUDGES, Score, scores, table, total
from tests.causes.labelled import A_FAULT, FAULTS, HEALTHY, Labelled, failing, labelled
from tests.causes.words import POOLS, Half

LEAD = 0.4
"""By how much the rules must lead the best baseline."""
HALVES: tuple[Half, Half] = ("development", "held-out")


@pytest.fixture(scope="module")
def halves() -> dict[Half, list[Labelled]]:
    return {half: list(labelled(half)) for half in HALVES}


@pytest.mark.parametrize("half", HALVES)
def test_there_are_enough_executions_of_every_fault(halves: dict[Half, list[Labelled]], half: Half) -> None:
    counted = {fault: score.of for fault, score in scores(halves[half], JUDGES["rules"]).items()}
    assert counted == dict.fromkeys(FAULTS, A_FAULT) | {"healthy": HEALTHY}
    assert len(FAULTS) >= 12
    assert A_FAULT * len(FAULTS) >= 120


@pytest.mark.parametrize("half", HALVES)
def test_the_rules_beat_every_baseline(halves: dict[Half, list[Labelled]], half: Half) -> None:
    found = {name: total(scores(halves[half], judge)) for name, judge in JUDGES.items()}
    rules = found.pop("rules")
    assert rules.share >= 0.85
    assert rules.share >= max(score.share for score in found.values()) + LEAD


@pytest.mark.parametrize("half", HALVES)
def test_healthy_executions_are_left_alone(halves: dict[Half, list[Labelled]], half: Half) -> None:
    assert total(scores(halves[half], JUDGES["rules"]), failing=False).share >= 0.9


def test_no_fault_is_left_to_chance(halves: dict[Half, list[Labelled]]) -> None:
    found = scores(halves["held-out"], JUDGES["rules"])
    assert {fault: score for fault, score in found.items() if score.share < 0.6} == {}


def test_the_halves_share_no_execution(halves: dict[Half, list[Labelled]]) -> None:
    first, second = ({case.key.trace_id for _, case, _ in halves[half]} for half in HALVES)
    assert len(first) == len(second) == A_FAULT * len(FAULTS) + HEALTHY
    assert not first & second


def test_most_words_of_each_half_are_its_own() -> None:
    assert all(pool.development and pool.held_out for pool in POOLS.values())
    assert not any(set(pool.development) & set(pool.held_out) for pool in POOLS.values())


def test_the_same_seed_gives_the_same_execution() -> None:
    seed = next(seed for seed in range(1_000_000, 1_000_100) if failing("development", "swallowed", seed))
    assert failing("development", "swallowed", seed) == failing("development", "swallowed", seed)


@pytest.mark.parametrize("half", HALVES)
def test_the_documentation_holds_the_figures_of_today(half: Half) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "reasoning.md").read_text()
    assert table(half) in documented


def test_a_judge_that_names_nothing_is_wrong_where_there_is_a_fault(halves: dict[Half, list[Labelled]]) -> None:
    found = scores(halves["development"], lambda _: None)
    assert total(found) == Score(0, A_FAULT * len(FAULTS))
    assert total(found, failing=False) == Score(HEALTHY, HEALTHY)
