"""What is under test: clients of an endpoint, its clock, and a table and a bucket of the suite's own."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake_tests.conformance.checks import Skipped, Violation
from ddb_lake_tests.conformance.local_control import LocalControl

_POLL_S = 15
_LONGEST_EXPORT_S = 40 * 60
_LONGEST_WAIT_S = 2 * 3_600


@dataclass(frozen=True)
class Options:
    """Where to run, and how patiently.

    Attributes:
        endpoint: The URL, or None for AWS itself.
        region: The region.
        patient: Wait in real time where no clock can be moved.
    """

    endpoint: str | None
    region: str
    patient: bool


class Target:
    """An endpoint under test. Everything that is created has the run's own name, and is deleted at the end."""

    def __init__(self, options: Options) -> None:
        self.region = options.region
        self._patient = options.patient
        self.name = f"ddb-lake-conformance-{uuid.uuid4().hex[:10]}"
        self.bucket = self.name
        self.control = LocalControl.find(options.endpoint)
        session = (
            boto3.Session(region_name=options.region)
            if options.endpoint is None
            else boto3.Session("key", "secret", region_name=options.region)
        )

        def client(service: Any, attempts: int) -> Any:
            # What the endpoint should refuse must reach it.
            config = Config(parameter_validation=False, retries={"mode": "standard", "total_max_attempts": attempts})
            return session.client(service, endpoint_url=options.endpoint, config=config)

        self.dynamodb = client("dynamodb", 5)
        self.hasty = client("dynamodb", 1)
        self.s3 = client("s3", 5)
        self.account: str = client("sts", 5).get_caller_identity()["Account"]
        self._tables: set[str] = set()
        self._made: dict[str, Any] = {}

    # Time

    @property
    def can_move_clock(self) -> bool:
        """Whether time passes at the suite's word."""
        return self.control is not None and self.control.moves()

    def now(self) -> datetime:
        """Return the endpoint's time."""
        return datetime.now(UTC) if self.control is None else self.control.now()

    def pass_time(self, seconds: float) -> None:
        """Let time pass: by moving the clock, or by waiting for it.

        Raises:
            Skipped: If neither can be done.
        """
        if self.can_move_clock and self.control is not None:
            self.control.advance(seconds)
        elif seconds <= 2 or (self._patient and seconds <= _LONGEST_WAIT_S):
            time.sleep(seconds)
        elif seconds <= _LONGEST_WAIT_S:
            raise Skipped(f"{seconds:.0f} s must pass: start with a clock that can be moved, or wait with --patient")
        else:
            raise Skipped(f"{seconds / 3600:.0f} hours must pass, on a clock that can be moved")

    def local(self) -> LocalControl:
        """Return the control interface.

        Raises:
            Skipped: If there is none.
        """
        if self.control is None:
            raise Skipped("this can be seen on an embedded AWS only")
        return self.control

    # Tables and bucket

    def table(self) -> str:
        """Return the ARN of the run's own table, which has point-in-time recovery and the key `id`."""
        return self.made("table", lambda: self.create_table(self.name))

    def made(self, what: str, make: Callable[[], Any]) -> Any:
        """Return what several checks use, which is made once."""
        if what not in self._made:
            try:
                self._made[what] = make()
            except Exception as error:  # the next check that needs it must hear the same
                self._made[what] = error
                raise
        made = self._made[what]
        if isinstance(made, Exception):
            raise made
        return made

    def create_bucket(self) -> None:
        """Create the run's bucket."""
        place: Any = (
            {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        )
        self.s3.create_bucket(Bucket=self.bucket, **place)

    def create_table(self, name: str) -> str:
        """Create a table with point-in-time recovery and the key `id`; return its ARN."""
        self._tables.add(name)
        created = self.dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 2})
        self.switch_recovery(name, enabled=True)
        return created["TableDescription"]["TableArn"]

    def switch_recovery(self, name: str, *, enabled: bool) -> Any:
        """Switch point-in-time recovery, which a new table may refuse for some seconds."""
        for attempt in range(15):
            try:
                return self.dynamodb.update_continuous_backups(
                    TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
                )["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
            except ClientError as error:
                if "ContinuousBackupsUnavailable" not in str(error) or attempt == 14:
                    raise
                time.sleep(2)
        raise AssertionError

    def delete_table(self, name: str) -> None:
        """Delete a table and wait until it is gone."""
        self.dynamodb.delete_table(TableName=name)
        self.dynamodb.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 2})
        self._tables.discard(name)

    def clean_up(self) -> list[str]:
        """Delete everything that the run has created; return what couldn't be deleted, and why."""
        left: list[str] = []
        for name in sorted(self._tables):
            try:
                self.dynamodb.delete_table(TableName=name)
            except ClientError as error:
                left.append(f"table {name}: {error}")
        try:
            with contextlib.suppress(ClientError):
                self.s3.delete_bucket_policy(Bucket=self.bucket)
            for key in self.object_keys(""):
                self.s3.delete_object(Bucket=self.bucket, Key=key)
            self.s3.delete_bucket(Bucket=self.bucket)
        except ClientError as error:
            left.append(f"bucket {self.bucket}: {error}")
        return left

    # Exports

    def start(self, **parameters: Any) -> Any:
        """Start a full export of the run's table into its bucket, or what the parameters say; describe it."""
        given = {"TableArn": parameters.pop("TableArn", None) or self.table(), "S3Bucket": self.bucket, **parameters}
        return self.dynamodb.export_table_to_point_in_time(**given)["ExportDescription"]

    def start_window(self, start: datetime, end: datetime | None, **parameters: Any) -> Any:
        """Start an incremental export; `ExportViewType` is in the parameters."""
        return self.start(**window(start, end, parameters.pop("ExportViewType", None)), **parameters)

    def describe(self, export: Any) -> Any:
        """Describe an export."""
        return self.dynamodb.describe_export(ExportArn=export["ExportArn"])["ExportDescription"]

    def ended(self, export: Any) -> Any:
        """Wait until an export has ended, and describe it."""
        waited = 0
        while True:
            described = self.describe(export)
            if described["ExportStatus"] != "IN_PROGRESS":
                return described
            if waited >= _LONGEST_EXPORT_S:
                raise Violation(f"the export is IN_PROGRESS after {waited} s")
            if not self.can_move_clock and not self._patient:
                raise Skipped("an export takes minutes here: wait with --patient")
            self.pass_time(_POLL_S)
            waited += _POLL_S

    def read(self, key: str) -> bytes:
        """Read an object."""
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def object_keys(self, prefix: str) -> list[str]:
        """List the keys of objects."""
        keys: list[str] = []
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            keys += [each["Key"] for each in page.get("Contents", [])]
        return keys

    def scan(self, name: str) -> dict[str, Any]:
        """Return a table's items by their `id`."""
        items: list[Any] = []
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=name, ConsistentRead=True):
            items += page["Items"]
        return {item["id"]["S"]: item for item in items}

    @contextmanager
    def denying_policy(self) -> Iterator[None]:
        """Let the bucket's policy deny that objects are put, for a while."""
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{self.bucket}/*",
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))
        try:
            yield
        finally:
            self.s3.delete_bucket_policy(Bucket=self.bucket)

    @contextmanager
    def settings(self, **changes: Any) -> Iterator[None]:
        """Change settings of an embedded AWS for a while."""
        control = self.local()
        before = control.settings()
        control.settings(**changes)
        try:
            yield
        finally:
            control.settings(**{name: before[name] for name in changes})


def window(start: datetime | None, end: datetime | None, view: str | None = None) -> dict[str, Any]:
    """Return the parameters of an incremental export."""
    members = {"ExportFromTime": start, "ExportToTime": end, "ExportViewType": view}
    specification = {name: value for name, value in members.items() if value is not None}
    return {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": specification}


def whole_second(at: datetime) -> datetime:
    """Cut a time to its second."""
    return at.replace(microsecond=0)


MINUTE = timedelta(minutes=1)
