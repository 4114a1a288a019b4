"""What a table's own commits say of it: its source table, its bootstrap and the exports that it holds.

Each commit carries the whole account as JSON in `userMetadata`, so the newest one of ours suffices. People read there
which table it is, what it covers and what the commit did; of which exports it consists is a compact code of a limited
length (`account_code`, `forgetting`). App
transactions (`txn`, Delta protocol: "Transaction Identifiers") carry the start and the end of the gapless
stretch besides: they outlive the log's cleanup in checkpoints, and because every commit writes the same
identifiers, two concurrent writers always conflict.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol, cast

from ddb_lake import windows
from ddb_lake.replica.account_code import Coded, decode_coded
from ddb_lake.replica.contents import Contents
from ddb_lake.replica.delta_log import Note, commit_path
from ddb_lake.replica.errors import ANEW, DamagedLog, UnclearRestore, UnsupportedTable, WrongSourceTable
from ddb_lake.replica.forgetting import encode_within
from ddb_lake.replica.location import Location
from ddb_lake.replica.spans import Spans, decode_spans, export_window
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.windows import Window, format_time, from_us, parse_time, to_us

USER_METADATA = "userMetadata"
"""The commit's free text in Delta's commitInfo, which Spark's DESCRIBE HISTORY shows too."""

ACCOUNT = "ddb_lake"
"""Under which key of the user metadata our account stands."""

FORMAT = 2
"""How the account is written. The first one, which told no number, had each run of exports as ISO times."""

USER_METADATA_BYTES = 3200
"""What the user metadata may take, so that all that a commit carries besides its files stays below 4 KB."""

DID_BYTES = 320
"""What the part of it may take that says what the commit did."""

COMMIT_INFO = b'{"commitInfo"'
"""How the line of a commit file begins that tells of the commit itself."""

RETIRED = -1
"""The app transactions' version once the table holds another source table."""


class VersionedTable(Protocol):
    """A table at one version: delta-rs's, or a snapshot of our own."""

    def version(self) -> int:
        """Return the version."""
        ...

    def transaction_version(self, app_id: str) -> int | None:
        """Return an app transaction's version."""
        ...


@dataclass(frozen=True)
class Bootstrap:
    """The full export that a replica builds upon.

    Args:
        export_id: The export's identity, or None where the log's cleanup has left only its time.
        time: Everything written before this time is in the export.
    """

    export_id: str | None
    time: datetime


@dataclass(frozen=True)
class Account:
    """What a table holds.

    Args:
        table_id: The source table's TableId.
        spans: The windows of the exports that were taken in, as far as they are known one by one.
        bootstrap: What a replica builds upon; None for a change log.
        unknown: Covered time of whose exports no more is known, by the log's cleanup or because it is long ago, as
            disjoint windows in order.
        contents: Of a change log, in how many quarter-hours the exports of `spans` have changes.
    """

    table_id: str
    spans: Spans = field(default_factory=Spans)
    bootstrap: Bootstrap | None = None
    unknown: tuple[Window, ...] = ()
    contents: Contents = field(default_factory=Contents)

    @cached_property
    def coverage(self) -> tuple[Window, ...]:
        """The time that is covered, as disjoint windows in order."""
        return windows.merge((*self.spans.union(), *self.unknown))

    def covering(self, spans: Iterable[Window]) -> "Account":
        """Return the account once some exports are added."""
        return replace(self, spans=self.spans.adding(spans))

    @property
    def gapless(self) -> tuple[datetime, datetime] | None:
        """The stretch without holes from the bootstrap on, or from the first window without a bootstrap."""
        coverage = self.coverage
        if self.bootstrap is None:
            return (coverage[0].start, coverage[0].end) if coverage else None
        start = self.bootstrap.time
        first = coverage[0] if coverage else None
        return (start, first.end if first is not None and first.start <= start < first.end else start)


def bootstrap_transaction(table_id: str) -> str:
    """Return the app transaction whose version is the time of a replica's full export in µs."""
    return f"ddb_lake/{table_id}/bootstrap"


def start_transaction(table_id: str) -> str:
    """Return the app transaction whose version is the start of a change log's gapless stretch in µs."""
    return f"ddb_lake/{table_id}/covered_from"


def end_transaction(table_id: str) -> str:
    """Return the app transaction whose version is the gapless stretch's end in µs."""
    return f"ddb_lake/{table_id}/covered_until"


def commit_note(account: Account, did: Mapping[str, Any], retired_table_id: str | None = None) -> Note:
    """Return what a commit carries so that the table accounts for itself.

    Args:
        account: What the table holds after the commit.
        did: What this commit does, for people who read the history.
        retired_table_id: The source table whose rows this commit replaces, if it is another one.
    """
    said = {
        "format": FORMAT,
        "table_id": account.table_id,
        "bootstrap": account.bootstrap
        and {"export_id": account.bootstrap.export_id, "time": format_time(account.bootstrap.time)},
        "commit": _shortened(did),
    }
    # Digits of the longest, so that the code's limit does not depend on what it leaves.
    longest = {**said, **_covered((Window(from_us(1), from_us(2)),)), "holes": 99_999, "state": ""}
    limit = USER_METADATA_BYTES - len(_json(longest).encode())
    kept, code = encode_within(Coded(account.spans, account.unknown, account.contents), limit, account.table_id)
    account = replace(account, spans=kept.spans, unknown=kept.unknown, contents=kept.contents)
    gapless = account.gapless
    start, end = (to_us(gapless[0]), to_us(gapless[1])) if gapless else (0, 0)
    start_of = bootstrap_transaction if account.bootstrap is not None else start_transaction
    transactions = {start_of(account.table_id): start, end_transaction(account.table_id): end}
    if retired_table_id is not None and retired_table_id != account.table_id:
        transactions[end_transaction(retired_table_id)] = RETIRED
    return Note(_json({**said, **_covered(account.coverage), "state": code}), transactions)


def _json(said: Mapping[str, Any]) -> str:
    return json.dumps({ACCOUNT: said}, ensure_ascii=False, separators=(",", ":"))


def _covered(coverage: tuple[Window, ...]) -> dict[str, Any]:
    """Return for people what is covered."""
    if not coverage:
        return {"covered": None, "holes": 0}
    return {
        "covered": [format_time(coverage[0].start), format_time(coverage[-1].end)],
        "holes": len(coverage) - 1,
    }


def _shortened(did: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a commit did with lists and texts cut off where they would be too long."""
    left = DID_BYTES
    short: dict[str, Any] = {}
    for name, value in did.items():
        if isinstance(value, list):
            values = cast("list[object]", value)
            kept: list[object] = []
            for each in values:
                left -= len(json.dumps(each))
                if left < 0:
                    break
                kept.append(each)
            short[name] = kept
            if len(kept) < len(values):
                short[f"{name}_in_all"] = len(values)
        else:
            short[name] = value
    return short


def decode(told: Mapping[str, Any]) -> Account:
    """Return the account that a commit carries, in this format or in the first one.

    Raises:
        UnsupportedTable: If a later version of this program has written it.
        DamagedLog: If it can't be read.
    """
    if told.get("format", 1) not in (1, FORMAT):
        raise UnsupportedTable(
            f"its account has the format {told['format']}, which a later version of ddb_lake writes; this one reads "
            f"up to {FORMAT}: update it"
        )
    try:
        bootstrap = told["bootstrap"]
        coded = _decode_first(told) if "format" not in told else decode_coded(told["state"])
        return Account(
            table_id=told["table_id"],
            spans=coded.spans,
            bootstrap=None if bootstrap is None else Bootstrap(bootstrap["export_id"], parse_time(bootstrap["time"])),
            unknown=coded.unknown,
            contents=coded.contents,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedLog(f"its account can't be read ({error!r}): restore the commit, or {ANEW}") from error


def _decode_first(told: Mapping[str, Any]) -> Coded:
    """Read the first format."""
    counts = {export_window(name): count for name, count in told.get("quarters", {}).items()}
    counts.update(dict.fromkeys(decode_spans(told.get("empty", ())).all(), 0))
    return Coded(
        decode_spans(told["exports"]),
        tuple(Window(parse_time(start), parse_time(end)) for start, end in told["unknown"]),
        Contents.of_counts(counts),
    )


def read_account(
    location: Location, version: int, known: Mapping[int, Mapping[str, Any]] | None = None
) -> Account | None:
    """Return what the newest commit of ours up to a version says, or None if the log's cleanup left none.

    The commits are read one by one from the version downwards: usually the first is ours. delta-rs's
    `history()` would list the log and read several commits, and keeps the interpreter locked meanwhile.
    Below a RESTORE the reading goes on at the version that was restored.

    Args:
        location: Where the table is.
        version: The newest commit that counts.
        known: What commits tell of themselves that were read already.

    Raises:
        UnclearRestore: If the table was restored to a version that can't be told.
        UnsupportedTable: If a later version of this program has written it.
        DamagedLog: If what it says can't be read.
    """
    read = known or {}
    store = ObjectTableStore(location)
    number, restored = version, False
    while number >= 0:
        try:
            info = read[number] if number in read else _commit_info(store.get(commit_path(number)))
        except FileNotFoundError:
            if restored:
                raise UnclearRestore(
                    f"{location} was restored to a version whose commit {number} is gone by the log's cleanup, "
                    "so what it covers can't be told; give the replica another folder and bootstrap it there"
                ) from None
            return None
        try:
            account = _account_of(info)
        except (UnsupportedTable, DamagedLog) as error:
            raise type(error)(f"{location} at version {number}: {error}") from error
        if account is not None:
            return account
        if info.get("operation") == "RESTORE":
            number, restored = _restored_version(location, number, info), True
        else:
            number -= 1
    return None


def _restored_version(location: Location, number: int, info: Mapping[str, Any]) -> int:
    """Return the version that a RESTORE went back to.

    One to a time does not tell its version: delta-rs chooses by the files' times, which are not in the log.
    """
    parameters: Mapping[str, Any] = info.get("operationParameters") or {}
    if parameters.get("version") is None:
        raise UnclearRestore(
            f"{location} was restored in version {number} to {dict(parameters)}, so what it covers can't be told; "
            "restore it again, to a version's number"
        )
    return int(parameters["version"])


def require_account(
    location: Location,
    table: VersionedTable,
    table_id: str,
    remedy: str,
    known: Mapping[int, Mapping[str, Any]] | None = None,
) -> Account:
    """Return what a table of the source table `table_id` holds.

    Where the log's cleanup has left no commit of ours, the coverage is the gapless stretch of the app
    transactions: perhaps less than the truth, which is safe because applying a window again is harmless. Of
    which exports it consists is `unknown` then.

    Args:
        location: Where the table is.
        table: The snapshot to account for.
        table_id: The source table that it must hold.
        remedy: What to do about a table of another source table, as the end of a message.
        known: What commits tell of themselves that were read already.

    Raises:
        WrongSourceTable: If it holds another source table or tells nothing.
        UnclearRestore: If the table was restored to a version that can't be told.
    """
    account = read_account(location, table.version(), known)
    if account is None:
        account = _account_of_transactions(table, table_id)
    if account is None:
        raise WrongSourceTable(
            f"{location} at version {table.version()} has no commit that tells of source table "
            f"{table_id}, so its rows may be anybody's; choose another folder"
        )
    if account.table_id != table_id:
        raise WrongSourceTable(
            f"{location} holds source table {account.table_id}, not {table_id} "
            f"(a table that was re-created has a new id); {remedy}"
        )
    return account


def _commit_info(commit: bytes) -> Mapping[str, Any]:
    """Return what a commit file (one JSON action a line) tells of the commit itself."""
    for line in commit.splitlines():
        if line.startswith(COMMIT_INFO):
            return cast("Mapping[str, Any]", json.loads(line)["commitInfo"])
    return {}


def _account_of(info: Mapping[str, Any]) -> Account | None:
    try:
        told: object = json.loads(info.get(USER_METADATA) or "null")
    except json.JSONDecodeError:
        return None  # somebody else's text
    if not isinstance(told, dict) or ACCOUNT not in told:
        return None
    return decode(cast("Mapping[str, Any]", told[ACCOUNT]))


def _account_of_transactions(table: VersionedTable, table_id: str) -> Account | None:
    bootstrap = table.transaction_version(bootstrap_transaction(table_id))
    start = bootstrap if bootstrap is not None else table.transaction_version(start_transaction(table_id))
    end = table.transaction_version(end_transaction(table_id))
    if start is None or end is None or end == RETIRED:
        return None
    return Account(
        table_id,
        bootstrap=None if bootstrap is None else Bootstrap(None, from_us(bootstrap)),
        unknown=(Window(from_us(start), from_us(end)),) if start < end else (),
    )


def tables_of_transactions(transactions: Mapping[str, int]) -> list[str]:
    """Return the TableIds of the source tables that a table's app transactions say it holds; usually one."""
    start, end = end_transaction("\0").split("\0")
    return [
        name.removeprefix(start).removesuffix(end)
        for name, version in transactions.items()
        if name.startswith(start) and name.endswith(end) and version != RETIRED
    ]
