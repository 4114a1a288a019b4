"""Every DynamoDB number is kept exactly, in the narrowest column that its attribute allows."""

from decimal import Decimal, Inexact, Rounded
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lake.decoding import (
    Arm,
    AttributeRule,
    ItemSchema,
    Rules,
    TypePolicy,
    canonical_image,
    encode_item,
    learn_changes,
    learn_items,
    parse_hint,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import (
    PK,
    change_line,
    items_of,
    rows_of_changes,
    rows_of_items,
    write_items,
    write_lines,
)
from ddb_lake_tests.decoding.strategies import NUMBERS
from ddb_lake_tests.decoding.test_round_trip import PROFILE

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


def _written(sign: str, digits: str, zeros: str, exponent: int, plain: bool) -> str:
    text = f"{sign}{digits[0]}.{digits[1:]}{zeros}E{exponent}"
    return format(Decimal(text), "f") if plain else text


# Digits, the exponent of the first one, sign, and zeros at the end: every number that DynamoDB has, in every form.
ANY_NUMBER = st.one_of(
    st.builds(
        _written,
        st.sampled_from(["", "-"]),
        st.from_regex(r"\A[1-9][0-9]{0,37}\Z"),
        st.sampled_from(["0", "00", "0" * 90]),
        st.one_of(st.integers(-130, 125), st.integers(36, 41)),
        st.booleans(),
    ),
    st.sampled_from(["0", "-0", "0.00", "0E+90", "1E-130", "-1E-130", "1E+125", "1" + "0" * 37, "1" + "0" * 38]),
    st.just("9" * 38),
    st.just("9." + "9" * 37 + "E+125"),
)

RULES = [
    Rules(),
    Rules(types=TypePolicy.STRING),
    *(
        Rules(attributes={name: AttributeRule(hint=parse_hint(hint)) for name in ("n", "set", "list", "map")})
        for hint in ("json", "string", "int64", "decimal(38, 0)", "timestamp_s")
    ),
]


def read_by_boto3(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as boto3 reads it, without any leniency of the tests' own."""
    deserializer = TypeDeserializer()
    return {name: deserializer.deserialize(value) for name, value in item.items()}


@PROFILE
@given(numbers=st.lists(ANY_NUMBER, min_size=1, max_size=4, unique_by=Decimal), rules=st.sampled_from(RULES))
def test_boto3_reads_every_number_of_an_encoded_item(tmp_path: Path, numbers: list[str], rules: Rules) -> None:
    """As attribute, in sets, lists and maps, and as the key; in items and in changes."""
    key = (KeyAttribute("pk", "N", "HASH"), KeyAttribute("sk", "N", "RANGE"))
    items = [
        {
            "pk": {"N": number},
            "sk": {"N": numbers[0]},
            "n": {"N": number},
            "set": {"NS": numbers},
            "list": {"L": [{"N": number}, {"L": [{"NS": numbers}]}, {"M": {"N": {"N": number}}}]},
            "map": {"M": {"N": {"N": number}, "NS": {"NS": numbers}, "S": {"S": "1" + "0" * 40}}},
        }
        for number in numbers
    ]
    exact = [Decimal(number) for number in numbers]
    expected = [
        {
            "pk": number,
            "sk": exact[0],
            "n": number,
            "set": set(exact),
            "list": [number, [set(exact)], {"N": number}],
            "map": {"N": number, "NS": set(exact), "S": "1" + "0" * 40},
        }
        for number in exact
    ]
    file = write_items(tmp_path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(key, rules))
    assert [read_by_boto3(item) for item in items_of(file, schema)] == expected

    keys = [{name: item[name] for name in ("pk", "sk")} for item in items]
    changes = [change_line(names, item) for names, item in zip(keys, items, strict=True)]
    gone = [change_line(names, None) for names in keys]
    file = write_lines(tmp_path / "changes.json.gz", [*changes, *gone])
    schema = learn_changes([file], ItemSchema.empty(key, rules))
    rows = [read_by_boto3(encode_item(row, schema)) for row in rows_of_changes(file, schema)]
    assert rows == [*expected, *({name: item[name] for name in ("pk", "sk")} for item in expected)]


def test_only_numbers_that_boto3_refuses_are_written_with_an_exponent(tmp_path: Path) -> None:
    texts = ["1" + "0" * 37, "1" + "0" * 38, "-123" + "0" * 38, "0." + "0" * 50 + "1", "9" * 38 + "0" * 3]
    items = [{"pk": {"S": text}, "n": {"N": text}, "m": {"M": {"a": {"N": text}}}} for text in texts]
    file = write_items(tmp_path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(PK))
    written = [texts[0], "1E+38", "-1.23E+40", texts[3], "9." + "9" * 37 + "E+40"]
    assert items_of(file, schema) == [
        {"pk": {"S": text}, "n": {"N": number}, "m": {"M": {"a": {"N": number}}}}
        for text, number in zip(texts, written, strict=True)
    ]
    # The lake's columns, and all that is hashed, keep the plain digits.
    assert [row["n"] for row in rows_of_items(file, schema)] == texts
