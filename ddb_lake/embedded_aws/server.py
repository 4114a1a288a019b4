"""The embedded AWS as an HTTP server on loopback, in a thread of this process."""

import ipaddress
import threading
from datetime import datetime
from pathlib import Path
from types import TracebackType

from ddb_lake.embedded_aws.access import AccessRules
from ddb_lake.embedded_aws.application import Application, Reach
from ddb_lake.embedded_aws.clock import Clock, ClockMode
from ddb_lake.embedded_aws.control import Control
from ddb_lake.embedded_aws.errors import EmbeddedAwsError
from ddb_lake.embedded_aws.http_server import HttpServer
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.windows import to_us

_SECOND_US = 1_000_000
_POLL_SECONDS = 0.05
"""How often the server looks whether it shall stop."""


class EmbeddedAws:
    """An AWS on loopback: `with EmbeddedAws() as aws: boto3.client("s3", endpoint_url=aws.url, …)`.

    A process holds one at a time, because moto keeps its state in module globals: starting one begins with a
    clean slate, and with what its journal knows.

    Args:
        journal: The file that a later start brings everything back from, or None to forget it at the end.
        port: The TCP port; 0 picks a free one.
        delay: Seconds, by its own clock, that an export stays IN_PROGRESS.
        clock: How time passes; see `Clock`.
        at: Where an `offset`, `frozen` or `request` clock begins.
        files: Data files of each export.
        host: The address to listen on, which must be a loopback address unless `reach` says otherwise.
        access: Who may do what, or None where everybody may do everything.
        reach: `loopback`, or `any` to serve other machines too, which can then read and change everything.

    Raises:
        EmbeddedAwsError: If the host is not loopback, another one is running in this process, the port is
            taken, or the journal can't be used.
    """

    _running = threading.Lock()

    def __init__(
        self,
        journal: Path | None = None,
        *,
        port: int = 0,
        delay: float = 0,
        clock: ClockMode = "real",
        at: datetime | None = None,
        files: int = 4,
        host: str = "127.0.0.1",
        access: AccessRules | None = None,
        reach: Reach = "loopback",
    ) -> None:
        _check_host(host, reach)
        self._journal = journal
        self._host = host
        self._port = port
        self._clock = Clock(clock, None if at is None else to_us(at))
        self._access = access
        self._reach: Reach = reach
        self._settings = Settings(round(delay * _SECOND_US), files)
        self._server: HttpServer | None = None

    def start(self) -> None:
        """Bring back what the journal knows, and serve in a thread from then on."""
        if not self._running.acquire(blocking=False):
            raise EmbeddedAwsError("another embedded AWS runs in this process; close it first")
        try:
            self._application = Application(self._journal, self._clock, self._settings, self._access, self._reach)
            try:
                self._server = HttpServer(self._host, self._port, self._application)
            except (OSError, SystemExit) as error:
                self._application.close()
                raise EmbeddedAwsError(f"can't listen on {self._host}:{self._port}: {error}") from error
        except BaseException:
            self._running.release()
            raise
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="embedded-aws", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving, end all connections and close the journal."""
        if self._server is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None
        self._application.close()
        self._running.release()

    @property
    def url(self) -> str:
        """Where it is served, such as `http://127.0.0.1:4566`: the value for AWS_ENDPOINT_URL."""
        if self._server is None:
            raise EmbeddedAwsError("the embedded AWS is not running; start it, or use it in a with statement")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.port}"

    @property
    def control(self) -> Control:
        """A client of the control interface."""
        return Control(self.url)

    def __enter__(self) -> "EmbeddedAws":
        self.start()
        return self

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_host(host: str, reach: Reach) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise EmbeddedAwsError(f"{host!r} is no IP address to listen on; 127.0.0.1 is one") from None
    if reach == "loopback" and not address.is_loopback:
        raise EmbeddedAwsError(
            f"{host} is no loopback address; the embedded AWS listens on loopback alone, because it lets everybody "
            "in: --allow-any-host is for networks where you trust everybody"
        )
