"""HTTP on a socket for a WSGI application that answers in one piece: werkzeug's server with lasting connections.

werkzeug's own handler closes each connection after one request and lingers 10 ms; SDKs send thousands.
"""

import contextlib
import socket
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler  # pyright: ignore[reportMissingTypeStubs]
from werkzeug.serving import ThreadedWSGIServer

_BUFFER = 64 * 1024
_NO_BODY = (204, 304)


class HttpServer(ThreadedWSGIServer):
    """A thread for each connection; closing the server ends the connections that are still open."""

    def __init__(self, host: str, port: int, application: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(host, port, application, handler=_Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection in a thread of its own."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection whose client is done."""
        self._connections.discard(request)
        super().shutdown_request(request)

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

        body = b"".join(self.server.app(self.make_environ(), start_response))  # pyright: ignore[reportArgumentType]
        code, _, reason = status.partition(" ")
        self.send_response_only(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "date" for name, _ in headers):
            self.send_header("Date", self.date_time_string())
        self.end_headers()
        if self.command != "HEAD" and int(code) not in _NO_BODY:
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a line for each request helps nobody."""
