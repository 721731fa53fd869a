"""One X-Ray for the tests that only talk to it; those that kill or configure it start their own."""

from collections.abc import Iterator

import pytest

from tests.processes import XRay, running

SETTLE_MS = "100"


@pytest.fixture(scope="session")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XRay]:
    with running(tmp_path_factory.mktemp("xray"), XRAY_REASONER="rules", XRAY_REASONER_SETTLE_MS=SETTLE_MS) as started:
        yield started
