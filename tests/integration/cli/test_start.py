"""Help, options and wrong starts: told plainly, without a traceback, with exit code 2."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from collector.cli import program
from collector.commands.settings import HELP
from collector.config import Settings, variable

from .program import Ran, xray

COMMANDS = {"up", "migrate", "demo", "executions", "jobs", "remap", "doctor"}
HEAVY = ("litestar", "sqlalchemy", "grpc", "asyncpg", "opentelemetry", "openai", "alembic", "google", "pydantic")


def faults_of(ran: Ran) -> list[str]:
    """The lines of a start that was refused as it should be."""
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert all(line.startswith("xray: ") for line in lines), ran.err
    return lines


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    asked = [sys.executable, "-X", "importtime", "-m", "collector.cli", "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded.isdisjoint(HEAVY)


def test_every_setting_is_an_option_of_up_with_a_description_and_its_variable() -> None:
    options = {option.name: option for option in program.commands["up"].params}
    described = {name for group in HELP.values() for name in group}
    names = {field.name for field in msgspec.structs.fields(Settings)}
    assert described == names
    assert names <= set(options)
    shown = xray("up", "--help").out
    for name in names:
        assert f"--{name.replace('_', '-')}" in shown
        assert variable(name) in shown


def test_all_wrong_settings_are_told_at_once() -> None:
    lines = faults_of(xray("up", "--http-port", "many", XRAY_WORKERS="0", XRAY_REASONER="magic", XRAY_HOST="0.0.0.0"))
    assert len(lines) == 4
    for word in ("XRAY_WORKERS", "XRAY_REASONER", "--http-port", "XRAY_HOST"):
        assert any(word in line for line in lines), word


def test_an_unknown_option_is_wrong_use() -> None:
    ran = xray("up", "--colour", "red")
    assert (ran.code, ran.out) == (2, "")
    assert "--colour" in ran.err


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize("name", ["XRAY_HTTP_PORT", "XRAY_GRPC_PORT"])
def test_a_busy_port_is_named(busy_port: int, tmp_path: Path, name: str) -> None:
    ports = {"XRAY_HTTP_PORT": "0", "XRAY_GRPC_PORT": "0", "XRAY_DATA_DIR": str(tmp_path / "data")}
    (line,) = faults_of(xray("up", **ports | {name: str(busy_port)}))
    assert str(busy_port) in line


def test_an_unreachable_database_is_told_with_what_to_do() -> None:
    url = "postgresql://ann:secret@127.0.0.1:1/none"
    for command in ("up", "migrate"):
        lines = faults_of(xray(command, XRAY_DATABASE_URL=url, XRAY_HTTP_PORT="0", XRAY_GRPC_PORT="0"))
        assert len(lines) == 1
        assert "secret" not in lines[0]
        assert "127.0.0.1" in lines[0]


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "data"
    (line,) = faults_of(xray("up", XRAY_DATA_DIR=str(folder), XRAY_HTTP_PORT="0", XRAY_GRPC_PORT="0"))
    assert str(folder) in line


def test_commands_that_read_say_when_nothing_answers(busy_port: int) -> None:
    for command in (["executions"], ["jobs", "stats"], ["executions", "show", "x"], ["demo"]):
        ran = xray(*command, XRAY_HTTP_PORT="1")
        assert (ran.code, ran.out) == (1, ""), ran
        assert "Start" in ran.err
        assert "xray up" in ran.err
        assert "Traceback" not in ran.err
    ran = xray("executions", "--url", "ftp://x")
    assert (ran.code, "ftp://x" in ran.err) == (2, True)


def test_the_program_has_a_version() -> None:
    assert xray("--version").out.startswith("xray 0.")
