"""The commands' way to a running X-Ray."""

import socket
import threading

import pytest

from collector.commands.client import Client
from collector.errors import XRayError

SETTINGS_FRAME = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x04\x00\x3f\xff\xff\r\n"
"""How a gRPC server greets whoever connects."""


def test_the_grpc_port_is_told_from_the_http_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(SETTINGS_FRAME)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(XRayError, match="is it the gRPC port"):
            Client(f"http://127.0.0.1:{server.getsockname()[1]}").get("/executions")
        thread.join()
