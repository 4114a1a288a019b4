"""A policy is enforced: what it doesn't allow is refused in AWS's words, and nobody but an administrator escapes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import ControlError
from ddb_lake.embedded_aws.access import Access, AccessRules
from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.policy import Policy
from ddb_lake.embedded_aws.s3_request import read_s3_request
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake_tests.cloud import BUCKET, REGION, TABLE, Cloud, error_of

TABLE_ARN = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
USER = "arn:aws:iam::123456789012:user/lake"
ITEM: Any = {"id": {"S": "a"}}
PUT: Any = {"Put": {"TableName": TABLE, "Item": ITEM}}


class Lake:
    """Clients with a key that the policy binds."""

    def __init__(self, cloud: Cloud, key: str = "lake") -> None:
        session = boto3.Session(region_name=REGION, aws_access_key_id=key, aws_secret_access_key="secret")
        self.dynamodb = session.client("dynamodb", endpoint_url=cloud.url)
        self.s3 = session.client("s3", endpoint_url=cloud.url)
        self.sts = session.client("sts", endpoint_url=cloud.url)
        self.iam = session.client("iam", endpoint_url=cloud.url)


def allow(actions: Any, resources: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


def deny(actions: Any, resources: Any = "*") -> dict[str, Any]:
    return {"Effect": "Deny", "Action": actions, "Resource": resources}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.fixture
def lake(cloud: Cloud, table: str) -> Lake:
    """The clients, a table with an item and a bucket with two objects."""
    cloud.put("a")
    for key in ("open/a", "secret/a"):
        cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=b"content")
    cloud.control.advance(1)
    return Lake(cloud)


CALLS: dict[str, tuple[Callable[[Lake], Any], list[dict[str, Any]]]] = {
    "a table's name": (
        lambda lake: lake.dynamodb.get_item(TableName=TABLE, Key=ITEM),
        [allow("dynamodb:GetItem", TABLE_ARN)],
    ),
    "a table's ARN": (
        lambda lake: lake.dynamodb.get_item(TableName=TABLE_ARN, Key=ITEM),
        [allow("dynamodb:GetItem", TABLE_ARN)],
    ),
    "wildcards": (
        lambda lake: lake.dynamodb.describe_table(TableName=TABLE),
        [allow("dynamodb:describe*", "arn:aws:dynamodb:*:*:table/measuremen?")],
    ),
    "a batch": (
        lambda lake: lake.dynamodb.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": ITEM}}]}),
        [allow("dynamodb:BatchWriteItem", TABLE_ARN)],
    ),
    "a transaction, by what is in it": (
        lambda lake: lake.dynamodb.transact_write_items(TransactItems=[PUT]),
        [allow("dynamodb:PutItem", TABLE_ARN)],
    ),
    "an operation without resources": (lambda lake: lake.dynamodb.list_tables(), [allow("dynamodb:ListTables")]),
    "the export of a table": (
        lambda lake: lake.dynamodb.export_table_to_point_in_time(TableArn=TABLE_ARN, S3Bucket=BUCKET),
        [allow("dynamodb:ExportTableToPointInTime", TABLE_ARN)],
    ),
    "an object": (
        lambda lake: lake.s3.get_object(Bucket=BUCKET, Key="open/a"),
        [allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/open/*")],
    ),
    "an object's head": (
        lambda lake: lake.s3.head_object(Bucket=BUCKET, Key="open/a"),
        [allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/open/*")],
    ),
    "a copy": (
        lambda lake: lake.s3.copy_object(Bucket=BUCKET, Key="new", CopySource=f"{BUCKET}/open/a"),
        [allow("s3:PutObject"), allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/open/*")],
    ),
    "an object with tags and an ACL": (
        lambda lake: lake.s3.put_object(Bucket=BUCKET, Key="new", Body=b"", Tagging="a=b", ACL="private"),
        [allow("s3:PutObject"), allow("s3:PutObjectTagging"), allow("s3:PutObjectAcl")],
    ),
    "several objects": (
        lambda lake: lake.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "open/a"}]}),
        [allow("s3:DeleteObject", f"arn:aws:s3:::{BUCKET}/open/*")],
    ),
    "a listing under a prefix": (
        lambda lake: lake.s3.list_objects_v2(Bucket=BUCKET, Prefix="open/"),
        [allow("s3:ListBucket", f"arn:aws:s3:::{BUCKET}", Condition={"StringLike": {"s3:prefix": ["open/*"]}})],
    ),
    "a region": (
        lambda lake: lake.dynamodb.list_tables(),
        [allow("dynamodb:*", Condition={"StringEquals": {"aws:RequestedRegion": REGION}})],
    ),
}


@pytest.mark.parametrize(("call", "statements"), CALLS.values(), ids=CALLS)
def test_a_call_needs_each_of_its_statements(
    cloud: Cloud, lake: Lake, call: Callable[[Lake], Any], statements: list[dict[str, Any]]
) -> None:
    cloud.control.set_policy(policy(*statements))
    call(lake)
    for missing in range(len(statements)):
        others = [statement for number, statement in enumerate(statements) if number != missing]
        cloud.control.set_policy(policy(*(others or [allow("sqs:*")])))
        with pytest.raises(ClientError, match=r"AccessDenied|403"):
            call(lake)


def listing(prefix: str | None) -> Callable[[Lake], Any]:
    given: Any = {} if prefix is None else {"Prefix": prefix}
    return lambda lake: lake.s3.list_objects_v2(Bucket=BUCKET, **given)


ONLY_OPEN = allow("s3:ListBucket", Condition={"StringLike": {"s3:prefix": "open/*"}})


@pytest.mark.parametrize(
    ("statements", "call"),
    [
        ([allow("s3:*"), deny("s3:GetObject", f"arn:aws:s3:::{BUCKET}/secret/*")], "secret/a"),
        ([allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/open/*")], "open/../secret/a"),
        ([allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}")], "open/a"),
        ([allow("s3:getobjec", f"arn:aws:s3:::{BUCKET}/*")], "open/a"),
        ([ONLY_OPEN], listing("secret/")),
        ([ONLY_OPEN], listing(None)),
        ([allow("dynamodb:*", "arn:aws:dynamodb:*:*:table/*")], lambda lake: lake.dynamodb.list_tables()),
        (
            [allow("dynamodb:*", "arn:aws:dynamodb:*")],
            lambda lake: lake.dynamodb.describe_table(TableName=TABLE),
        ),
        (
            [allow("dynamodb:*", Condition={"StringNotEquals": {"aws:RequestedRegion": REGION}})],
            lambda lake: lake.dynamodb.list_tables(),
        ),
        ([allow("*")], lambda lake: lake.s3.get_bucket_cors(Bucket=BUCKET)),
        ([allow("*")], lambda lake: lake.iam.list_users()),
    ],
)
def test_what_the_policy_does_not_cover_is_refused(
    cloud: Cloud, lake: Lake, statements: list[dict[str, Any]], call: Any
) -> None:
    cloud.control.set_policy(policy(*statements))
    with pytest.raises(ClientError) as refusal:
        lake.s3.get_object(Bucket=BUCKET, Key=call) if isinstance(call, str) else call(lake)
    assert error_of(refusal.value)[0] in ("AccessDenied", "AccessDeniedException")


def test_refusals_are_in_aws_words(cloud: Cloud, lake: Lake) -> None:
    cloud.control.set_policy(policy(deny("s3:GetObject")))
    with pytest.raises(ClientError) as dynamodb:
        lake.dynamodb.put_item(TableName=TABLE, Item=ITEM)
    assert error_of(dynamodb.value) == (
        "AccessDeniedException",
        f"User: {USER} is not authorized to perform: dynamodb:PutItem on resource: {TABLE_ARN} because no "
        "identity-based policy allows the dynamodb:PutItem action",
    )
    with pytest.raises(ClientError) as s3:
        lake.s3.get_object(Bucket=BUCKET, Key="open/a")
    assert s3.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403
    assert error_of(s3.value) == (
        "AccessDenied",
        f'User: {USER} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::{BUCKET}/open/a" '
        "with an explicit deny in an identity-based policy",
    )


@pytest.mark.parametrize(
    ("listing", "status"),
    [
        ([], 403),
        ([ONLY_OPEN], 403),  # the question carries no prefix
        ([allow("s3:ListBucket", f"arn:aws:s3:::{BUCKET}")], 404),
    ],
)
def test_only_who_may_list_learns_that_an_object_is_missing(
    cloud: Cloud, lake: Lake, listing: list[dict[str, Any]], status: int
) -> None:
    cloud.control.set_policy(policy(allow("s3:GetObject"), *listing))
    for ask in (lake.s3.get_object, lake.s3.head_object):
        with pytest.raises(ClientError) as refusal:
            ask(Bucket=BUCKET, Key="open/missing")
        assert refusal.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == status


@pytest.mark.parametrize("missing", ["s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload"])
def test_an_export_fails_if_its_caller_may_not_write_its_files(cloud: Cloud, lake: Lake, missing: str) -> None:
    needed = {"s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload"}
    files = f"arn:aws:s3:::{BUCKET}/exports/*"
    cloud.control.set_policy(policy(allow("dynamodb:*"), allow(sorted(needed - {missing}), files)))
    export = lake.dynamodb.export_table_to_point_in_time(TableArn=TABLE_ARN, S3Bucket=BUCKET, S3Prefix="exports")
    description = cloud.describe(export["ExportDescription"])
    assert (description["ExportStatus"], description["FailureCode"]) == ("FAILED", "S3AccessDenied")
    assert missing in description["FailureMessage"]
    assert not any(key.startswith("exports/") for key in cloud.object_keys())


def test_an_export_under_an_allowed_prefix_completes(cloud: Cloud, lake: Lake) -> None:
    cloud.control.set_policy(policy(allow("dynamodb:*"), allow("s3:*", f"arn:aws:s3:::{BUCKET}/exports/*")))
    start = lake.dynamodb.export_table_to_point_in_time
    inside = start(TableArn=TABLE_ARN, S3Bucket=BUCKET, S3Prefix="exports")["ExportDescription"]
    outside = start(TableArn=TABLE_ARN, S3Bucket=BUCKET)["ExportDescription"]
    assert cloud.describe(inside)["ExportStatus"] == "COMPLETED"
    assert cloud.describe(outside)["ExportStatus"] == "FAILED"


def test_an_administrator_and_the_question_who_one_is_need_no_statement(cloud: Cloud, lake: Lake) -> None:
    cloud.control.set_policy(policy(deny("*")), admin_keys=["root", "admin"])
    assert Lake(cloud, "root").dynamodb.list_tables()["TableNames"] == [TABLE]
    assert lake.sts.get_caller_identity()["Account"] == "123456789012"
    with pytest.raises(ClientError, match="AccessDenied"):
        lake.dynamodb.list_tables()
    cloud.control.remove_policy()
    assert lake.dynamodb.list_tables()["TableNames"] == [TABLE]


def test_nobody_gets_in_without_a_key(cloud: Cloud, lake: Lake) -> None:
    cloud.control.set_policy(policy(allow("*"), deny("s3:*", "arn:aws:s3:::other")))
    anonymous = boto3.client(
        "s3", region_name=REGION, endpoint_url=cloud.url, config=Config(signature_version=UNSIGNED)
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        anonymous.get_object(Bucket=BUCKET, Key="open/a")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"Version": "2008-10-17", "Statement": []}, "Version must be"),
        (policy({"Effect": "Perhaps", "Action": "*", "Resource": "*"}), "Allow or Deny"),
        (policy({"Effect": "Allow", "NotAction": "*", "Resource": "*"}), "can't evaluate"),
        (policy(allow("*", "my-bucket")), "must be an ARN"),
        (policy(allow([])), "a text or a list"),
        (policy(allow("*", "arn:aws:s3:::${aws:username}")), "variable"),
        (policy(allow("*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})), "operator IpAddress"),
        (policy(allow("*", Condition={"StringEquals": {"aws:PrincipalTag/team": "lake"}})), "condition key"),
    ],
)
def test_a_policy_that_can_not_be_evaluated_is_refused_whole(
    cloud: Cloud, document: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ControlError, match=reason):
        cloud.control.set_policy(document)
    assert cloud.object_keys() == []


def test_the_command_takes_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy(allow("dynamodb:ListTables"))))
    command = [sys.executable, "-m", "ddb_lake.embedded_aws", "--port", "0", "--policy", str(path)]
    with subprocess.Popen([*command, "--admin-key", "root"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        cloud = Cloud(process.stdout.readline().strip().rpartition("=")[2])
        Lake(cloud, "root").s3.create_bucket(Bucket=BUCKET)
        assert Lake(cloud).dynamodb.list_tables()["TableNames"] == []
        with pytest.raises(ClientError, match="AccessDenied"):
            Lake(cloud).s3.create_bucket(Bucket="other")
        process.terminate()


def test_no_more_than_so_many_used_permissions_are_noted() -> None:
    rules = AccessRules(Policy.read({"Version": "2012-10-17", "Statement": [allow("s3:GetObject")]}))
    access = Access("123456789012", rules, Settings(0, 4))
    for number in range(10_050):
        environ: Any = {"REQUEST_METHOD": "GET", "PATH_INFO": f"/{BUCKET}/{number}"}
        request = read_s3_request(environ)
        access.check(Call("s3", REGION, "lake", request.operation, {}, request), b"")
        if number == 10:
            assert access.used_is_complete
    assert len(access.used()) == 10_000
    assert not access.used_is_complete
