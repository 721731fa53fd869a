"""Apps with only OTEL_EXPORTER_OTLP_ENDPOINT set: everything arrives, nothing complains, an outage costs nothing."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.acceptance.client import Project
from tests.conftest import free_port
from tests.integration.receiver.otlp import post_head
from tests.processes import XRay, running, wait_for

PROTOCOLS = ("grpc", "http/protobuf")
STEPS = {"order", "fetch", "pay"}


class App:
    """The shop as a process of its own, which knows nothing but where to send to."""

    def __init__(self, protocol: str, endpoint: str, orders: int, pause_s: float = 0.0, **environ: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "XRAY_"))}
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "shop"}
        command = [sys.executable, "-m", "tests.acceptance.apps.shop", protocol, str(orders), str(pause_s)]
        self.orders = orders
        self.process = subprocess.Popen(
            command, env=clean | where | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.trace_ids: list[str] = []
        self.first = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.trace_ids.append(line.strip())
            self.first.set()

    def end(self) -> str:
        """Waits for its end; what it complained about."""
        assert self.process.stderr is not None
        complaints = self.process.stderr.read()
        assert self.process.wait(60) == 0, complaints
        self._reader.join()
        self.process.stderr.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert len(self.trace_ids) == self.orders
        return complaints


def endpoint_of(xray: XRay, protocol: str) -> str:
    return f"http://{xray.target}" if protocol == "grpc" else xray.url


def missing(project: Project, trace_ids: list[str]) -> list[str]:
    """Orders that are not there whole."""
    found = {item["trace_id"]: item["step_count"] for page in project.pages("/executions", limit=500) for item in page}
    return [trace_id for trace_id in trace_ids if found.get(trace_id) != len(STEPS)]


@pytest.fixture
def default(xray: XRay) -> Iterator[Project]:
    project = Project(xray, "default")
    yield project
    project.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_app_appears_without_a_change_of_its_code(xray: XRay, default: Project, protocol: str) -> None:
    app = App(protocol, endpoint_of(xray, protocol), 3)
    assert app.end() == ""
    assert missing(default, app.trace_ids) == []
    execution = default.execution(app.trace_ids[0])
    assert {each["name"] for each in execution["steps"]} == STEPS
    assert (execution["name"], execution["service"], execution["status"]) == ("order", "shop", "ok")
    text = default.http.get("/metrics").text
    door = "grpc" if protocol == "grpc" else "http"
    for signal in ("traces", "logs", "metrics"):
        assert f'xray_exports_total{{answer="ok",door="{door}",signal="{signal}"}}' in text


def lost(complaints: str) -> list[str]:
    """What exporters gave up; that they come again is no loss."""
    return [line for line in complaints.splitlines() if "Failed to export" in line or "dropp" in line.lower()]


@contextmanager
def stalled_upload(xray: XRay, size: int) -> Iterator[None]:
    """Someone else's request that takes its room and then does not go on."""
    with socket.create_connection(("127.0.0.1", xray.http_port)) as upload:
        upload.sendall(post_head(size) + b" " * (size // 2))
        wait_for("the room to be taken", lambda: metric(xray, "xray_inflight_bytes ") >= size)
        yield


def metric(xray: XRay, start: str) -> float:
    lines = httpx.get(f"{xray.url}/metrics", timeout=20).text.splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start)), 0.0)


def test_apps_come_again_after_an_overload_and_lose_nothing(tmp_path: Path) -> None:
    limit = 200_000
    narrow = {"XRAY_MAX_MESSAGE_BYTES": str(limit), "XRAY_MAX_INFLIGHT_BYTES": str(limit), "XRAY_REASONER": "off"}
    with running(tmp_path, **narrow) as xray:
        with stalled_upload(xray, limit):
            apps = [App(protocol, endpoint_of(xray, protocol), 200) for protocol in PROTOCOLS * 2]
            for door in ("grpc", "http"):
                refused = f'xray_exports_total{{answer="overloaded",door="{door}",signal="traces"}}'
                wait_for("a refusal", partial(metric, xray, refused))
        complaints = [app.end() for app in apps]
        project = Project(xray, "default")
        assert missing(project, [trace_id for app in apps for trace_id in app.trace_ids]) == []
        assert lost("".join(complaints)) == []
        project.close()


@pytest.mark.timeout(120)
def test_a_restart_under_running_apps_costs_nothing(tmp_path: Path) -> None:
    """Some three seconds without a server; the exporters' own limit is raised, for a slow machine takes longer."""
    ports = {"XRAY_GRPC_PORT": str(free_port()), "XRAY_HTTP_PORT": str(free_port()), "XRAY_REASONER": "off"}
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "40", "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BLRP_SCHEDULE_DELAY": "200"}
    with running(tmp_path, **ports) as xray:
        project = Project(xray, "default")
        apps = [App(protocol, endpoint_of(xray, protocol), 60, 0.05, **patient) for protocol in PROTOCOLS]
        wait_for(
            "an order of each",
            lambda: all(len(missing(project, app.trace_ids[:1])) == 0 for app in apps if app.first.wait(20)),
        )
        xray.stop()
        xray.start()
        complaints = [app.end() for app in apps]
        assert all("ransient error" in complaint for complaint in complaints)
        assert missing(project, [trace_id for app in apps for trace_id in app.trace_ids]) == []
        assert lost("".join(complaints)) == []
        project.close()
