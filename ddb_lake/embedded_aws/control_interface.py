"""The control interface: what a person or a test tells the embedded AWS beside the AWS API, under `/_local/`."""

import threading
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import unquote

import orjson

from ddb_lake.embedded_aws.access import Access, AccessRules
from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import ControlError
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.faults import Faults
from ddb_lake.embedded_aws.history import History
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.embedded_aws.request_body import RequestBody
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.wire import Answer
from ddb_lake.windows import format_time, from_us, parse_time, to_us

PREFIX = "/_local/"
_SECOND_US = 1_000_000


class ControlInterface:
    """Serves the requests under `/_local/`.

    Holds the embedded AWS's lock meanwhile, but not while a history is read; `turn` is held by who gives or changes
    a table's past.
    """

    def __init__(
        self,
        journal: Journal,
        tables: Tables,
        clock: Clock,
        settings: Settings,
        exports: ExportJobs,
        history: History,
        faults: Faults,
        access: Access,
        lock: AbstractContextManager[Any],
        turn: threading.Lock,
    ) -> None:
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._settings = settings
        self._exports = exports
        self._history = history
        self._faults = faults
        self._access = access
        self._lock = lock
        self._turn = turn

    def serve(self, method: str, path: str, body: RequestBody) -> Answer:
        """Serve one request and answer in JSON; what is refused changes nothing and is answered with 400.

        Args:
            method: `GET`, `POST` or `DELETE`.
            path: Such as `/_local/history/us-east-1/measurement`.
            body: The request's body, of which a refusal may leave some unread.

        Raises:
            AwsError: If the client breaks off the body.
        """
        try:
            parts = [unquote(part) for part in path.removeprefix(PREFIX).split("/")]
            match method, parts:
                case "POST", ["history", region, name]:
                    return _json(200, {"lines": self._history.write(self._table(region, name), body.lines())})
                case "POST", ["tables", region, name]:
                    change = _read_object(body.read())
                    with self._turn, self._lock:
                        return _json(200, self._backdate(self._table(region, name), change))
                case _:
                    whole = body.read()
                    with self._lock:
                        return _json(200, self._route(method, path, parts, whole))
        except ControlError as error:
            return _json(400, {"error": str(error)})

    def _route(self, method: str, path: str, parts: list[str], body: bytes) -> dict[str, Any]:
        match method, parts:
            case "GET", ["health"]:
                return {
                    "status": "ok",
                    **self._clock_state(),
                    "tables": len(self._tables.all()),
                    "running_exports": self._exports.count_running(),
                    "failed_exports": self._exports.count_failed(),
                }
            case "POST", ["clock"]:
                return self._set_clock(_read_object(body))
            case "POST", ["settings"]:
                self._settings.change(_read_object(body))
                return self._settings.describe()
            case "POST", ["release"]:
                return {"released": self._exports.release_held()}
            case method, ["faults", *which] if len(which) < 2:
                return self._change_faults(method, which, body)
            case method, ["policy"]:
                return self._change_policy(method, body)
            case _:
                raise ControlError(
                    f"there is no {method} {path}; there are GET /_local/health and POST /_local/clock, settings, "
                    "release, tables/<region>/<table>, history/<region>/<table>, faults and policy"
                )

    def _change_faults(self, method: str, which: list[str], body: bytes) -> dict[str, Any]:
        match method, which:
            case "GET", []:
                return {"rules": self._faults.describe()}
            case "POST", []:
                return self._faults.add(_read_object(body))
            case "DELETE", []:
                return {"removed": self._faults.clear()}
            case "DELETE", [number] if number.isdecimal():
                self._faults.remove(int(number))
                return {"removed": 1}
            case _:
                raise ControlError("there are GET, POST and DELETE /_local/faults, and DELETE /_local/faults/<id>")

    def _change_policy(self, method: str, body: bytes) -> dict[str, Any]:
        match method:
            case "GET":
                pass
            case "POST":
                self._access.rules = AccessRules.read(_read_object(body))
            case "DELETE":
                self._access.rules = None
            case _:
                raise ControlError("there are GET, POST and DELETE /_local/policy")
        described = {"policy": None} if self._access.rules is None else self._access.rules.describe()
        return {**described, "used": self._access.used(), "used_is_complete": self._access.used_is_complete}

    def _set_clock(self, change: dict[str, Any]) -> dict[str, Any]:
        match change:
            case {"advance_s": int() | float() as seconds, **rest} if not rest and not isinstance(seconds, bool):
                self._clock.advance(round(seconds * _SECOND_US))
            case {"mode": str() as mode, **rest} if not rest.keys() - {"at"}:
                at = rest.get("at")
                self._clock.set(mode, None if at is None else _time("at", at))  # pyright: ignore[reportArgumentType]
            case {"at": at, **rest} if not rest:
                self._clock.set(self._clock.mode, _time("at", at))
            case _ if change:
                raise ControlError(
                    f'the clock takes {{"mode": …, "at": …}} or {{"advance_s": …}}, and not {orjson.dumps(change)!r}'
                )
            case _:
                pass
        if change:
            self._journal.put_clock(orjson.dumps(self._clock.state()))
        return self._clock_state()

    def _clock_state(self) -> dict[str, Any]:
        now_us = self._clock.now_us()
        return {"mode": self._clock.mode, "now_us": now_us, "now": format_time(from_us(now_us))}

    def _backdate(self, table: Table, change: dict[str, Any]) -> dict[str, Any]:
        unknown = change.keys() - {"created_at", "pitr_enabled_at"}
        if unknown:
            raise ControlError(
                f"a table has no {', '.join(sorted(unknown))} to set; there are created_at and pitr_enabled_at"
            )
        times = {name: _time(name, value) for name, value in change.items()}
        table = self._tables.backdate(
            table, times.get("created_at"), times.get("pitr_enabled_at"), self._clock.now_us()
        )
        enabled = table.recovery and format_time(from_us(table.recovery.enabled_us))
        return {"created_at": format_time(from_us(table.created_us)), "pitr_enabled_at": enabled}

    def _table(self, region: str, name: str) -> Table:
        table = self._tables.find(region, name)
        if table is None:
            known = ", ".join(f"{each.region}/{each.name}" for each in self._tables.all()) or "none"
            raise ControlError(f"there is no table {name} in {region}; the tables are: {known}")
        return table


def _time(name: str, text: object) -> int:
    try:
        return to_us(parse_time(str(text)))
    except ValueError as error:
        raise ControlError(f"{name} is no time: {error}") from None


def _read_object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ControlError(f"the body is not JSON: {error}") from None
    if not is_object(value):
        raise ControlError(f"the body must be a JSON object, not {value!r}")
    return value


def _json(status: int, payload: dict[str, Any]) -> Answer:
    return Answer(status, (("Content-Type", "application/json"),), orjson.dumps(payload))
