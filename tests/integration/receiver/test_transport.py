"""OTLP.md section 1: ports, paths, compression, connections. Test names begin with the row's id."""

import asyncio
import gzip
import zlib
from typing import Any

import grpc
import httpx
import pytest
import zstandard

from collector.config import Settings
from collector.receiver.grpc import GrpcOptions
from tests.integration.receiver.conftest import JSON, PROTOBUF, SERVICES, SHARED, Receiver, Setup
from tests.integration.receiver.h2 import Http2
from tests.integration.receiver.otlp import logs, metrics, otlp_json, post_head, span, traces

CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}


async def stored_names(receiver: Receiver) -> list[str]:
    return [row["name"] for row in await receiver.steps()]


@SHARED
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_T1_grpc_plain_and_gzip(shared_receiver: Receiver, compression: grpc.Compression) -> None:
    outcome = await shared_receiver.grpc(traces(span("one")).SerializeToString(), compression=compression)
    assert outcome.ok
    assert await stored_names(shared_receiver) == ["one"]


@SHARED
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
async def test_T1_T12_http_content_encodings(shared_receiver: Receiver, coding: str, headers: dict[str, str]) -> None:
    message = traces(span("one"))
    body = otlp_json(message) if headers is JSON else message.SerializeToString()
    outcome = await shared_receiver.http(CODINGS[coding](body), headers | {"content-encoding": coding})
    assert outcome.ok
    assert await stored_names(shared_receiver) == ["one"]


@SHARED
async def test_T1_gzip_of_several_members(shared_receiver: Receiver) -> None:
    body = traces(span("one"), span("two")).SerializeToString()
    joined = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert (await shared_receiver.http(joined, PROTOBUF | {"content-encoding": "gzip"})).ok
    assert await stored_names(shared_receiver) == ["one", "two"]


@SHARED
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(b"x" * 1000)[:-9]),
        ("deflate", b"\x00\x01\x02"),
        ("zstd", b"no"),
        ("zstd", zstandard.compress(b"x" * 1000)[:-3]),
    ],
)
async def test_T1_broken_compression_is_bad_data(shared_receiver: Receiver, coding: str, body: bytes) -> None:
    outcome = await shared_receiver.http(body, PROTOBUF | {"content-encoding": coding})
    assert outcome.http_status == 400
    assert coding in outcome.message


def test_T2_default_ports() -> None:
    assert (Settings().grpc_port, Settings().http_port) == (4317, 4318)
    assert GrpcOptions().port == 4317


@SHARED
@pytest.mark.parametrize(
    ("signal", "message"), [("traces", traces(span())), ("logs", logs({})), ("metrics", metrics())]
)
async def test_T3_paths_of_the_signals(shared_receiver: Receiver, route: str, signal: str, message: Any) -> None:
    assert (await shared_receiver.send(route, message, signal)).ok
    assert (
        shared_receiver.counted("xray_exports_total", door=route.replace("json", "http"), signal=signal, answer="ok")
        == 1
    )


@SHARED
async def test_T5_root_path_is_traces(shared_receiver: Receiver) -> None:
    assert (await shared_receiver.http(traces(span("one")).SerializeToString(), PROTOBUF, path="/")).ok
    assert await stored_names(shared_receiver) == ["one"]


@SHARED
@pytest.mark.parametrize("path", ["/v1/traces/", "/mycollector/v1/traces", "/a/b/c/v1/traces/"])
@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
async def test_T4_T6_slash_behind_and_prefix(shared_receiver: Receiver, path: str, headers: dict[str, str]) -> None:
    message = traces(span("one"))
    body = otlp_json(message) if headers is JSON else message.SerializeToString()
    assert (await shared_receiver.http(body, headers, path=path)).ok
    assert await stored_names(shared_receiver) == ["one"]


@SHARED
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/a/v1/traces"), ("POST", "/v1/nothing"), ("POST", "/x")]
)
async def test_T6_other_paths_belong_to_the_app_behind(shared_receiver: Receiver, method: str, path: str) -> None:
    answer = await shared_receiver.client.request(method, path)
    assert answer.text == "not OTLP"


@SHARED
async def test_T7_protobuf_and_json_on_one_connection(shared_receiver: Receiver) -> None:
    for headers, body in ((PROTOBUF, traces(span("one")).SerializeToString()), (JSON, otlp_json(traces(span("two"))))):
        assert (await shared_receiver.http(body, headers)).ok
    assert await stored_names(shared_receiver) == ["one", "two"]


@SHARED
async def test_T8_a_protocol_at_the_other_door_is_an_error_at_once(shared_receiver: Receiver) -> None:
    """gRPC and HTTP have ports of their own; who mixes them up is told, and kept waiting by neither."""
    body = traces(span()).SerializeToString()
    with pytest.raises(httpx.RemoteProtocolError):
        await shared_receiver.client.post(f"http://{shared_receiver.target}/v1/traces", content=body, headers=PROTOBUF)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shared_receiver.http_port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{SERVICES['traces'][0]}/Export")(body, timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert await shared_receiver.steps() == []


@SHARED
async def test_T9_keep_alive(shared_receiver: Receiver) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_receiver.http_port)
    for _ in range(3):
        body = traces(span()).SerializeToString()
        head = post_head(len(body), "application/x-protobuf")
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" not in answer.lower()
    writer.close()
    assert len(await shared_receiver.steps()) == 3


@SHARED
async def test_T10_many_requests_in_flight(shared_receiver: Receiver, route: str) -> None:
    outcomes = await asyncio.gather(*(shared_receiver.send(route, traces(span(), span())) for _ in range(40)))
    assert all(outcome.ok for outcome in outcomes)
    assert len(await shared_receiver.steps()) == 80


def test_T11_loopback_by_default() -> None:
    assert Settings().is_loopback
    assert GrpcOptions().host == "127.0.0.1"


@SHARED
@pytest.mark.parametrize("coding", ["br", "snappy", "lz4", "gzip, gzip", "nonsense"])
async def test_T13_unknown_content_encoding(shared_receiver: Receiver, coding: str) -> None:
    outcome = await shared_receiver.http(traces(span()).SerializeToString(), PROTOBUF | {"content-encoding": coding})
    assert outcome.http_status == 415
    assert "gzip" in outcome.message
    assert await shared_receiver.steps() == []


@SHARED
async def test_T14_pings_are_welcome(shared_receiver: Receiver) -> None:
    """Fifty PINGs at once, without a call, are all answered: no GOAWAY."""
    async with Http2.connect(shared_receiver.grpc_port) as connection:
        for _ in range(50):
            connection.ping()
        answered = 0
        while answered < 50:
            frame = await connection.frame()
            assert frame.kind != Http2.GOAWAY
            answered += frame.kind == Http2.PING and frame.flags & 1
        assert answered == 50


@pytest.mark.parametrize("setup", [Setup(grpc={"max_connection_age_s": 1, "max_connection_grace_s": 5})])
async def test_T14_old_connections_are_asked_to_come_again(receiver: Receiver) -> None:
    async with Http2.connect(receiver.grpc_port) as connection:
        async with asyncio.timeout(5):
            while (await connection.frame()).kind != Http2.GOAWAY:
                pass
    assert (await receiver.send("grpc", traces(span()))).ok


async def test_T14_a_busy_port_is_named(receiver: Receiver) -> None:
    from collector.errors import Misconfigured
    from collector.receiver.grpc import start_grpc

    with pytest.raises(Misconfigured, match=str(receiver.grpc_port)):
        await start_grpc(receiver.ingest, GrpcOptions(port=receiver.grpc_port))


@SHARED
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
async def test_T3_http2_is_not_spoken_in_clear_on_the_http_port(shared_receiver: Receiver, signal: str) -> None:
    answer = await shared_receiver.client.post(
        f"/v1/{signal}", content=b"", headers={"upgrade": "h2c", "connection": "upgrade"}
    )
    assert isinstance(answer, httpx.Response)
    assert answer.http_version == "HTTP/1.1"
