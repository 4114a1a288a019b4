"""The embedded AWS as a WSGI application: takes requests apart, locks, and hands them to their service."""

import io
import ipaddress
import logging
import re
import sqlite3
import threading
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import orjson

from ddb_lake.embedded_aws.access import Access, AccessRules
from ddb_lake.embedded_aws.calls import Call, read_call
from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.control_interface import PREFIX, ControlInterface
from ddb_lake.embedded_aws.dynamodb import DynamoDB
from ddb_lake.embedded_aws.errors import AwsError, Diverged
from ddb_lake.embedded_aws.expiry import Expiry
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.export_worker import ExportWorker
from ddb_lake.embedded_aws.export_writer import ExportWriter
from ddb_lake.embedded_aws.faults import Faults, serve_with
from ddb_lake.embedded_aws.giving_way import give_way
from ddb_lake.embedded_aws.history import History
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import object_in
from ddb_lake.embedded_aws.lazy_items import LazyItems
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.object_restore import restore_objects
from ddb_lake.embedded_aws.object_store import ObjectStore
from ddb_lake.embedded_aws.request_body import RequestBody
from ddb_lake.embedded_aws.restart import restore_tables, resume_clock
from ddb_lake.embedded_aws.s3 import S3
from ddb_lake.embedded_aws.s3_request import address_by_path
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Tables
from ddb_lake.embedded_aws.wire import Answer, dynamodb_error, query_error, s3_error
from ddb_lake.embedded_aws.writes import Writes

logger = logging.getLogger(__name__)

Reach = Literal["loopback", "any"]
"""Which Host headers are served: names of this machine alone, or any."""

_SERVICES = {"s3", "sts", "iam"}
"""What goes to moto as it is; DynamoDB has its own way, and nothing else is served."""

_HOP_BY_HOP = {"connection", "transfer-encoding"}
_OTHER_PATHS = ("/moto-api", "/latest/", "/v20180820", "/favicon.ico")
"""Where moto listens to commands of its own, and plays a machine's metadata and S3's account settings."""

_PORT = re.compile(r":\d+$")


class Application:
    """DynamoDB with exports, S3, STS and IAM, and the control interface, behind one WSGI callable.

    moto keeps its state in module globals, so a process can have one of these at a time; a new one begins with
    what its journal knows, and nothing else.

    Args:
        journal: The journal's file, or None to keep it in memory.
        clock: The time.
        settings: Delay and files of exports.
        rules: Who may do what, or None where everybody may do everything.
        reach: Which Host headers are served.

    Raises:
        JournalError: If the journal can't be used.
    """

    def __init__(
        self, journal: Path | None, clock: Clock, settings: Settings, rules: AccessRules | None, reach: Reach
    ) -> None:
        # One lock around {stamp, forward, journal}: moto has none of its own for DynamoDB.
        self._lock = threading.RLock()
        # Held before it by who writes a history, and who must see all of one or nothing.
        self._turn = threading.Lock()
        self._broken: str | None = None
        self._clock = clock
        self._reach: Reach = reach
        self._journal = Journal(journal)
        self._store: ObjectStore | None = None
        try:
            if journal is not None:
                self._store = ObjectStore(journal.with_name(f"{journal.name}.objects"))
            resume_clock(clock, self._journal)
            self._moto = MotoBackend()
            self._moto.reset()
            account = self._moto.account_id()
            tables = Tables(self._journal, account)
            self._s3 = S3(self._moto, self._store)
            writer = ExportWriter(self._s3, self._journal, tables)
            self._exports = ExportJobs(self._journal, writer, tables, clock, settings, account)
            restore_tables(self._moto, self._journal, tables)
            self._lazy = lazy = LazyItems(self._moto, self._journal, tables)
            if self._store is not None:
                restore_objects(self._s3, self._store)
            self._journal.put_clock(orjson.dumps(clock.state()))
        except BaseException:
            self._close_files()
            raise
        self._tables = tables
        self._expiry = Expiry(self._moto, self._journal, tables, clock, settings, lazy)
        writes = Writes(self._moto, self._journal, tables, clock, settings, self._expiry)
        self._dynamodb = DynamoDB(self._moto, self._journal, tables, clock, writes, self._exports, self._expiry, lazy)
        self._worker = ExportWorker(self._exports, writer, self._lock, self._give_up)
        self._faults = Faults()
        self._access = Access(account, rules, settings)
        history = History(self._moto, self._journal, tables, clock, self._expiry, lazy, self._lock, self._turn)
        self._control = ControlInterface(
            self._journal,
            tables,
            clock,
            settings,
            self._exports,
            history,
            self._faults,
            self._access,
            self._lock,
            self._turn,
        )

    def _give_up(self, reason: str) -> None:
        """Serve no request any more: what clients would be told is not what a restart knows."""
        self._broken = f"{reason}; restart the embedded AWS"

    def close(self) -> None:
        """Close the journal; no request is served any more."""
        with self._lock:
            self._broken = "the embedded AWS was closed"
        self._worker.close()
        with self._lock:
            self._close_files()

    def _close_files(self) -> None:
        self._journal.close()
        if self._store is not None:
            self._store.close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request (WSGI, PEP 3333)."""
        answer = self._answer(environ)
        headers = [header for header in answer.headers if header[0].lower() not in _HOP_BY_HOP]
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(answer.body))))
        start_response(f"{answer.status} {_reason(answer.status)}", headers)
        return [answer.body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        body = RequestBody(environ)
        try:
            # Before any lock is held: a slow client must stop nobody else.
            whole = b"" if path.startswith(PREFIX) else _take_body(environ, body)
            if self._reach == "loopback":
                _refuse_foreign_host(environ.get("HTTP_HOST", ""))
            self._clock.observe(environ.get("HTTP_X_AMZ_DATE"))
            if self._broken is not None:
                raise AwsError("InternalServerError", self._broken, 500)
            self._settle()
            if path.startswith(PREFIX):
                return self._serve_control(environ["REQUEST_METHOD"], path, body)
            return self._route(environ, whole)
        except AwsError as error:
            return _error_answer(environ, error)
        except (sqlite3.Error, Diverged) as error:
            # moto may have done what the journal doesn't know: to go on would be to lie to the next export.
            reason = f"what was done could not be recorded ({error})"
            self._give_up(reason)
            logger.exception("what was done could not be recorded")
            return _error_answer(environ, AwsError("InternalServerError", f"{reason}; restart the embedded AWS", 500))
        except Exception as error:
            # The client must get an answer, and the operator the traceback.
            logger.exception("a request failed: %s %s", environ["REQUEST_METHOD"], environ.get("PATH_INFO"))
            return _error_answer(environ, AwsError("InternalServerError", f"{type(error).__name__}: {error}", 500))
        finally:
            body.pass_over()

    def _serve_control(self, method: str, path: str, body: RequestBody) -> Answer:
        answer = self._control.serve(method, path, body)
        self._settle()  # the clock may have moved
        return answer

    def _route(self, environ: dict[str, Any], body: bytes) -> Answer:
        call = read_call(environ, body)
        if call.service != "dynamodb" and call.service not in _SERVICES:
            raise AwsError("UnknownOperationException", f"The embedded AWS doesn't have the service {call.service}")
        if call.s3 is not None:
            address_by_path(environ, call.s3)  # a bucket's name may stand in the host and be a path of moto's own
        if environ["PATH_INFO"].startswith(_OTHER_PATHS):
            raise AwsError("AccessDenied", f"The embedded AWS doesn't serve {environ['PATH_INFO']}", 403)
        self._access.check(call, body)
        self._worker.wait_for(call)
        return serve_with(self._faults.take(call), call, environ, lambda: self._serve(call, environ, body))

    def _serve(self, call: Call, environ: dict[str, Any], body: bytes) -> Answer:
        if call.service == "dynamodb":
            return self._serve_dynamodb(call, environ.get("HTTP_X_AMZ_TARGET", ""), body)
        environ.pop("HTTP_X_MOTO_ACCOUNT_ID", None)  # there is one account
        if call.s3 is None:
            return self._moto.pass_on(environ)
        return self._access.conceal(call, self._s3.serve(environ, call.region, body))

    def _serve_dynamodb(self, call: Call, target: str, body: bytes) -> Answer:
        """Serve a request for DynamoDB, after all that would hold the lock of all writers for long."""
        match call.operation:
            case "ExportTableToPointInTime":
                with self._turn:
                    extent = self._exports.measure_ahead(call.region, body)
                    with self._lock:
                        refusal = self._access.refusal_of_export(call)
                        return self._dynamodb.serve(call.region, target, body, refusal, extent)
            case "UpdateTimeToLive":
                with self._turn:
                    return self._switch_time_to_live(call, target, body)
            case _:
                self._load_ahead(call)
                with self._lock:
                    return self._dynamodb.serve(call.region, target, body)

    def _switch_time_to_live(self, call: Call, target: str, body: bytes) -> Answer:
        table = self._tables.find(call.region, call.json.get("TableName"))
        specification = object_in(call.json, "TimeToLiveSpecification")
        attribute: object = specification.get("AttributeName")
        comes = table is not None and table.ttl_attribute is None and specification.get("Enabled") is True
        if table is None or not comes or not isinstance(attribute, str):
            with self._lock:
                return self._dynamodb.serve(call.region, target, body)
        try:
            self._expiry.index_ahead(table, attribute, self._lock)
            with self._lock:
                return self._dynamodb.serve(call.region, target, body)
        finally:
            self._expiry.index_is_done(table)

    def _load_ahead(self, call: Call) -> None:
        """Bring tables that will be read whole to moto, giving up the lock now and then."""
        for table in self._lazy.tables_read(call.region, call.operation, call.json):
            last: bytes | None = b""
            while last is not None:
                with self._lock:
                    last = self._lazy.load_some(table, last)
                give_way()

    def _settle(self) -> None:
        self._worker.begin_due()
        while self._expiry.is_any_due():
            with self._lock:
                self._expiry.sweep_some()
            give_way()


def _take_body(environ: dict[str, Any], arriving: RequestBody) -> bytes:
    """Read the whole body, and leave it in the environment for moto."""
    body = arriving.read()
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _refuse_foreign_host(host: str) -> None:
    """Refuse hosts that are not loopback: a page in a browser may have a name of its own that points to us."""
    name = _PORT.sub("", host)
    if name == "localhost" or name.endswith(".localhost"):
        return
    try:
        local = ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        local = False
    if not local:
        raise AwsError("AccessDeniedException", f"The embedded AWS doesn't serve the host {host}")


def _error_answer(environ: dict[str, Any], error: AwsError) -> Answer:
    is_json = "HTTP_X_AMZ_TARGET" in environ or environ["PATH_INFO"].startswith(PREFIX)
    if is_json:
        return dynamodb_error(error)
    # The services of the query protocol take forms.
    is_form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    return query_error(error) if is_form else s3_error(error)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
