"""An item's size is the one that AWS bills."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.items import item_size, value_size


def test_the_items_of_a_real_export_have_the_size_that_was_billed(real_exports: Path) -> None:
    bucket = real_exports / "unicorn_activities"
    export = bucket / "AWSDynamoDB" / "01716790307109-5f9d6aaa"
    billed = json.loads((export / "manifest-summary.json").read_bytes())["billedSizeBytes"]
    size = 0
    for path in (export / "data").iterdir():
        size += sum(item_size(json.loads(line)["Item"]) for line in gzip.decompress(path.read_bytes()).splitlines())
    # AWS refreshes a table's size every six hours, and this one was being written to.
    assert size == pytest.approx(billed, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "é"}, 2),
        ({"S": ""}, 0),
        ({"N": "0"}, 1),
        ({"N": "12345"}, 4),
        ({"N": "-1.5"}, 3),
        ({"N": "1000"}, 2),
        ({"B": "aGVsbG8="}, 5),
        ({"BOOL": False}, 1),
        ({"NULL": True}, 1),
        ({"L": []}, 3),
        ({"L": [{"S": "ab"}]}, 6),
        ({"M": {"k": {"S": "ab"}}}, 7),
        ({"SS": ["a", "bc"]}, 3),
        ({"BS": ["aGVsbG8="]}, 5),
    ],
)
def test_the_size_of_a_value(value: Any, size: int) -> None:
    assert value_size(value) == size


@pytest.mark.parametrize(
    "value",
    ["text", {}, {"S": "a", "N": "1"}, {"X": "a"}, {"S": 1}, {"NULL": False}, {"SS": []}, {"B": "?"}, {"L": ["a"]}],
)
def test_what_is_no_attribute_value_is_refused(value: Any) -> None:
    with pytest.raises(AwsError):
        item_size({"a": value})
