"""Starts that can't go well: one clear message, exit code 2, no traceback. Others are in tests/integration/cli."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.cli.program import xray as run
from tests.processes import XRay

ANY_PORTS = {"XRAY_HTTP_PORT": "0", "XRAY_GRPC_PORT": "0"}


def told(**environ: str) -> str:
    """The only line that a refused start says."""
    ran = run("up", **ANY_PORTS | environ)
    assert (ran.code, ran.out) == (2, ""), ran
    (line,) = ran.err.splitlines()
    assert line.startswith("xray: ")
    return line


def test_a_second_process_on_the_folder_says_who_has_it(xray: XRay) -> None:
    line = told(XRAY_DATA_DIR=str(xray.data_dir))
    assert xray.process is not None
    assert str(xray.process.pid) in line
    assert str(xray.data_dir) in line
    assert "items" in xray.get("/executions")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_of_another_x_ray_is_not_shared_with_it(xray: XRay, tmp_path: Path, workers: str) -> None:
    line = told(XRAY_HTTP_PORT=str(xray.http_port), XRAY_DATA_DIR=str(tmp_path / "other"), XRAY_WORKERS=workers)
    assert str(xray.http_port) in line


def test_a_login_that_postgres_refuses(tcp_database_url: str) -> None:
    password = urlsplit(tcp_database_url).password
    assert password
    line = told(XRAY_DATABASE_URL=tcp_database_url.replace(password, "wrong"))
    assert "password" in line
    assert "wrong" not in line


def test_a_database_that_is_not_there(tcp_database_url: str) -> None:
    assert "nothing_here" in told(XRAY_DATABASE_URL=f"{tcp_database_url.rsplit('/', 1)[0]}/nothing_here")


def test_a_database_without_the_schema(empty_database_url: str) -> None:
    assert "xray migrate" in told(XRAY_DATABASE_URL=empty_database_url, XRAY_MIGRATE="off")


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"XRAY_PORTS_FILE": "/no/such/folder/ports"}, "XRAY_PORTS_FILE"),
        ({"XRAY_HOST": "no.such.host.invalid", "XRAY_AUTH": "off"}, "XRAY_HOST"),
        ({"XRAY_DATABASE_URL": "postgresql://a@no.such.host.invalid/b"}, "no.such.host.invalid"),
        ({"XRAY_REASONER_REDACT_PATTERNS": "(", "XRAY_REDACT_STORAGE": "on"}, "XRAY_REASONER_REDACT_PATTERNS"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_setting_names_is_not_there(tmp_path: Path, environ: dict[str, str], word: str) -> None:
    assert word in told(XRAY_DATA_DIR=str(tmp_path / "data"), **environ)


def test_a_folder_where_nobody_may_write() -> None:
    """Not even root."""
    assert "/proc/xray" in told(XRAY_DATA_DIR="/proc/xray")
