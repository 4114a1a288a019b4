"""Numbers have one text each, as DynamoDB has it, and keys sort as the numbers they hold."""

from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.keys import KeyAttribute, KeySchema, first_key_after
from ddb_lake.embedded_aws.numbers import normalise, normalise_numbers

numbers = st.tuples(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(-130, 87)).map(
    lambda pair: Decimal(pair[0]).scaleb(pair[1])
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.00", "0"),
        ("007", "7"),
        ("+7", "7"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e3", "1000"),
        ("-12.5E-1", "-1.25"),
        ("1e125", "1" + "0" * 125),
        ("1e-20", "0.00000000000000000001"),
        ("1E-130", "0." + "0" * 129 + "1"),
        ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
        ("1" * 38 + "000", "1" * 38 + "000"),
    ],
)
def test_a_number_is_written_plainly(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be converted"),
        ("one", "cannot be converted"),
        ("NaN", "cannot be converted"),
        ("Infinity", "cannot be converted"),
        ("1_000", "cannot be converted"),
        (" 1", "cannot be converted"),
        ("١", "cannot be converted"),
        ("1e126", "overflow"),
        ("1e999999", "overflow"),
        ("1e-131", "underflow"),
        ("1" * 39, "38 significant digits"),
    ],
)
def test_what_is_no_number_of_dynamodb_is_refused(text: str, message: str) -> None:
    with pytest.raises(AwsError, match=message):
        normalise(text)


@settings(max_examples=200, derandomize=True)
@given(number=numbers)
def test_normalising_keeps_the_value(number: Decimal) -> None:
    if not number or number.adjusted() >= -130:
        assert Decimal(normalise(str(number))) == number
        assert normalise(normalise(str(number))) == normalise(str(number))


def test_an_attribute_that_is_called_n_is_no_number() -> None:
    item: Any = {"N": {"S": "01"}, "m": {"M": {"N": {"N": "01"}, "NS": {"NS": ["1.0", "2"]}}}}
    normalise_numbers(item)
    assert item == {"N": {"S": "01"}, "m": {"M": {"N": {"N": "1"}, "NS": {"NS": ["1", "2"]}}}}


def test_a_set_has_each_number_once() -> None:
    with pytest.raises(AwsError, match=r"Input collection \[1, 1.0\] contains duplicates"):
        normalise_numbers({"a": {"NS": ["1", "1.0"]}})


@settings(max_examples=200, derandomize=True)
@given(first=numbers, second=numbers)
def test_keys_of_one_partition_sort_by_their_numbers(first: Decimal, second: Decimal) -> None:
    if any(number and number.adjusted() < -130 for number in (first, second)):
        return
    schema = KeySchema(KeyAttribute("p", "S"), KeyAttribute("s", "N"))
    encoded = [schema.encode({"p": {"S": "p"}, "s": {"N": normalise(str(number))}}) for number in (first, second)]
    assert (encoded[0] < encoded[1], encoded[0] == encoded[1]) == (first < second, first == second)


@settings(max_examples=200, derandomize=True)
@given(keys=st.lists(st.text(min_size=1), unique=True), files=st.integers(1, 50))
def test_keys_in_their_order_fill_one_file_after_the_other(keys: list[str], files: int) -> None:
    schema = KeySchema(KeyAttribute("p", "S"))
    encoded = sorted(schema.encode({"p": {"S": key}}) for key in keys)
    *ends, last = [first_key_after(index, files) for index in range(files)]
    assert last is None
    indices = [sum(end is not None and key >= end for end in ends) for key in encoded]
    hashes = [int.from_bytes(key[:8]) for key in encoded]
    assert indices == [number * files >> 64 for number in hashes]
    assert len(set(encoded)) == len(keys)
