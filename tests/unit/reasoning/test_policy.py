"""Back-off and the choice of steps."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.reasoning.policy import LONGEST_DELAY_MS, delay_ms, delays


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_delays_grow_are_capped_and_at_least_half_random(attempt: int, jitter: float) -> None:
    least, most = delay_ms(attempt, 0), delay_ms(attempt, 1)
    assert least <= delay_ms(attempt, jitter) <= most <= LONGEST_DELAY_MS
    assert least * 2 == pytest.approx(most, abs=1)
    assert delay_ms(attempt + 1, 1) >= most


def test_an_executions_jobs_share_their_dice() -> None:
    rolls = iter([0.0])
    assert delays(3, lambda: next(rolls)) == [timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4)]
