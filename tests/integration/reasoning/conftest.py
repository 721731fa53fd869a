"""A provider that does what it is told, and workers that look often."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from collector.config import Settings
from collector.reasoning import making
from collector.reasoning.worker import WorkerOptions
from tests.fake_provider import FakeProvider


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short polls, so that tests need not wait."""
    of = WorkerOptions.of

    def quicker(settings: Settings) -> WorkerOptions:
        return msgspec.structs.replace(of(settings), poll_ms=50, sweep_ms=100)

    monkeypatch.setattr(making.WorkerOptions, "of", quicker)
