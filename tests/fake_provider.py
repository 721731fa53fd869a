"""An OpenAI-compatible endpoint that does what a test's script says: answers, limits, fails, hangs, talks nonsense."""

import asyncio
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

Text = Callable[[list[str]], str]
ASKED = re.compile(r"Explain: ([^.]*)\.")


@dataclass(frozen=True)
class Act:
    """What is done with one call; without anything set it is answered well."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    text: Text | None = None
    """The message's content, from the aliases that were asked about."""
    refusal: str | None = None
    finish_reason: str = "stop"
    raw: bytes | None = None
    """The whole body, instead of a completion."""
    hang: bool = False
    drop: bool = False
    """Close the connection without an answer."""
    usage: tuple[int, int] = (100, 20)


def explain(asked: list[str], leave_out: tuple[str, ...] = ()) -> str:
    """A good answer, but for what is left out."""
    steps = [{"id": one, "text": f"Told of [{one}]."} for one in asked if one not in ("execution", *leave_out)]
    whole = (
        {"text": "All in all.", "root_cause": None} if "execution" in asked and "execution" not in leave_out else None
    )
    return json.dumps({"steps": steps, "execution": whole})


def half(asked: list[str]) -> str:
    """Only the first half of what was asked."""
    return explain(asked, tuple(asked[len(asked) // 2 :]))


class FakeProvider:
    """One endpoint on a free port. `script` holds the acts to come; afterwards every call is answered well."""

    def __init__(self) -> None:
        self.script: deque[Act] = deque()
        self.otherwise = Act()
        self.calls: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.refused_forms: tuple[str, ...] = ()
        """Kinds of response_format that this endpoint does not know."""
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        """While it is not set, calls wait before they are answered."""
        self.open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    @property
    def asked(self) -> list[list[str]]:
        """The aliases of each call."""
        return [asked_of(call) for call in self.calls]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _request(reader):
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    answer = await self._act(*request, reader)
                finally:
                    self.at_once -= 1
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _act(self, headers: dict[str, str], call: dict[str, Any], reader: asyncio.StreamReader) -> bytes | None:
        self.headers.append(headers)
        self.calls.append(call)
        self.arrived.set()
        form = call.get("response_format", {}).get("type", "text")
        if form in self.refused_forms:
            return _response(400, {}, json.dumps({"error": {"message": f"response_format {form} is unknown"}}).encode())
        act = self.script.popleft() if self.script else self.otherwise
        if act.hang or not await self._let_through(reader):
            await _end(reader)
            return None
        if act.drop:
            return None
        if act.status != 200:
            return _response(act.status, act.headers, json.dumps({"error": act.error or {"message": "no"}}).encode())
        return _response(200, act.headers, act.raw if act.raw is not None else _completion(act, call))

    async def _let_through(self, reader: asyncio.StreamReader) -> bool:
        """Waits until the door is open; False where the caller went away before."""
        if self.open.is_set():
            return True
        opened, gone = asyncio.create_task(self.open.wait()), asyncio.create_task(_end(reader))
        done, waiting = await asyncio.wait((opened, gone), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return opened in done


def asked_of(call: Mapping[str, Any]) -> list[str]:
    return ASKED.findall(call["messages"][-1]["content"])[-1].split(", ")


async def _end(reader: asyncio.StreamReader) -> None:
    """Returns when the caller closes its connection."""
    await reader.read(1)


async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, str], dict[str, Any]] | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return headers, json.loads(body)


def _completion(act: Act, call: Mapping[str, Any]) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": (act.text or explain)(asked_of(call))}
    if act.refusal:
        message |= {"content": None, "refusal": act.refusal}
    given, taken = act.usage
    return json.dumps(
        {
            "id": "call",
            "object": "chat.completion",
            "created": 1,
            "model": call["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": act.finish_reason}],
            "usage": {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": given + taken},
        }
    ).encode()


def _response(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
