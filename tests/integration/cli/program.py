"""The program as a person runs it: a process with arguments and an environment."""

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def xray(*arguments: str, **environ: str) -> Ran:
    """Runs `xray` to its end, with nothing of this machine's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XRAY_", "OPENAI_", "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "collector.cli", *arguments],
        env=clean | {"COLUMNS": "200"} | environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
