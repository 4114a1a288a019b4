"""What the tests do with the embedded AWS as its clients do: boto3, and exports read by their manifests."""

import base64
import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import Control

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
REGION = "us-east-1"
BUCKET = "lake"
TABLE = "measurement"

ADMIN_KEY = "admin"
"""The access key of the tests' own clients, which no policy binds; the lake's clients have another."""

_SESSION = boto3.Session(region_name=REGION, aws_access_key_id=ADMIN_KEY, aws_secret_access_key="secret")


class Cloud:
    """Clients of the embedded AWS at a URL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.control = Control(url)
        # What AWS refuses must reach it.
        unchecked = Config(parameter_validation=False)
        self.dynamodb = _SESSION.client("dynamodb", endpoint_url=url, config=unchecked)
        self.s3 = _SESSION.client("s3", endpoint_url=url)

    def create_table(self, name: str = TABLE, *, sort: str | None = None, partition: str = "S") -> str:
        """Create a table with point-in-time recovery and the key `id` (and `at`); return its ARN."""
        keys = [{"AttributeName": "id", "KeyType": "HASH"}]
        types = [{"AttributeName": "id", "AttributeType": partition}]
        if sort is not None:
            keys.append({"AttributeName": "at", "KeyType": "RANGE"})
            types.append({"AttributeName": "at", "AttributeType": sort})
        created: Any = self.dynamodb.create_table(
            TableName=name,
            KeySchema=keys,  # pyright: ignore[reportArgumentType]
            AttributeDefinitions=types,  # pyright: ignore[reportArgumentType]
            BillingMode="PAY_PER_REQUEST",
        )
        self.switch_recovery(name, on=True)
        return created["TableDescription"]["TableArn"]

    def switch_recovery(self, name: str = TABLE, *, on: bool) -> Any:
        """Switch point-in-time recovery."""
        answer: Any = self.dynamodb.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": on}
        )
        return answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]

    def put(self, key: str, value: int = 0, table: str = TABLE) -> None:
        """Put an item `{"id": key, "value": value}`."""
        self.dynamodb.put_item(TableName=table, Item={"id": {"S": key}, "value": {"N": str(value)}})

    def delete(self, key: str) -> None:
        """Delete an item."""
        self.dynamodb.delete_item(TableName=TABLE, Key={"id": {"S": key}})

    def recovery(self, name: str = TABLE) -> Any:
        """Describe point-in-time recovery."""
        answer: Any = self.dynamodb.describe_continuous_backups(TableName=name)
        return answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]

    def object_keys(self, bucket: str = BUCKET) -> list[str]:
        """List the keys of all objects in a bucket."""
        listed: Any = self.s3.list_objects_v2(Bucket=bucket)
        return [each["Key"] for each in listed.get("Contents", [])]

    def start_full(self, arn: str, at: datetime | None = None, **parameters: Any) -> Any:
        """Start a full export."""
        if at is not None:
            parameters["ExportTime"] = at
        return self._start(arn, parameters)

    def start_incremental(self, arn: str, start: datetime, end: datetime | None, **parameters: Any) -> Any:
        """Start an incremental export."""
        specification: dict[str, Any] = {"ExportFromTime": start}
        if end is not None:
            specification["ExportToTime"] = end
        if "view" in parameters:
            specification["ExportViewType"] = parameters.pop("view")
        return self._start(
            arn,
            {
                "ExportType": "INCREMENTAL_EXPORT",
                "IncrementalExportSpecification": specification,
                **parameters,
            },
        )

    def describe(self, export: Any) -> Any:
        """Describe an export."""
        return self.dynamodb.describe_export(ExportArn=export["ExportArn"])["ExportDescription"]

    def count_exports(self) -> int:
        """Return how many exports were ever begun."""
        count, token = 0, {}
        while token is not None:
            page: Any = self.dynamodb.list_exports(**token)
            count += len(page["ExportSummaries"])
            token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
        return count

    def items(self, arn: str, at: datetime) -> list[Any]:
        """Return the items of a full export at a time."""
        return [line["Item"] for line in self.lines(self.start_full(arn, at))]

    def changes(self, arn: str, start: datetime, end: datetime, **parameters: Any) -> list[Any]:
        """Return the records of an incremental export of a window."""
        return self.lines(self.start_incremental(arn, start, end, **parameters))

    def lines(self, export: Any) -> list[Any]:
        """Read all lines of a COMPLETED export, whose checksums must be right."""
        description = self.describe(export)
        assert description["ExportStatus"] == "COMPLETED", description
        summary = json.loads(self.checked(description["S3Bucket"], description["ExportManifest"]))
        listing = self.checked(description["S3Bucket"], summary["manifestFilesS3Key"])
        lines: list[Any] = []
        for file in map(json.loads, listing.splitlines()):
            body = self.read(description["S3Bucket"], file["dataFileS3Key"])
            assert _md5(body) == file["md5Checksum"]
            found = [json.loads(line) for line in gzip.decompress(body).splitlines()]
            assert len(found) == file["itemCount"]
            lines += found
        assert len(lines) == summary["itemCount"] == description["ItemCount"]
        return lines

    def checked(self, bucket: str, key: str) -> bytes:
        """Read a manifest, whose md5 must be right."""
        body = self.read(bucket, key)
        assert _md5(body).encode() == self.read(bucket, key.replace(".json", ".md5"))
        return body

    def read(self, bucket: str, key: str) -> bytes:
        """Read an object."""
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def objects(self) -> dict[str, bytes]:
        """Read all objects of the bucket."""
        return {key: self.read(BUCKET, key) for key in self.object_keys()}

    def scan(self, table: str = TABLE) -> list[Any]:
        """Return all items as DynamoDB JSON, as they are on the wire."""
        items: list[Any] = []
        for page in self.dynamodb.get_paginator("scan").paginate(TableName=table):
            items += page["Items"]
        return items

    def _start(self, arn: str, parameters: dict[str, Any]) -> Any:
        given: dict[str, Any] = {"TableArn": arn, "S3Bucket": BUCKET, **parameters}
        return self.dynamodb.export_table_to_point_in_time(**given)["ExportDescription"]


def by_key(items: list[Any]) -> dict[str, Any]:
    """Return items by the string of their key `id`, which must not repeat."""
    found = {item["id"]["S"]: item for item in items}
    assert len(found) == len(items)
    return found


def error_of(refusal: ClientError) -> tuple[str, str]:
    """Return the code and the text of an error."""
    error = refusal.response.get("Error", {})
    return error.get("Code", ""), error.get("Message", "")


def us(time: datetime) -> int:
    """Return whole microseconds since the epoch."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()
