"""X-Ray as a user runs it: a real process with real ports, killed and started again at will."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

READY_WITHIN_S = 30.0
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], within_s: float = 20.0) -> T:
    """Asks until the answer is truthy; fails with `what` was awaited and the last answer."""
    deadline = time.monotonic() + within_s
    pause = 0.01
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:.0f} s for {what}; last answer: {answer!r}")
        time.sleep(pause)  # the only way to watch another process from outside
        pause = min(pause * 1.5, 0.2)


@dataclass
class XRay:
    """One `xray up` on ports of its own; `start` returns when it is ready."""

    data_dir: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    grpc_port: int = 0
    http_port: int = 0

    @property
    def ports_file(self) -> Path:
        return self.data_dir / "ports.json"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "xray.log"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> "XRay":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.ports_file.unlink(missing_ok=True)
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("XRAY_", "OPENAI_", "OTEL_"))
        }
        environ |= {
            "XRAY_DATA_DIR": str(self.data_dir),
            "XRAY_GRPC_PORT": "0",
            "XRAY_HTTP_PORT": "0",
            "XRAY_PORTS_FILE": str(self.ports_file),
            "PYTHONWARNINGS": "default",
            **self.environ,
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "collector.cli", "up", *self.arguments], env=environ, stdout=log, stderr=log
            )
        wait_for("xray to be ready", self._ready, READY_WITHIN_S)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"xray ended with {self.process.returncode}:\n{self.log_file.read_text()[-4000:]}")
        if not self.ports_file.exists():
            return False
        ports = json.loads(self.ports_file.read_text())
        self.grpc_port, self.http_port = ports.get("grpc", 0), ports.get("http", 0)
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """SIGKILL: what a power cut or the kernel's OOM killer does."""
        self.signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        return self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def get(self, path: str, **params: Any) -> Any:
        return httpx.get(f"{self.url}/api/v1{path}", params=params, timeout=20).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return httpx.post(f"{self.url}/api/v1{path}", json=body, timeout=20)


@contextlib.contextmanager
def running(data_dir: Path, *arguments: str, **environ: str) -> Iterator[XRay]:
    xray = XRay(data_dir, environ, arguments).start()
    try:
        yield xray
    finally:
        if xray.process is not None and xray.process.poll() is None:
            xray.stop()
