"""HTTP on a socket for a WSGI application that answers in one piece: werkzeug's server with lasting connections.

werkzeug's own handler closes each connection after one request and lingers 10 ms; SDKs send thousands.
"""

import contextlib
import socket
import struct
from typing import Any, cast

from moto.moto_server.werkzeug_app import MotoRequestHandler  # pyright: ignore[reportMissingTypeStubs]
from werkzeug.serving import ThreadedWSGIServer

from ddb_lake.embedded_aws.faults import TRANSPORT, Reset, Transport
from ddb_lake.embedded_aws.request_body import BROKEN_OFF

_BUFFER = 64 * 1024
_RESET_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time: closing sends a reset."""

_NO_BODY = (204, 304)


class HttpServer(ThreadedWSGIServer):
    """A thread for each connection; closing the server ends the connections that are still open."""

    def __init__(self, host: str, port: int, application: Any) -> None:
        self._connections: set[socket.socket] = set()
        self._to_reset: set[socket.socket] = set()
        super().__init__(host, port, application, handler=_Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection whose client is done."""
        self._connections.discard(request)
        if request in self._to_reset:
            self._to_reset.remove(request)
            self.close_request(request)  # without the orderly end that comes first otherwise
        else:
            super().shutdown_request(request)

    def reset(self, connection: socket.socket) -> None:
        """Let a connection end by a reset once its handler is done."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        self._to_reset.add(connection)

    def server_close(self) -> None:
        """Stop listening and end the connections that are open."""
        super().server_close()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):  # it may have ended by itself meanwhile
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(MotoRequestHandler):
    """Serves one request after the other on a connection.

    moto's handler is its base because that one keeps the underscores in the names of S3 metadata.
    """

    protocol_version = "HTTP/1.1"
    # Head and body leave together, and at once.
    wbufsize = _BUFFER
    disable_nagle_algorithm = True

    def handle_expect_100(self) -> bool:
        """Tell a client that waits for leave to send its body."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def run_wsgi(self) -> None:
        """Answer one request; the application has read its body, so that the next request can follow."""
        status = ""
        headers: list[tuple[str, str]] = []

        def start_response(line: str, answer_headers: list[tuple[str, str]], _: object = None) -> None:
            nonlocal status
            status = line
            headers.extend(answer_headers)

        environ = self.make_environ()
        body = b"".join(self.server.app(environ, start_response))  # pyright: ignore[reportArgumentType]
        if environ.get(BROKEN_OFF):
            self.close_connection = True
        fault: Transport | None = environ.get(TRANSPORT)
        if isinstance(fault, Reset):
            cast("HttpServer", self.server).reset(self.connection)
            self.close_connection = True
            return
        code, _, reason = status.partition(" ")
        self.send_response_only(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "date" for name, _ in headers):
            self.send_header("Date", self.date_time_string())
        self.end_headers()
        if self.command != "HEAD" and int(code) not in _NO_BODY:
            self.wfile.write(body[: fault.bytes] if fault else body)
        if fault:
            self.close_connection = True  # in order, so that what was sent arrives

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a line for each request helps nobody."""
