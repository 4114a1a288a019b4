"""The tables' identities and continuous backups: what of a table must survive its name and a restart."""

import re
import uuid
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from ddb_lake.embedded_aws.errors import AwsError, ControlError, validation
from ddb_lake.embedded_aws.journal import Journal, TableRequest
from ddb_lake.embedded_aws.json_values import JsonObject, object_in
from ddb_lake.embedded_aws.keys import KeyAttribute, KeySchema
from ddb_lake.embedded_aws.wire import epoch_seconds
from ddb_lake.regions import partition_of
from ddb_lake.windows import from_us

_DAY_US = 86_400_000_000
_LAG_US = 300_000_000
"""LatestRestorableDateTime stays five minutes behind (AWS: API reference, PointInTimeRecoveryDescription)."""

_LONGEST_DAYS = 35
_TABLE_ARN = re.compile(
    r"arn:aws[a-z-]*:dynamodb:(?P<region>[^:]+):(?P<account>\d{12}):table/(?P<name>[A-Za-z0-9_.-]{3,255})", re.ASCII
)


@dataclass(frozen=True)
class Recovery:
    """Point-in-time recovery that is switched on.

    Attributes:
        enabled_us: When it was switched on, in µs since the epoch.
        kept_from_us: Before this time nothing is kept: `enabled_us`, or later if the period was ever shorter.
        days: For how long data is kept.
    """

    enabled_us: int
    kept_from_us: int
    days: int

    def earliest_us(self, now_us: int) -> int:
        """Return EarliestRestorableDateTime in µs since the epoch."""
        return max(self.kept_from_us, now_us - self.days * _DAY_US)

    def latest_us(self, now_us: int) -> int:
        """Return LatestRestorableDateTime in µs since the epoch."""
        return max(self.enabled_us, now_us - _LAG_US)


@dataclass(frozen=True)
class Table:
    """A source table. Its identity is its id: a name can be used again, an id can't.

    `ttl_attribute` names the attribute that says when an item expires, if time to live is switched on.
    """

    id: str
    region: str
    name: str
    arn: str
    key: KeySchema
    created_us: int
    deleted_us: int | None = None
    recovery: Recovery | None = None
    ttl_attribute: str | None = None

    def to_json(self) -> bytes:
        """Return the table as the journal's record."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, record: bytes) -> "Table":
        """Read a table from the journal's record."""
        fields = orjson.loads(record)
        key, recovery = fields.pop("key"), fields.pop("recovery")
        sort = key["sort"] and KeyAttribute(**key["sort"])
        return cls(
            **fields,
            key=KeySchema(KeyAttribute(**key["partition"]), sort),
            recovery=recovery and Recovery(**recovery),
        )


@dataclass(frozen=True)
class TableArn:
    """The parts of a table's ARN."""

    region: str
    account: str
    name: str


def parse_table_arn(text: str) -> TableArn | None:
    """Read the ARN of a table; None if the text is no such ARN."""
    match = _TABLE_ARN.fullmatch(text)
    return match and TableArn(**match.groupdict())


def table_arn(region: str, account: str, name: str) -> str:
    """Return the ARN of a table."""
    return f"arn:{partition_of(region)}:dynamodb:{region}:{account}:table/{name}"


class Tables:
    """The tables that exist and their point-in-time recovery, kept in the journal.

    Args:
        journal: Where the tables are kept.
        account: The id of the AWS account.
    """

    def __init__(self, journal: Journal, account: str) -> None:
        self._journal = journal
        self._account = account
        every = [Table.from_json(record) for record in journal.tables()]
        self._by_id = {table.id: table for table in every}
        self._by_name = {(table.region, table.name): table for table in every if table.deleted_us is None}

    def all(self) -> list[Table]:
        """Return the tables that exist, oldest first."""
        return list(self._by_name.values())

    def by_id(self, table_id: str) -> Table:
        """Return a table, which may have been deleted."""
        return self._by_id[table_id]

    def find(self, region: str, name_or_arn: object) -> Table | None:
        """Return the table of that name or ARN that exists in a region, if there is one."""
        return self._by_name.get((region, self.resolve(region, name_or_arn)))

    def resolve(self, region: str, name_or_arn: object) -> str:
        """Return a table's bare name; the ARN of another region or account stays what it is."""
        text = name_or_arn if isinstance(name_or_arn, str) else ""
        arn = parse_table_arn(text)
        return arn.name if arn and (arn.region, arn.account) == (region, self._account) else text

    def create(self, region: str, request: dict[str, Any], body: bytes, now_us: int) -> Table:
        """Take in a table that was created by this request."""
        name = request["TableName"]
        arn = table_arn(region, self._account, name)
        table = Table(str(uuid.uuid4()), region, name, arn, KeySchema.of_table(request), _milliseconds(now_us))
        self._journal.add_table(table.id, table.to_json(), TableRequest(table.id, "CreateTable", body))
        self._remember(table)
        return table

    def delete(self, table: Table, now_us: int) -> None:
        """Take note that a table was deleted; its history stays for the exports that were made of it."""
        self._save(replace(table, deleted_us=now_us))

    def set_ttl(self, table: Table, attribute: str | None) -> Table:
        """Switch time to live on by the attribute that says when an item expires, or off."""
        return self._save(replace(table, ttl_attribute=attribute))

    def switch_recovery_on(self, table: Table, days: int | None, now_us: int) -> Table:
        """Switch point-in-time recovery on, or change for how long it keeps data (35 days by default)."""
        if days is not None and not 1 <= days <= _LONGEST_DAYS:
            raise validation(
                f"1 validation error detected: Value '{days}' at "
                "'pointInTimeRecoverySpecification.recoveryPeriodInDays' failed to satisfy constraint: "
                f"Member must have value between 1 and {_LONGEST_DAYS}"
            )
        was = table.recovery
        if was is None:
            enabled_us = _milliseconds(now_us)
            recovery = Recovery(enabled_us, enabled_us, days or _LONGEST_DAYS)
        else:
            # What a shorter period has discarded doesn't come back with a longer one.
            recovery = Recovery(was.enabled_us, was.earliest_us(now_us), days or was.days)
        return self._save(replace(table, recovery=recovery))

    def switch_recovery_off(self, table: Table) -> Table:
        """Switch point-in-time recovery off; what it kept is lost."""
        return self._save(replace(table, recovery=None))

    def backdate(self, table: Table, created_us: int | None, enabled_us: int | None, now_us: int) -> Table:
        """Move a table's creation, or the moment its point-in-time recovery was switched on, in time.

        Raises:
            ControlError: If recovery is off, a time is in the future, or creation, switching on and the
                oldest write would come in the wrong order.
        """
        created = table.created_us if created_us is None else created_us
        recovery = table.recovery
        if enabled_us is not None:
            if recovery is None:
                raise ControlError(
                    f"point-in-time recovery of {table.name} is off: switch it on before you backdate it"
                )
            recovery = Recovery(enabled_us, enabled_us, recovery.days)
        oldest_us = self._journal.oldest_us(table.id)
        if created > now_us or (recovery is not None and recovery.enabled_us > now_us):
            raise ControlError(f"{table.name} can't be created or backed up after now, {from_us(now_us)}")
        if oldest_us is not None and created > oldest_us:
            raise ControlError(
                f"{table.name} can't be created at {from_us(created)}: its oldest write is of {from_us(oldest_us)}"
            )
        if recovery is not None and recovery.enabled_us < created:
            raise ControlError(
                f"{table.name} is created at {from_us(created)}: its point-in-time recovery can't be on "
                f"since {from_us(recovery.enabled_us)}"
            )
        return self._save(replace(table, created_us=created, recovery=recovery))

    def _save(self, table: Table) -> Table:
        self._journal.replace_table(table.id, table.to_json())
        self._remember(table)
        return table

    def _remember(self, table: Table) -> None:
        self._by_id[table.id] = table
        if table.deleted_us is None:
            self._by_name[table.region, table.name] = table
        else:
            del self._by_name[table.region, table.name]


def _milliseconds(us: int) -> int:
    """Cut a time to milliseconds: clients name it again in requests that carry no more."""
    return us // 1_000 * 1_000


def describe_backups(table: Table, now_us: int) -> dict[str, Any]:
    """Return the ContinuousBackupsDescription of a table."""
    recovery: dict[str, Any] = {"PointInTimeRecoveryStatus": "DISABLED"}
    if table.recovery is not None:
        recovery = {
            "PointInTimeRecoveryStatus": "ENABLED",
            "RecoveryPeriodInDays": table.recovery.days,
            "EarliestRestorableDateTime": epoch_seconds(table.recovery.earliest_us(now_us)),
            "LatestRestorableDateTime": epoch_seconds(table.recovery.latest_us(now_us)),
        }
    return {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": recovery,
        }
    }


def update_backups(tables: Tables, table: Table, request: JsonObject, now_us: int) -> JsonObject:
    """Serve UpdateContinuousBackups.

    Raises:
        AwsError: If the specification is not AWS's.
    """
    specification = object_in(request, "PointInTimeRecoverySpecification")
    days: int | None = specification.get("RecoveryPeriodInDays")
    enabled: bool | None = specification.get("PointInTimeRecoveryEnabled")
    if enabled is None:
        raise validation(
            "1 validation error detected: Value null at "
            "'pointInTimeRecoverySpecification.pointInTimeRecoveryEnabled' failed to satisfy constraint: "
            "Member must not be null"
        )
    if enabled:
        return describe_backups(tables.switch_recovery_on(table, days, now_us), now_us)
    if days is not None:
        raise validation("Recovery period in days can only be set when point in time recovery is enabled")
    return describe_backups(tables.switch_recovery_off(table), now_us)


def table_not_found(name: object) -> AwsError:
    """Return the error of the backup and export operations for a table that doesn't exist."""
    return AwsError("TableNotFoundException", f"Table not found: {name}")
