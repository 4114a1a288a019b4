"""Exports that a KMS key encrypts: from lake.yaml to the files, under the policy that is rendered for it."""

import json
from collections.abc import Iterator

import pytest

from ddb_lake.config import Settings
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import Destination, ExportClient, ExportStatus, FullExport, IncrementalExport, errors
from ddb_lake.iam import render_policy
from ddb_lake_tests.cloud import ADMIN_KEY, BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import advance_to, lake_at, quarter

KEY_ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS = "alias/exports"
ROOT = "arn:aws:kms:us-east-1:123456789012:"
NAMES = [KEY_ID, f"{ROOT}key/{KEY_ID}", ALIAS, ROOT + ALIAS]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=1) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.put("old", 1)
        cloud.control.settings(kms_keys={KEY_ID: ALIAS})
        advance_to(cloud, 1, 1)
        yield cloud


@pytest.mark.parametrize("key", NAMES)
def test_a_key_may_be_named_in_each_of_the_four_ways(cloud, tmp_path, key):
    with lake_at(cloud, tmp_path, kms_key=key) as lake:
        pipeline = lake.pipeline
        pipeline.start_export(pipeline.window_request(quarter(0)))
        (verified,) = pipeline.export_windows(quarter(0), lambda note, seconds: None)
        for file in verified.manifest.files:
            head = cloud.s3.head_object(Bucket=BUCKET, Key=file.key)
            assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
        summary = json.loads(cloud.read(BUCKET, verified.export.manifest_key))
        assert (summary["s3SseAlgorithm"], summary["s3SseKmsKeyId"]) == ("KMS", key)
        used = cloud.control.used_permissions()
        assert {each for each in used if each[0].startswith("kms:")} == {
            ("kms:GenerateDataKey", f"{ROOT}key/{KEY_ID}"),
            ("kms:Decrypt", f"{ROOT}key/{KEY_ID}"),
        }


def test_the_whole_way_works_with_a_key(cloud, tmp_path):
    with lake_at(cloud, tmp_path, kms_key=ALIAS) as lake:
        lake.bootstrap()
        lake.materialise(quarter(0))
        assert lake.parity().equal


def test_without_a_permission_on_the_key_the_export_fails_and_the_remedy_names_it(cloud, tmp_path):
    with lake_at(cloud, tmp_path, kms_key=ALIAS) as lake:
        plain = Settings.model_validate(
            {**lake.settings.model_dump(), "tables": [{**lake.table.model_dump(), "kms_key": None}]}
        )
        cloud.control.set_policy(render_policy(plain))
        pipeline = lake.pipeline
        with pytest.raises(errors.ExportFailed, match=r"S3AccessDenied: .*kms:Generate.*kms:Decrypt on its key"):
            pipeline.export_windows(quarter(0), lambda note, seconds: None)
        # Who may use it for writing alone can't read.
        cloud.control.set_policy(render_policy(lake.settings))
        (verified,) = pipeline.export_windows(quarter(0), lambda note, seconds: None)
        cloud.control.set_policy(render_policy(plain))
        with pytest.raises(errors.AccessDenied, match=r"not authorized to perform: kms:Decrypt"):
            lake.pipeline.exports.read_manifest(verified.request, verified.export)


@pytest.mark.parametrize("wrong", ["alias/nobody", f"arn:aws:kms:us-west-2:123456789012:key/{KEY_ID}"])
def test_once_a_wrong_key_is_corrected_the_next_export_begins_at_once(cloud, wrong):
    def client(key: str | None) -> ExportClient:
        return ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET, kms_key=key))

    table = client(None).describe_table(TABLE)
    for request in (FullExport(table, NOON), IncrementalExport(table, quarter(0))):
        failed = client(wrong).describe(client(wrong).ensure(request).arn)
        with pytest.raises(errors.ExportFailed, match=r"KmsNotFoundException: .*correct kms_key in lake\.yaml"):
            client(wrong).read_manifest(request, failed)
        ended = client(ALIAS).describe(client(ALIAS).ensure(request).arn)
        assert ended.status is ExportStatus.COMPLETED
        assert client(ALIAS).ensure(request).arn == ended.arn


def test_a_changed_key_does_not_pay_for_what_is_exported(cloud):
    table = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET)).describe_table(TABLE)
    request = IncrementalExport(table, quarter(0))
    first = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET)).ensure(request)
    again = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET, kms_key=ALIAS)).ensure(request)
    assert again.arn == first.arn


def test_a_policy_names_aliases_in_a_condition_and_leaves_s3s_own_key_out():
    table = {"table": "orders", "region": "eu-central-1", "start": NOON, "bucket": "exports"}
    keys = [KEY_ID, "alias/aws/s3", ALIAS, "arn:aws:kms:eu-west-1:999999999999:alias/theirs"]
    tables = [{**table, "alias": f"t{number}", "kms_key": key} for number, key in enumerate(keys)]
    settings = Settings.model_validate({"aws": "real", "lake": "lake", "tables": tables})
    found = {each["Sid"]: each for each in render_policy(settings, "123456789012")["Statement"]}
    assert found["UseExportKeys"]["Resource"] == [f"arn:aws:kms:*:123456789012:key/{KEY_ID}"]
    assert found["UseExportKeysByAlias"]["Resource"] == [
        "arn:aws:kms:*:123456789012:key/*",
        "arn:aws:kms:eu-west-1:999999999999:key/*",
    ]
    assert found["UseExportKeysByAlias"]["Condition"] == {
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": ["alias/exports", "alias/theirs"]}
    }
    assert ADMIN_KEY not in json.dumps(found)
