"""Input that can't be decoded exactly is an error that names the object and the line."""

import gzip
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.decoding import (
    CorruptFile,
    DecodeError,
    ExportFile,
    ItemCountMismatch,
    ItemSchema,
    KeyMismatch,
    MalformedRecord,
    WrongExportKind,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import PK, change_line, item_line, write_lines

GOOD_ITEM = item_line({"pk": {"S": "good"}})
GOOD_CHANGE = change_line({"pk": {"S": "good"}}, {"pk": {"S": "good"}})

SCHEMA = learn_items([], ItemSchema.empty(PK))


def read_items(file: ExportFile) -> None:
    """Learn and decode; an error that decoding alone would find must be the same without learning."""
    schema = learn_items([file], SCHEMA)
    for _ in decode_items(file, schema, 0):
        pass


def read_changes(file: ExportFile) -> None:
    schema = learn_changes([file], SCHEMA)
    for _ in decode_changes(file, schema):
        pass


def value_line(value: Any) -> str:
    return json.dumps({"Item": {"pk": {"S": "bad"}, "a": value}})


BAD_VALUES: list[tuple[str, Any, str]] = [
    # what is bad, the value, what the message says
    ("unknown type tag", {"X": "1"}, "'X' is none of"),
    ("lower-case type tag", {"s": "1"}, "'s' is none of"),
    ("no type tag", {}, "one type tag"),
    ("two type tags", {"S": "1", "N": "1"}, r"\['N', 'S'\]"),
    ("a bare string", "text", "'text' is no attribute value"),
    ("a bare null", None, "None is no attribute value"),
    ("a bare array", [{"S": "1"}], "no attribute value"),
    ("S with a number", {"S": 1}, "an S holds text, not 1"),
    ("S with null", {"S": None}, "an S holds text, not None"),
    ("N with a JSON number", {"N": 1}, "1 is no number"),
    ("N with null", {"N": None}, "None is no number"),
    ("N with a word", {"N": "one"}, "'one' is no number"),
    ("N that is empty", {"N": ""}, "'' is no number"),
    ("N with a space", {"N": " 1"}, "' 1' is no number"),
    ("N with a line end", {"N": "1\n"}, "is no number"),
    ("N with other digits", {"N": "١"}, "is no number"),
    ("N with an underscore", {"N": "1_000"}, "is no number"),
    ("N that is NaN", {"N": "NaN"}, "'NaN' is no number"),
    ("N that is infinite", {"N": "-Infinity"}, "is no number"),
    ("N with 39 digits", {"N": "1" * 39}, "more than DynamoDB's 38 digits"),
    ("N too great", {"N": "1E126"}, "out of DynamoDB's range"),
    ("N too small", {"N": "1E-131"}, "out of DynamoDB's range"),
    ("N far too great", {"N": "1E99999999999999999999"}, "out of DynamoDB's range"),
    ("B with padding absent", {"B": "YQ"}, "'YQ' is not base64"),
    ("B with a space", {"B": "Y Q=="}, "is not base64"),
    ("B in the URL alphabet", {"B": "-_=="}, "is not base64"),
    ("B beyond ASCII", {"B": "é"}, "is not base64"),
    ("B with null", {"B": None}, "a B holds base64 text"),
    ("BOOL with text", {"BOOL": "true"}, "a BOOL holds true or false, not 'true'"),
    ("BOOL with a number", {"BOOL": 1}, "a BOOL holds true or false, not 1"),
    ("BOOL with null", {"BOOL": None}, "a BOOL holds true or false, not None"),
    ("NULL with false", {"NULL": False}, "a NULL holds true"),
    ("NULL with text", {"NULL": "true"}, "a NULL holds true"),
    ("L with an object", {"L": {"S": "1"}}, "an L holds a list"),
    ("M with a list", {"M": [{"S": "1"}]}, "an M holds an object"),
    ("SS with text", {"SS": "a"}, "a set .SS. holds a list"),
    ("SS without members", {"SS": []}, "at least one member"),
    ("SS with a member twice", {"SS": ["a", "a"]}, "a member twice"),
    ("SS with a number", {"SS": ["a", 1]}, "an S holds text, not 1"),
    ("NS with a number twice", {"NS": ["1", "1.0"]}, "a member twice"),
    ("NS with a word", {"NS": ["one"]}, "'one' is no number"),
    ("BS with bad base64", {"BS": ["YQ"]}, "is not base64"),
    ("bad value in a list", {"L": [{"S": "1"}, {"N": "x"}]}, "'x' is no number"),
    ("bad value in a map", {"M": {"S": "1"}}, "'1' is no attribute value"),
    ("two tags in a map in a list", {"L": [{"M": {"x": {"S": "", "B": ""}}}]}, "one type tag"),
]


@pytest.mark.parametrize(
    ("value", "message"), [case[1:] for case in BAD_VALUES], ids=[case[0] for case in BAD_VALUES]
)
def test_a_bad_value_is_an_error_at_its_line(tmp_path: Path, value: Any, message: str) -> None:
    bad = value_line(value)
    image = json.loads(bad)["Item"]
    items = write_lines(tmp_path / "items.json.gz", [GOOD_ITEM, GOOD_ITEM, bad, GOOD_ITEM])
    changes = write_lines(tmp_path / "changes.json.gz", [GOOD_CHANGE, change_line({"pk": image["pk"]}, image)])
    for read, file, line in ((read_items, items, 3), (read_changes, changes, 2)):
        with pytest.raises(MalformedRecord, match=message) as error:
            read(file)
        assert (error.value.name, error.value.line) == (file.name, line)
        assert str(error.value).startswith(f"{file.name}, line {line}: ")


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"S": "deep"}
    for level in range(levels):
        value = {"L": [value]} if level % 2 else {"M": {"x": value}}
    return value


def test_values_nest_as_deep_as_dynamodb_allows_and_not_without_end(tmp_path: Path) -> None:
    read_items(write_lines(tmp_path / "items.json.gz", [value_line(nested(32))]))
    with pytest.raises(MalformedRecord, match="nested") as error:
        read_items(write_lines(tmp_path / "deep.json.gz", [GOOD_ITEM, value_line(nested(100))]))
    assert error.value.line == 2


Reader = Callable[[ExportFile], None]

BAD_LINES: list[tuple[str, Reader, str, type[DecodeError], str]] = [
    # what is bad, how it is read, the line, its error, what the message says
    ("no JSON", read_items, '{"Item":', MalformedRecord, "not JSON"),
    ("no JSON", read_changes, "hello", MalformedRecord, "not JSON"),
    ("two records", read_items, GOOD_ITEM * 2, MalformedRecord, "not JSON"),
    ("blank", read_items, "", MalformedRecord, "blank"),
    ("blank", read_changes, "  ", MalformedRecord, "blank"),
    ("array", read_items, "[1]", MalformedRecord, "not a JSON object"),
    ("array", read_changes, "[1]", MalformedRecord, "not a JSON object"),
    ("null", read_items, "null", MalformedRecord, "not a JSON object"),
    ("lone surrogate", read_items, '{"Item":{"pk":{"S":"\\ud83d"}}}', MalformedRecord, "surrogate"),
    ("empty record", read_items, "{}", MalformedRecord, "member Item"),
    ("item is no object", read_items, '{"Item":[]}', MalformedRecord, "Item is to be an object"),
    ("second member", read_items, '{"Item":{"pk":{"S":"1"}},"More":1}', MalformedRecord, "'More'"),
    ("incremental", read_items, GOOD_CHANGE, WrongExportKind, "a full export was expected"),
    ("full", read_changes, GOOD_ITEM, WrongExportKind, "an incremental export was expected"),
    ("key attribute absent", read_items, item_line({"a": {"S": "1"}}), KeyMismatch, "'pk' is to be of type S"),
    ("key of another type", read_items, item_line({"pk": {"N": "1"}}), KeyMismatch, "another table"),
    ("key is no value", read_items, '{"Item":{"pk":"1"}}', KeyMismatch, "'pk' is to be of type S"),
    ("key is no text", read_items, '{"Item":{"pk":{"S":1}}}', MalformedRecord, "an S holds text"),
    ("key with two types", read_items, '{"Item":{"pk":{"S":"1","N":"1"}}}', MalformedRecord, "one type tag"),
    ("Keys absent", read_changes, '{"Metadata":{"WriteTimestampMicros":{"N":"1"}}}', MalformedRecord, "Keys is to"),
    ("Keys of another table", read_changes, change_line({"x": {"S": "1"}}, None), KeyMismatch, r"\['x'\]"),
    ("Keys of another type", read_changes, change_line({"pk": {"B": ""}}, None), KeyMismatch, "another table"),
    (
        "Keys with more than the key",
        read_changes,
        change_line({"pk": {"S": "1"}, "x": {"S": "1"}}, None),
        KeyMismatch,
        "'x'",
    ),
    (
        "image of another key",
        read_changes,
        change_line({"pk": {"S": "1"}}, {"pk": {"S": "2"}}),
        KeyMismatch,
        "not the one in Keys",
    ),
    ("image without key", read_changes, change_line({"pk": {"S": "1"}}, {}), KeyMismatch, "not the one in Keys"),
    ("unknown member", read_changes, GOOD_CHANGE[:-1] + ',"Extra":1}', MalformedRecord, "'Extra'"),
    ("old image no object", read_changes, GOOD_CHANGE[:-1] + ',"OldImage":1}', MalformedRecord, "OldImage"),
    (
        "new image null",
        read_changes,
        change_line({"pk": {"S": "1"}}, None)[:-1] + ',"NewImage":null}',
        MalformedRecord,
        "NewImage",
    ),
    (
        "no write time",
        read_changes,
        '{"Metadata":{},"Keys":{"pk":{"S":"1"}}}',
        MalformedRecord,
        "WriteTimestampMicros",
    ),
    ("no metadata", read_changes, '{"Keys":{"pk":{"S":"1"}}}', MalformedRecord, "Metadata"),
    (
        "write time in other words",
        read_changes,
        '{"Metadata":{"WriteTimestampMicros":{"N":"1.7E15"}},"Keys":{"pk":{"S":"1"}}}',
        MalformedRecord,
        "microseconds",
    ),
    (
        "write time as a JSON number",
        read_changes,
        '{"Metadata":{"WriteTimestampMicros":1716791050804459},"Keys":{"pk":{"S":"1"}}}',
        MalformedRecord,
        "microseconds",
    ),
]


@pytest.mark.parametrize(
    ("read", "line", "kind", "message"), [case[1:] for case in BAD_LINES], ids=[case[0] for case in BAD_LINES]
)
def test_a_bad_line_is_an_error_at_that_line(
    tmp_path: Path, read: Reader, line: str, kind: type[DecodeError], message: str
) -> None:
    good = GOOD_ITEM if read is read_items else GOOD_CHANGE
    file = write_lines(tmp_path / "bad.json.gz", [good, line, good])
    with pytest.raises(kind, match=message) as error:
        read(file)
    assert (error.value.name, error.value.line) == (file.name, 2)
    assert type(error.value) is kind


def test_bytes_that_are_not_utf8_are_an_error_at_their_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.json.gz"
    path.write_bytes(gzip.compress(f"{GOOD_ITEM}\n".encode() + b'{"Item":{"pk":{"S":"\xff"}}}\n'))
    with pytest.raises(MalformedRecord, match="UTF-8") as error:
        read_items(ExportFile("s3://bucket/bad", path, 2))
    assert error.value.line == 2


WHOLE = gzip.compress(f"{GOOD_ITEM}\n".encode() * 3, mtime=0)

DAMAGE = [
    ("no bytes at all", b"", 1),
    ("a header only", WHOLE[:10], 1),
    ("half a header", WHOLE[:5], 1),
    ("cut in the data", WHOLE[:-12], 1),
    ("cut in the checksum", WHOLE[:-6], 1),
    ("cut in the length", WHOLE[:-1], 1),
    ("no gzip", f"{GOOD_ITEM}\n".encode() * 3, 1),
    ("wrong checksum", WHOLE[:-8] + b"\1\2\3\4" + WHOLE[-4:], 1),
    ("wrong length", WHOLE[:-4] + b"\1\0\0\0", 1),
    ("broken data", WHOLE[:12] + b"\xff" * (len(WHOLE) - 20) + WHOLE[-8:], 1),
    ("something after the end", WHOLE + b"hello", 4),
    ("a second member that is cut", WHOLE + WHOLE[:-3], 4),
]


@pytest.mark.parametrize(("data", "line"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_file_is_an_error_at_the_first_line_that_is_lost(tmp_path: Path, data: bytes, line: int) -> None:
    path = tmp_path / "bad.json.gz"
    path.write_bytes(data)
    file = ExportFile("s3://bucket/bad", path, 3)
    for read in (lambda: read_items(file), lambda: list(decode_items(file, SCHEMA, 0))):
        with pytest.raises(CorruptFile, match="s3://bucket/bad, line") as error:
            read()
        assert 1 <= (error.value.line or 0) <= line


def test_damage_far_into_a_file_is_told_with_the_line_that_it_hit(tmp_path: Path) -> None:
    items = [item_line({"pk": {"S": f"{number:064x}"}, "a": {"S": str(number**40)}}) for number in range(60_000)]
    file = write_lines(tmp_path / "long.json.gz", items)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile) as error:
        learn_items([file], SCHEMA)
    assert 20_000 < (error.value.line or 0) < 40_000


@pytest.mark.parametrize("counted", [0, 1, 3])
def test_a_file_with_more_or_fewer_lines_than_its_manifest_says_is_an_error(tmp_path: Path, counted: int) -> None:
    for line, read in ((GOOD_ITEM, read_items), (GOOD_CHANGE, read_changes)):
        file = write_lines(tmp_path / "file.json.gz", [line, line])
        with pytest.raises(ItemCountMismatch, match=f"2 lines .* {counted}") as error:
            read(ExportFile(file.name, file.path, counted))
        assert (error.value.name, error.value.line) == (file.name, 2)


def test_an_empty_file_that_should_not_be_is_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "empty.json.gz", [])
    with pytest.raises(ItemCountMismatch, match=r"0 lines .* 7"):
        list(decode_items(ExportFile(file.name, file.path, 7), SCHEMA, 0))


def test_no_frame_holds_a_line_at_or_after_a_bad_one(tmp_path: Path) -> None:
    """A caller that counts what it got before the error never counts a bad record."""
    lines = [item_line({"pk": {"S": str(number)}, "a": {"S": "x" * 1_000}}) for number in range(15_000)]
    lines[12_000] = value_line({"S": 1})
    file = write_lines(tmp_path / "file.json.gz", lines)
    schema = learn_items([write_lines(tmp_path / "good.json.gz", lines[:1])], SCHEMA)
    frames = decode_items(file, schema, 0)
    with pytest.raises(DecodeError) as error:
        deque(frames, maxlen=0)
    assert 0 < frames.tally.lines <= 12_000
    assert error.value.line == 12_001


def test_the_first_of_two_bad_lines_is_told_and_nothing_behind_it_is_yielded(tmp_path: Path) -> None:
    lines = [item_line({"pk": {"S": str(number)}, "a": {"S": "x" * 1_000}}) for number in range(15_000)]
    schema = learn_items([write_lines(tmp_path / "good.json.gz", lines[:1])], SCHEMA)
    lines[10] = lines[9_000] = value_line({"S": 1})
    frames = decode_items(write_lines(tmp_path / "file.json.gz", lines), schema, 0)
    with pytest.raises(DecodeError) as error:
        deque(frames, maxlen=0)
    assert (error.value.line, frames.tally.lines) == (11, 0)


def test_the_key_may_be_written_in_two_notations(tmp_path: Path) -> None:
    key = (KeyAttribute("k", "N", "HASH"),)
    file = write_lines(tmp_path / "changes.json.gz", [change_line({"k": {"N": "1.0"}}, {"k": {"N": "1"}})])
    (frame,) = decode_changes(file, learn_changes([file], ItemSchema.empty(key)))
    assert frame["k"].to_list() == [1]


def test_a_row_with_two_values_of_one_attribute_is_no_item(tmp_path: Path) -> None:
    lines = [item_line({"pk": {"S": "1"}, "a": {"S": "1"}}), item_line({"pk": {"S": "2"}, "a": {"N": "1"}})]
    schema = learn_items([write_lines(tmp_path / "items.json.gz", lines)], SCHEMA)
    with pytest.raises(DecodeError, match="second value") as error:
        encode_item({"pk": "1", "a": "text", "a__int64": 1}, schema)
    assert error.value.name == "a__int64"


def test_another_tables_full_export_is_told_before_it_adds_a_column(tmp_path: Path) -> None:
    other = ItemSchema.empty((KeyAttribute("id", "N", "HASH"), KeyAttribute("at", "S", "RANGE")))
    file = write_lines(tmp_path / "items.json.gz", [GOOD_ITEM])
    with pytest.raises(KeyMismatch, match="another table") as error:
        learn_items([file], other)
    assert error.value.line == 1
