"""The shipped IAM policy, in the form that a lake.yaml gives it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.config import Settings
from ddb_lake.iam import render_policy, template

TABLE: dict[str, Any] = {
    "table": "orders",
    "region": "eu-central-1",
    "start": "2026-11-24T18:15:00Z",
    "bucket": "my-exports",
}
ARN = "arn:aws:dynamodb:us-west-2:123456789012:table/people"


def statements(lake: str, *tables: dict[str, Any], account: str = "*") -> dict[str, list[str]]:
    """The resources of each statement."""
    settings = Settings.model_validate({"aws": "real", "lake": lake, "tables": tables})
    return {each["Sid"]: each["Resource"] for each in render_policy(settings, account)["Statement"]}


def test_a_lake_on_local_disk_needs_no_more_than_the_exports() -> None:
    assert statements("/data/lake", TABLE) == {
        "ExportSourceTables": ["arn:aws:dynamodb:eu-central-1:*:table/orders"],
        "ListExports": ["*"],
        "FollowExports": ["arn:aws:dynamodb:eu-central-1:*:table/orders/export/*"],
        "FindExports": ["arn:aws:s3:::my-exports"],
        "ReadAndWriteExports": ["arn:aws:s3:::my-exports/orders/*"],
    }


def test_every_table_and_a_lake_on_s3_have_their_resources() -> None:
    people = {**TABLE, "table": ARN, "region": "us-west-2", "prefix": "a/b", "recovery": "enable"}
    found = statements("s3://my-lake/dynamodb", TABLE, people, account="999999999999")
    assert found == {
        "ExportSourceTables": ["arn:aws:dynamodb:eu-central-1:999999999999:table/orders", ARN],
        "EnableRecovery": [ARN],
        "ListExports": ["*"],
        "FollowExports": ["arn:aws:dynamodb:eu-central-1:999999999999:table/orders/export/*", f"{ARN}/export/*"],
        "FindExports": ["arn:aws:s3:::my-exports"],
        "ReadAndWriteExports": ["arn:aws:s3:::my-exports/a/b/people/*", "arn:aws:s3:::my-exports/orders/*"],
        "ListLake": ["arn:aws:s3:::my-lake"],
        "ReadAndWriteLake": ["arn:aws:s3:::my-lake/dynamodb/*"],
    }


def test_adopted_exports_are_read_where_they_are() -> None:
    adopt = [
        {
            "manifest": "s3://backups/x/AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json",
            "time": TABLE["start"],
        },
        {
            "manifest": "s3://changes/AWSDynamoDB/01795523520000-3f2e5aa4/manifest-summary.json",
            "from": TABLE["start"],
            "to": "2026-11-24T19:15:00Z",
        },
    ]
    found = statements("/data/lake", {**TABLE, "adopt": adopt})
    assert found["FindExports"] == ["arn:aws:s3:::backups", "arn:aws:s3:::changes", "arn:aws:s3:::my-exports"]
    assert found["ReadAdoptedExports"] == [
        "arn:aws:s3:::backups/x/AWSDynamoDB/01795522051123-c8551abe/*",
        "arn:aws:s3:::changes/AWSDynamoDB/01795523520000-3f2e5aa4/*",
        "arn:aws:s3:::changes/AWSDynamoDB/data/*",
    ]


def test_a_lake_may_be_a_whole_bucket() -> None:
    assert statements("s3://my-lake", TABLE)["ReadAndWriteLake"] == ["arn:aws:s3:::my-lake/*"]


def test_the_page_explains_each_statement_and_each_action() -> None:
    page = (Path(__file__).parents[1] / "docs" / "permissions.md").read_text(encoding="utf-8")
    for statement in template()["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        for word in (statement["Sid"], *actions):
            assert f"`{word}`" in page


def test_the_command_prints_it(tmp_path: Path) -> None:
    path = tmp_path / "lake.yaml"
    path.write_text(json.dumps({"aws": "real", "lake": "lake", "tables": [TABLE]}))
    command = [sys.executable, "-m", "ddb_lake.iam", str(path), "--account", "123456789012"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first = json.loads(done.stdout)["Statement"][0]
    assert first["Resource"] == ["arn:aws:dynamodb:eu-central-1:123456789012:table/orders"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["missing.yaml"], "there is no such file"), (["lake.yaml", "--account", "12"], "twelve digits")],
)
def test_the_command_explains_what_is_wrong(tmp_path: Path, arguments: list[str], reason: str) -> None:
    command = [sys.executable, "-m", "ddb_lake.iam", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
