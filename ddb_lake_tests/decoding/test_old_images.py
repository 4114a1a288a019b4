"""Old images show no more of an item than lake.yaml lets into the lake."""

import json
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.decoding import OLD_IMAGE, ItemSchema, Rules, Selection, decode_changes, learn_changes
from ddb_lake_tests.decoding.export_files import PK, change_line, write_lines

HOME = {"M": {"street": {"S": "y"}, "n": {"N": "1"}}}
IMAGE: dict[str, Any] = {"pk": {"S": "1"}, "a": {"S": "x"}, "ssn": {"S": "123"}, "home": HOME}


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection(), IMAGE),
        (Selection(drop=(("ssn",),)), {name: IMAGE[name] for name in ("pk", "a", "home")}),
        (Selection(keep=(("a",),)), {name: IMAGE[name] for name in ("pk", "a")}),
        (Selection(drop=(("home", "street"),)), {**IMAGE, "home": {"M": {"n": {"N": "1"}}}}),
    ],
    ids=["all", "drop", "keep", "drop a part"],
)
def test_what_is_left_out_is_in_no_old_image(tmp_path: Path, selection: Selection, left: dict[str, Any]) -> None:
    key = {"pk": {"S": "1"}}
    lines = [change_line(key, key, old=IMAGE), change_line(key, None, old=IMAGE), change_line(key, IMAGE)]
    file = write_lines(tmp_path / "changes.json.gz", lines)
    schema = learn_changes([file], ItemSchema.empty(PK, Rules(selection=selection)))
    (frame,) = decode_changes(file, schema, old_images=True)
    assert [text and json.loads(text) for text in frame[OLD_IMAGE]] == [left, left, None]
