"""Keys that expire in the middle of a step: obstore, delta-rs and polars go on with new ones."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import polars as pl
import pytest

from ddb_lake.config import AwsSettings, LakeSettings, TableSettings
from ddb_lake.replica import ChangeLog, Location, Replica, SessionCredentials, Strategy, location
from ddb_lake.replica.errors import StorageFailed
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.resources import Lake as LakeResource
from ddb_lake_tests.cloud import ADMIN_KEY, BUCKET, NOON, Cloud
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    TABLE_ID,
    Key,
    Lake,
    T,
    delete,
    item_frame,
    put,
    window,
)

EAGER = FoldPolicy(target_rows=1000, fan=2, dead_share=0.1)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """The embedded AWS in a process of its own: delta-rs keeps the interpreter locked while it waits for S3."""
    command = [sys.executable, "-m", "ddb_lake.embedded_aws", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            cloud = Cloud(server.stdout.readline().strip().rpartition("=")[2])
            cloud.s3.create_bucket(Bucket=BUCKET)
            yield cloud
        finally:
            server.terminate()


class ShortLivedKeys:
    """A profile whose keys come from a process, as of a sign-on, and are renewed whenever botocore asks."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        self._cloud = cloud
        self._answer = folder / "keys.json"
        self._number = 0
        self.config = folder / "config"
        self.config.write_text(f"[profile lake]\nregion = eu-west-1\ncredential_process = cat {self._answer}\n")
        self.expire()

    def expire(self) -> None:
        """From now on S3 takes only new keys."""
        self._number += 1
        key = f"temporary-{self._number}"
        told = {
            "Version": 1,
            "AccessKeyId": key,
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": (datetime.now(UTC) + timedelta(minutes=5)).isoformat(),  # botocore renews ten before
        }
        self._answer.write_text(json.dumps(told))
        nothing = {"Version": "2012-10-17", "Statement": []}
        self._cloud.control.set_policy(nothing, [ADMIN_KEY, key])


@pytest.fixture
def keys(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[ShortLivedKeys]:
    keys = ShortLivedKeys(tmp_path, cloud)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(keys.config))
    monkeypatch.setenv("DDB_LAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(location, "VALID_FOR", timedelta(0))  # no minutes pass here
    yield keys
    cloud.control.remove_policy()


def lake_on(cloud: Cloud, name: str, strategy: Strategy) -> Lake:
    options = {"AWS_ENDPOINT_URL": cloud.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
    credentials = SessionCredentials(boto3.Session(profile_name="lake"))
    log = ChangeLog(Location(f"s3://{BUCKET}/{name}/changes", options, credentials), TABLE_ID)
    place = Location(f"s3://{BUCKET}/{name}/replica", options, credentials)
    return Lake(log, Replica(place, TABLE_ID, log, strategy))


def test_a_lake_goes_on_with_new_keys_wherever_the_old_ones_expire(cloud, keys: ShortLivedKeys, strategy: Strategy):
    tables = lake_on(cloud, strategy.value, strategy)
    tables.log.add_columns(COLUMNS)
    items = {Key(f"k{number}"): "0" for number in range(8)}

    def blocks(shard: dict[Key, str]) -> Iterator[pl.DataFrame]:
        """Rows of a data file, while whose decoding the keys expire."""
        for key, value in shard.items():
            yield item_frame({key: value}, T, COLUMNS)
            keys.expire()

    shards = [{key: items[key] for key in list(items)[n::4]} for n in range(4)]
    tables.replica.stage_bootstrap("01-export", T, COLUMNS, [(f"{n}.gz", blocks(s)) for n, s in enumerate(shards)])
    keys.expire()
    tables.replica.commit_bootstrap("01-export")
    for number in range(4):
        span = window(15 * number, 15 * number + 15)
        tables.decode(span, [put(f"k{number}", 15 * number, "1"), delete(f"k{number + 4}", 15 * number)])
        keys.expire()
        tables.replica.apply(span)
        keys.expire()
        items[Key(f"k{number}")] = "1"
        del items[Key(f"k{number + 4}")]
    rows = tables.replica.scan()
    keys.expire()
    assert rows.collect().height == len(items)
    tables.replica.maintain(EAGER)
    keys.expire()
    for wanted in (Strategy.COPY_ON_WRITE, Strategy.DELETION_VECTORS):
        tables.replica.convert(wanted)
        keys.expire()
    assert tables.items() == items


def test_the_lakes_profile_gives_the_keys_and_its_options_keep_none(keys: ShortLivedKeys):
    lake = LakeResource.of(
        LakeSettings(uri="s3://bucket/lake", region=None),
        AwsSettings.model_validate({"mode": "real", "profile": "lake"}),
    )
    table = TableSettings.model_validate({"table": "orders", "region": "eu-west-1", "start": NOON, "bucket": BUCKET})
    place = lake.locate(table, "replica")
    about_aws = {name: value for name, value in place.storage_options.items() if name.startswith("AWS")}
    assert about_aws == {"AWS_REGION": "eu-west-1"}
    first = place.options
    assert first["AWS_SESSION_TOKEN"] == "token"
    keys.expire()
    assert place.options["AWS_ACCESS_KEY_ID"] not in first.values()
    assert "temporary" not in repr(place)


def test_credentials_that_can_not_be_renewed_are_told_with_what_to_do(cloud, keys: ShortLivedKeys, tmp_path: Path):
    tables = lake_on(cloud, "gone", Strategy.DELETION_VECTORS)
    tables.bootstrap({Key("a"): "0"})
    (tmp_path / "keys.json").unlink()
    with pytest.raises(StorageFailed, match=r"profile 'lake' can't be renewed.*sign on again"):
        tables.replica.location.options  # noqa: B018 - that it raises
    with pytest.raises(StorageFailed, match=r"could not be .*can't be renewed"):
        tables.replica.coverage()
