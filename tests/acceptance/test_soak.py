"""An hour at half of what this machine can take, with every tenth call given up by its client: nothing may grow.

XRAY_SOAK_MINUTES shortens or lengthens it; the figures are printed (`pytest -s`).
"""

import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil
import pytest

from tests.acceptance.sender import EXPORT, SPANS, one_trace
from tests.processes import XRay, running, wait_for

MINUTES = float(os.environ.get("XRAY_SOAK_MINUTES", "60"))
CLIENTS = 4
FLAT_MB_PER_MINUTE = 1.0
WARM_UP_SHARE = 0.25


@dataclass
class Impatient:
    """Sends whole traces at a fixed pace; every tenth call is given up before it can be answered."""

    target: str
    pause_s: float
    acknowledged: list[str] = field(default_factory=list)
    cancelled: int = 0
    failed: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            export = channel.unary_unary(EXPORT)
            due, number = time.monotonic(), 0
            while not self.stopped.is_set():
                number += 1
                trace_id, body = one_trace()
                if number % 10 == 0:
                    export.future(body, timeout=10).cancel()
                    self.cancelled += 1
                else:
                    self._send(export, trace_id, body)
                due += self.pause_s
                self.stopped.wait(max(due - time.monotonic(), 0))

    def _send(self, export: grpc.UnaryUnaryMultiCallable, trace_id: str, body: bytes) -> None:
        try:
            export(body, timeout=10)
        except grpc.RpcError:
            self.failed += 1
        else:
            self.acknowledged.append(trace_id)


@dataclass
class Sample:
    at_s: float
    rss_mb: float
    descriptors: int


def sample(xray: XRay, began: float) -> Sample:
    assert xray.process is not None
    process = psutil.Process(xray.process.pid)
    return Sample(time.monotonic() - began, process.memory_info().rss / (1 << 20), process.num_fds())


def drive(xray: XRay, pause_s: float, seconds: float) -> tuple[list[Impatient], list[Sample]]:
    clients = [Impatient(xray.target, pause_s) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    began, samples = time.monotonic(), []
    while time.monotonic() - began < seconds:
        clients[0].stopped.wait(min(5.0, seconds / 20))
        samples.append(sample(xray, began))
    for client in clients:
        client.stopped.set()
    for thread in threads:
        thread.join(30)
    return clients, samples


def slope_per_minute(samples: list[Sample]) -> float:
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    slope, _ = statistics.linear_regression([each.at_s / 60 for each in warm], [each.rss_mb for each in warm])
    return slope


@pytest.mark.soak
@pytest.mark.timeout(MINUTES * 60 * 2 + 600)
def test_an_hour_at_half_the_maximal_rate_leaves_no_trace(tmp_path: Path) -> None:
    with running(tmp_path, XRAY_REASONER_SETTLE_MS="500") as xray:
        full, _ = drive(xray, 0.0, 20)
        rate = sum(len(client.acknowledged) for client in full) / 20
        clients, samples = drive(xray, CLIENTS / (rate / 2), MINUTES * 60)
        sent = sum(len(client.acknowledged) for client in clients)
        figures = {
            "traces/s at full rate": round(rate),
            "traces acknowledged": sent,
            "spans": sent * SPANS,
            "cancelled": sum(client.cancelled for client in clients),
            "RSS MB, first and last": (round(samples[0].rss_mb), round(samples[-1].rss_mb)),
            "RSS slope MB/min": round(slope_per_minute(samples), 2),
            "descriptors, first and last": (samples[0].descriptors, samples[-1].descriptors),
        }
        print(figures)
        assert sum(client.failed for client in clients) == 0
        assert slope_per_minute(samples) < FLAT_MB_PER_MINUTE
        assert abs(samples[-1].descriptors - samples[len(samples) // 4].descriptors) <= 10
        stats = "/reasoning/stats"
        wait_for("the queue to be empty", lambda: (s := xray.get(stats))["pending"] + s["processing"] == 0, 300)
        assert xray.get(stats)["failed"] == 0
