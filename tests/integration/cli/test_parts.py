"""Parts of the commands: the tree of steps, what the doctor says of clocks, ports and models."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from collector.commands.doctor import clock, data_folder, ports, reasoner, spool
from collector.commands.executions import in_tree_order, print_execution
from collector.commands.up import greeting
from collector.config import load
from collector.store.spool_file import FILE_NAME, Spooled, SpoolFile

Endpoint = Callable[[int, Any], str]


def step(span_id: str, parent: str | None) -> dict[str, Any]:
    return {"span_id": span_id, "parent_span_id": parent}


def test_steps_stand_behind_their_parents_also_orphans_and_circles() -> None:
    steps = [step("a", None), step("b", "a"), step("c", "b"), step("d", "a"), step("e", "gone"), step("f", "f")]
    assert [(depth, each["span_id"]) for depth, each in in_tree_order(steps)] == [
        *((0, "a"), (1, "b"), (2, "c"), (1, "d")),
        *((0, "e"), (0, "f")),
    ]


def test_a_very_deep_tree_is_shown_too() -> None:
    steps = [step(str(number), str(number - 1) if number else None) for number in range(5000)]
    assert sum(1 for _ in in_tree_order(steps)) == 5000


def test_conversations_are_shown_as_they_were_said() -> None:
    told = {"role": "user", "parts": [{"type": "text", "content": "two\nlines"}]}
    asked = {"role": "assistant", "content": None, "tool_calls": [{"name": "find"}]}
    nothing = dict.fromkeys(("label", "model", "tokens", "error", "reasoning", "output", "cost_usd", "service"))
    shown = {
        **nothing,
        "span_id": "a",
        "parent_span_id": None,
        "name": "ask",
        "kind": "llm",
        "status": "ok",
        "duration_ms": 1.0,
        "input": [told, asked],
    }
    whole = {
        **nothing,
        "name": "run",
        "status": "ok",
        "duration_ms": 1.0,
        "step_count": 1,
        "warnings": ["skewed"],
        "steps": [shown],
        "started_at": "2026-01-01T00:00:00Z",
        "execution_id": "x",
    }
    console = Console(width=200, record=True, file=None, quiet=False)
    print_execution(whole, console)
    text = console.export_text()
    assert 'user: two lines assistant: {"name": "find"}' in text
    assert "! skewed" in text


def test_a_clock_that_is_off_is_told() -> None:
    assert clock(4.9).ok
    wrong = clock(-61.0)
    assert (wrong.ok, wrong.detail) == (False, "the database is 61.000 s behind")


def test_a_port_that_another_program_has_is_told() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        found = {finding.name: finding for finding in ports(load({"grpc_port": port, "http_port": "0"}, {}))}
    assert (found["grpc_port"].ok, found["http_port"].ok) == (False, True)
    assert "--grpc-port" in found["grpc_port"].advice


def test_a_folder_below_a_file_is_told(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    assert not data_folder(load({"data_dir": str(tmp_path / "file" / "data")}, {})).ok
    assert data_folder(load({"data_dir": str(tmp_path / "new" / "data")}, {})).ok


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A model's endpoint that answers everything in the same way."""
    servers: list[HTTPServer] = []

    def serve(status: int, body: Any) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "ok", "word"),
    [
        (200, {"data": [{"id": "small"}]}, True, "small at"),
        (200, {"data": [{"id": "other"}]}, False, "no model 'small'"),
        (200, {}, True, "small at"),
        (401, {}, False, "refuses the key"),
        (404, {}, True, "no list of models"),
        (500, {}, False, "answers 500"),
    ],
)
def test_what_a_models_endpoint_says_is_told(endpoint: Endpoint, status: int, body: Any, ok: bool, word: str) -> None:
    settings = load({"openai_base_url": endpoint(status, body), "reasoner_model": "small"}, {})
    found = reasoner(settings)
    assert (found.ok, word in found.detail) == (ok, True), found
    assert bool(found.advice) != ok


def test_the_greeting_shows_only_what_this_process_does() -> None:
    from collector.app import Address

    settings = load({"retention_days": "0", "openai_base_url": "http://m/v1"}, {})
    whole = Address(host="::1", grpc_port=1, http_port=2, data="/d", reasoner="openai", roles=("receive", "reason"))
    text = "\n".join(greeting(settings, whole))
    assert "http://[::1]:1" in text
    assert "REST" not in text
    assert "kept for ever" in text
    assert "gpt-5-mini at http://m/v1" in text
    served = Address(host="h", grpc_port=None, http_port=2, data="/d", reasoner="rules", roles=("serve",))
    text = "\n".join(greeting(settings, served))
    assert "OTLP" not in text
    assert "in another process" in text


def test_the_doctor_looks_into_the_spool(tmp_path: Path) -> None:
    settings = load({"data_dir": str(tmp_path)}, {})
    assert (spool(settings).ok, spool(settings).detail) == (True, "it is empty")
    file = SpoolFile(tmp_path / "spool" / "0")
    file.append([Spooled("traces", "protobuf", None, bytes(1 << 20))] * 2)
    assert (spool(settings).ok, spool(settings).detail) == (True, "2 requests, 2.0 MiB wait to be stored")
    file.settle([], [1])
    assert not spool(settings).ok
    assert spool(settings).detail.endswith("; 1 of them could not be")
    file.close()
    SpoolFile(tmp_path / "spool" / "0").close()  # the next start
    assert spool(settings).ok
    damaged = tmp_path / "spool" / "0" / f"{FILE_NAME}.damaged-1"
    damaged.write_bytes(b"x")
    assert str(damaged) in spool(settings).detail
