"""The compiled parts say the same as what they stand for: xxhash, Python's sorting, Decimal, base64."""

import base64
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lake.decoding import ItemSchema, MalformedRecord, learn_items
from ddb_lake.decoding.attributes import NUMBER_ARMS
from ddb_lake.decoding.kernel import compiling, hashing, scalars, text
from ddb_lake.decoding.kernel.names import ROOM
from ddb_lake.decoding.numbers import canonical_number, narrowest_arm, parse_number
from ddb_lake_tests.decoding.export_files import PK, items_of, write_items
from ddb_lake_tests.decoding.strategies import BASE64, NUMBERS, TEXT

MANY = settings(max_examples=400, deadline=None, derandomize=True)


def array(data: bytes) -> Any:
    return np.frombuffer(data + bytes(ROOM), np.uint8)


def quoted(words: list[str]) -> tuple[Any, list[int]]:
    """Return the words as canonical JSON strings one behind the other, and where their first bytes are."""
    texts = [orjson.dumps(word) for word in words]
    starts = np.cumsum([1, *(len(each) for each in texts)])[:-1]
    return array(b"".join(texts)), starts.tolist()


@MANY
@given(st.binary(max_size=200), st.integers(0, 7))
def test_the_hash_is_xxh64(data: bytes, start: int) -> None:
    whole = array(bytes(start) + data)
    digest = hashing.xxh64(whole, start, start + len(data))
    assert int(digest) % 2**64 == xxhash.xxh64_intdigest(data)


@MANY
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80))
def test_a_canonical_string_is_read_to_its_end_and_unescaped(word: str) -> None:
    data, (start,) = quoted([word])
    end, flags = text.scan(data, start)
    assert data[start:end].tobytes() == orjson.dumps(word)[1:-1]
    assert bool(flags & text.ESCAPED) == (b"\\" in orjson.dumps(word))
    out = np.zeros(1000, np.uint8)
    size = text.unescape(data, start, end, out, 0)
    assert out[:size].tobytes() == word.encode()


STRINGS = [
    # bytes after the opening quote, whether they are a canonical string
    (b'abc"', True),
    (b'"', True),
    (b"abc", False),
    (b'a\nb"', False),
    (b'a\x1fb"', False),
    (b'a\\nb"', True),
    (b'\\u001f"', True),
    (b'\\u001F"', False),
    (b'\\u0009"', False),
    (b'\\u0041"', False),
    (b'\\/"', False),
    (b'\\x"', False),
    (b'\\ud83d\\ude00"', False),
    ("é🦄\U0010ffff".encode() + b'"', True),
    (b'\xff"', False),
    (b'\xc0\xaf"', False),
    (b'\xe0\x80\xaf"', False),
    (b'\xed\xa0\x80"', False),
    (b'\xf4\x90\x80\x80"', False),
    (b'\xf0\x80\x80\x80"', False),
    (b'\xe2\x82"', False),
    (b'\x80"', False),
    (b"x" * 31 + b"\xc3" + b'"', False),
    (b"x" * 31 + "é".encode() + b'"', True),
]


@pytest.mark.parametrize(("data", "canonical"), STRINGS)
def test_what_is_no_canonical_string_is_unusual(data: bytes, canonical: bool) -> None:
    end, _ = text.scan(array(data), 0)
    assert end == (len(data) - 1 if canonical else text.UNUSUAL)


@MANY
@given(st.lists(TEXT, min_size=2, max_size=6))
def test_strings_are_compared_by_code_point(words: list[str]) -> None:
    data, starts = quoted(words)
    order = sorted(starts, key=functools.cmp_to_key(lambda a, b: text.compare(data, a, b)))
    assert [words[starts.index(start)] for start in order] == sorted(words)


@MANY
@given(NUMBERS)
def test_a_canonical_number_has_the_kind_of_its_narrowest_arm(number: str) -> None:
    canonical = canonical_number(number)
    end, kind, value = scalars.scan_number(array(canonical.encode() + b'"'), 0)
    assert end == len(canonical)
    assert NUMBER_ARMS[kind] == narrowest_arm(parse_number(number))
    assert kind != scalars.INT64 or value == int(canonical)
    if number != canonical:
        assert scalars.scan_number(array(number.encode() + b'"'), 0)[0] == text.UNUSUAL


@MANY
@given(st.text("0123456789.-+eE", max_size=45))
def test_what_is_no_number_is_unusual(number: str) -> None:
    end, _, _ = scalars.scan_number(array(number.encode() + b'"'), 0)
    try:
        canonical = canonical_number(number)
    except MalformedRecord:
        canonical = None
    assert (end == len(number)) == (number == canonical)
    assert end in (len(number), text.UNUSUAL)


@MANY
@given(st.text("AQg/+=09z ", max_size=12))
def test_base64_is_read_where_it_is_canonical(encoded: str) -> None:
    try:
        canonical = base64.b64encode(base64.b64decode(encoded, validate=True)).decode() == encoded
    except ValueError:
        canonical = False
    end = scalars.scan_base64(array(encoded.encode() + b'"'), 0)
    assert end == (len(encoded) if canonical else text.UNUSUAL)


@MANY
@given(st.lists(BASE64, min_size=2, max_size=6))
def test_base64_is_compared_by_its_bytes(words: list[str]) -> None:
    data, starts = quoted(words)
    order = sorted(starts, key=functools.cmp_to_key(lambda a, b: scalars.compare_base64(data, a, b)))
    decoded = [base64.b64decode(words[starts.index(start)]) for start in order]
    assert decoded == sorted(decoded)


def test_thousands_of_names_make_the_table_grow_within_a_block(tmp_path: Path) -> None:
    items = [{"pk": {"S": str(row)}, **{f"a{row}_{place}": {"N": "1"} for place in range(50)}} for row in range(60)]
    file = write_items(tmp_path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(PK))
    assert len(schema.columns) == 1 + 60 * 50
    assert items_of(file, schema) == items


def test_a_name_may_be_as_long_as_dynamodb_allows(tmp_path: Path) -> None:
    items = [{"pk": {"S": "1"}, "x" * 65_535: {"S": "a"}}, {"pk": {"S": "2"}, "x" * 65_534: {"S": "b"}}]
    file = write_items(tmp_path / "items.json.gz", items)
    assert items_of(file, learn_items([file], ItemSchema.empty(PK))) == items


def test_maps_and_sets_of_thousands_are_put_in_order(tmp_path: Path) -> None:
    names = [f"k{(7919 * number) % 10_007:05d}" for number in range(9_000)]
    value = {"M": {name: {"SS": [name, "z", "a"]} for name in names}}
    file = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}, "m": value}])
    (item,) = items_of(file, learn_items([file], ItemSchema.empty(PK)))
    assert list(item["m"]["M"]) == sorted(names)
    assert item["m"]["M"]["k00001"] == {"SS": ["a", "k00001", "z"]}


@pytest.mark.parametrize("count", [2, 7, 1000, 65_536])
def test_members_are_put_in_order_whatever_their_order_was(tmp_path: Path, count: int) -> None:
    half = (count + 1) // 2
    members = [f"{half * (place % 2) + place // 2:06}" for place in range(count)]
    item = {"pk": {"S": "1"}, "set": {"SS": members}, "map": {"M": {name: {"BOOL": True} for name in members}}}
    file = write_items(tmp_path / "items.json.gz", [item])
    (read,) = items_of(file, learn_items([file], ItemSchema.empty(PK)))
    assert read["set"]["SS"] == sorted(members)
    assert [*read["map"]["M"]] == sorted(members)


def test_kept_machine_code_is_not_used_once_a_function_that_it_calls_has_changed(tmp_path: Path) -> None:
    package = tmp_path / "lately_updated"
    package.mkdir()
    source = Path(compiling.__file__).read_text()
    (package / "compiling.py").write_text(source)
    (package / "outer.py").write_text(
        "from lately_updated.compiling import compiled\n"
        "from lately_updated.inner import inner\n\n\n"
        "@compiled\ndef outer(value):\n    return inner(value)\n"
    )
    told: list[str] = []
    for factor in (2, 3):
        (package / "inner.py").write_text(
            "from lately_updated.compiling import compiled\n\n\n"
            f"@compiled\ndef inner(value):\n    return {factor} * value\n"
        )
        script = "from lately_updated.outer import outer; print(outer(5))"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        told.append(done.stdout.strip())
    assert told == ["10", "15"]
