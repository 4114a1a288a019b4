"""Every DynamoDB number is kept exactly, in the narrowest column that its attribute allows."""

from decimal import Decimal, Inexact, Rounded
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given, settings

from ddb_lake.decoding import Arm, ItemSchema, canonical_image, learn_items
from ddb_lake_tests.decoding.export_files import PK, items_of, rows_of_items, write_items
from ddb_lake_tests.decoding.strategies import NUMBERS

CANONICAL = [
    # text, its only canonical form
    ("0", "0"),
    ("-0", "0"),
    ("0.000", "0"),
    ("0E+90", "0"),
    ("7", "7"),
    ("+7", "7"),
    ("007", "7"),
    ("7.0", "7"),
    ("-7.50", "-7.5"),
    (".5", "0.5"),
    ("5.", "5"),
    ("1e3", "1000"),
    ("1.5E-3", "0.0015"),
    ("12E-1", "1.2"),
    ("1E-130", "0." + "0" * 129 + "1"),
    ("9.9E+125", "99" + "0" * 124),
    ("1" + "0" * 125, "1" + "0" * 125),
    ("9" * 38, "9" * 38),
    ("-0." + "9" * 38, "-0." + "9" * 38),
    ("1234567890123456789.1234567890123456789", "1234567890123456789.1234567890123456789"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_a_number_has_one_canonical_text(text: str, canonical: str) -> None:
    assert canonical_image({"n": {"N": text}}) == {"n": {"N": canonical}}
    assert canonical_image({"n": {"N": canonical}}) == {"n": {"N": canonical}}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=NUMBERS)
def test_the_canonical_text_is_the_number_that_boto3_reads(text: str) -> None:
    canonical = canonical_image({"n": {"N": text}})["n"]["N"]
    assert Decimal(canonical) == Decimal(text)
    try:
        known: Any = TypeDeserializer().deserialize({"N": text})
    except (Rounded, Inexact):  # boto3 takes trailing zeros for significant digits
        return
    assert Decimal(canonical) == known


PLACEMENTS = [
    # numbers of the first batch, of the second, then the columns with their values
    (["1", "2.0"], [], {"n": [1, 2]}),
    (["1", "1.5"], [], {"n": [Decimal(1), Decimal("1.5")]}),
    (["1", "1.5", "1E-19"], [], {"n": ["1", "1.5", "0.0000000000000000001"]}),
    (["9223372036854775807", "-9223372036854775808"], [], {"n": [2**63 - 1, -(2**63)]}),
    (["9223372036854775808"], [], {"n": [Decimal(2**63)]}),
    (["99999999999999999999.999999999999999999"], [], {"n": [Decimal("99999999999999999999.999999999999999999")]}),
    (["100000000000000000000"], [], {"n": ["100000000000000000000"]}),
    (["1"], ["1.5", "2"], {"n": [1, None, 2], "n__decimal": [None, Decimal("1.5"), None]}),
    (["1"], ["1E20", "2"], {"n": [1, None, 2], "n__number": [None, "100000000000000000000", None]}),
    (
        ["1"],
        ["1E20", "1.5"],
        {"n": [1, None, None], "n__decimal": [None, None, Decimal("1.5")], "n__number": [None, "1" + "0" * 20, None]},
    ),
    (["1.5"], ["2", "1E-19"], {"n": [Decimal("1.5"), 2, None], "n__number": [None, None, "0." + "0" * 18 + "1"]}),
    (["1.5"], ["0.0000000000000000005"], {"n": [Decimal("1.5"), None], "n__number": [None, "0." + "0" * 18 + "5"]}),
    (["1E20"], ["2", "1.50"], {"n": ["1" + "0" * 20, "2", "1.5"]}),
]


@pytest.mark.parametrize(("first", "second", "columns"), PLACEMENTS)
def test_a_number_goes_to_the_home_if_it_fits_and_else_to_the_next_wider_column(
    tmp_path: Path, first: list[str], second: list[str], columns: dict[str, list[Any]]
) -> None:
    def numbered(texts: list[str]) -> list[dict[str, Any]]:
        return [{"pk": {"S": text}, "n": {"N": text}} for text in texts]

    schema = learn_items([write_items(tmp_path / "first.json.gz", numbered(first))], ItemSchema.empty(PK))
    schema = learn_items([write_items(tmp_path / "second.json.gz", numbered(second))], schema)
    both = write_items(tmp_path / "both.json.gz", numbered([*first, *second]))
    rows = rows_of_items(both, schema)
    assert [column.name for column in schema.columns] == ["pk", *columns]
    assert {name: [row[name] for row in rows] for name in columns} == columns
    assert [Decimal(item["n"]["N"]) for item in items_of(both, schema)] == list(map(Decimal, [*first, *second]))


def test_a_number_never_goes_to_a_wider_column_because_another_value_needed_it(tmp_path: Path) -> None:
    """A value that fits decimal goes there also when only the number companion exists so far."""
    items = [{"pk": {"S": "a"}, "n": {"N": "1"}}]
    schema = learn_items([write_items(tmp_path / "1.json.gz", items)], ItemSchema.empty(PK))
    items = [{"pk": {"S": "b"}, "n": {"N": "1E20"}}]
    schema = learn_items([write_items(tmp_path / "2.json.gz", items)], schema)
    items = [{"pk": {"S": "c"}, "n": {"N": "0.5"}}]
    file = write_items(tmp_path / "3.json.gz", items)
    schema = learn_items([file], schema)
    assert [column.arm for column in schema.columns[1:]] == [Arm.INT64, Arm.NUMBER, Arm.DECIMAL]
    assert rows_of_items(file, schema)[0]["n__decimal"] == Decimal("0.5")
