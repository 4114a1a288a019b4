"""Nothing that was acknowledged is lost, whenever the process is killed."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from deltalake import DeltaTable, write_deltalake

from ddb_lake_tests.cloud import ADMIN_KEY, BUCKET, REGION, TABLE, Cloud

ROUNDS = 3
URI = f"s3://{BUCKET}/table"
KEYS = 6
"""Few, so that many writes meet the same key."""


@contextmanager
def served(journal: Path) -> Iterator[tuple[Cloud, subprocess.Popen[str]]]:
    """An embedded AWS in a process of its own, killed at the end if it still lives."""
    command = [sys.executable, "-m", "ddb_lake.embedded_aws", "--port", "0", "--clock", "offset"]
    with subprocess.Popen([*command, "--journal", str(journal)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Cloud(process.stdout.readline().strip().rpartition("=")[2]), process
        finally:
            process.kill()


def once(cloud: Cloud) -> tuple[Any, Any]:
    """Clients that make one attempt: what they are told is acknowledged, and nothing else."""
    session = boto3.Session(region_name=REGION, aws_access_key_id=ADMIN_KEY, aws_secret_access_key="secret")
    config = Config(retries={"total_max_attempts": 1}, read_timeout=30)
    options: Any = {"endpoint_url": cloud.url, "config": config}
    return session.client("dynamodb", **options), session.client("s3", **options)


@dataclass
class Acknowledged:
    """What one writer was told, and what it has asked for last without an answer."""

    progress: threading.Semaphore
    items: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    exports: list[str] = field(default_factory=list)
    open: dict[str, Any] = field(default_factory=dict)
    """The key or object of an unanswered request: the state that it would have made."""

    def done(self, kind: dict[str, Any]) -> None:
        kind |= self.open
        self.open = {}
        self.progress.release()


def write(cloud: Cloud, name: str, known: Acknowledged, dice: random.Random, arn: str) -> None:
    """Write at random, until the process is gone; the writer's keys are its own."""
    dynamodb, s3 = once(cloud)
    while True:
        keys = [f"{name}-{number}" for number in dice.sample(range(KEYS), 3)]
        key, value = keys[0], str(dice.randrange(10**9))
        try:
            match dice.choice(["put", "put", "update", "delete", "batch", "s3", "s3", "parts", "unlink", "export"]):
                case "put":
                    known.open = {key: value}
                    dynamodb.put_item(TableName=TABLE, Item=item(key, value))
                    known.done(known.items)
                case "update":
                    known.open = {key: value}
                    dynamodb.update_item(
                        TableName=TABLE,
                        Key={"id": {"S": key}},
                        UpdateExpression="SET #v = :v",
                        ExpressionAttributeNames={"#v": "value"},
                        ExpressionAttributeValues={":v": {"N": value}},
                    )
                    known.done(known.items)
                case "delete":
                    known.open = {key: None}
                    dynamodb.delete_item(TableName=TABLE, Key={"id": {"S": key}})
                    known.done(known.items)
                case "batch":
                    known.open = dict.fromkeys(keys, value)
                    puts = [{"PutRequest": {"Item": item(each, value)}} for each in keys]
                    dynamodb.batch_write_item(RequestItems={TABLE: puts})
                    known.done(known.items)
                case "s3":
                    known.open = {key: value}
                    s3.put_object(Bucket=BUCKET, Key=key, Body=value.encode())
                    known.done(known.objects)
                case "parts":
                    known.open = {key: value}
                    upload: Any = {"Bucket": BUCKET, "Key": key}
                    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
                    etag = s3.upload_part(**upload, PartNumber=1, Body=value.encode())["ETag"]
                    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
                    s3.complete_multipart_upload(**upload, MultipartUpload=parts)
                    known.done(known.objects)
                case "unlink":
                    known.open = {key: None}
                    s3.delete_object(Bucket=BUCKET, Key=key)
                    known.done(known.objects)
                case _:
                    known.open = {}
                    given: Any = {"TableArn": arn, "S3Bucket": BUCKET, "S3Prefix": "exports"}
                    started = dynamodb.export_table_to_point_in_time(**given)["ExportDescription"]
                    known.exports.append(started["ExportArn"])
        except ClientError:
            raise
        except BotoCoreError:
            return


def item(key: str, value: str) -> Any:
    return {"id": {"S": key}, "value": {"N": value}}


def check(cloud: Cloud, writers: dict[str, Acknowledged]) -> None:
    """Compare what there is with what was acknowledged; take over what an unanswered request has done."""
    items = {each["id"]["S"]: each["value"]["N"] for each in cloud.scan()}
    objects = {key: cloud.read(BUCKET, key).decode() for key in cloud.object_keys() if "/" not in key}
    for known in writers.values():
        for told, found in ((known.items, items), (known.objects, objects)):
            for key, value in told.items():
                allowed = {value, known.open.get(key, value)}
                assert found.get(key) in allowed, (key, found.get(key), allowed)
            told |= {key: found.get(key) for key in known.open if key in told}
        known.open = {}
    full = cloud.lines(cloud.start_full(next(iter(writers.values())).exports[0].rpartition("/export/")[0]))
    assert {line["Item"]["id"]["S"]: line["Item"]["value"]["N"] for line in full} == items
    for arn in {arn for known in writers.values() for arn in known.exports}:
        cloud.lines({"ExportArn": arn})


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    journal, dice = tmp_path / "aws.sqlite", random.Random(9)
    progress = threading.Semaphore(0)
    writers = {f"w{number}": Acknowledged(progress=progress) for number in range(4)}
    with served(journal) as (cloud, _):
        cloud.s3.create_bucket(Bucket=BUCKET)
        arn = cloud.create_table()
        for known in writers.values():
            known.exports.append(cloud.start_full(arn)["ExportArn"])
    for number in range(ROUNDS):
        with served(journal) as (cloud, process):
            check(cloud, writers)
            with ThreadPoolExecutor(len(writers)) as pool:
                running = [
                    pool.submit(write, cloud, name, known, random.Random(f"{number}/{name}"), arn)
                    for name, known in writers.items()
                ]
                for _ in range(dice.randrange(20, 120)):
                    progress.acquire()
                process.kill()
            for each in running:
                each.result()
    with served(journal) as (cloud, _):
        check(cloud, writers)


def options_of(cloud: Cloud) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


@pytest.mark.parametrize("commits", [2, 5])
def test_a_delta_table_survives_kill_9(tmp_path: Path, commits: int) -> None:
    journal, written = tmp_path / "aws.sqlite", 0
    with served(journal) as (cloud, _):
        cloud.s3.create_bucket(Bucket=BUCKET)
    for _ in range(2):
        with served(journal) as (cloud, process):
            for _ in range(commits):
                frame = pl.DataFrame({"number": [written]})
                write_deltalake(URI, frame, mode="append", storage_options=options_of(cloud))
                written += 1
            assert DeltaTable(URI, storage_options=options_of(cloud)).version() == written - 1
            process.kill()
    with served(journal) as (cloud, _):
        options = options_of(cloud)
        assert sorted(pl.read_delta(URI, storage_options=options)["number"]) == list(range(written))
        DeltaTable(URI, storage_options=options).delete("number = 0")
        assert DeltaTable(URI, storage_options=options).version() == written
