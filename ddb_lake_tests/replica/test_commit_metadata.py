"""Commits of the first format are read, later ones refused, and what was forgotten makes no row wrong."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.replica import coverage
from ddb_lake.replica.account_code import Coded, encode_coded
from ddb_lake.replica.coverage import Account, decode
from ddb_lake.replica.delta_log import commit_path
from ddb_lake.replica.errors import DamagedLog, NotDecoded, UnsupportedTable
from ddb_lake.replica.forgetting import forget
from ddb_lake.replica.location import Location
from ddb_lake.replica.spans import Spans, encode_spans, export_name
from ddb_lake.windows import Window, format_time
from ddb_lake_tests.replica.histories import (
    Change,
    Key,
    Lake,
    delete,
    exported,
    foreign_commit,
    lake,
    minute,
    put,
    state,
    window,
)


def first_format(account: Account) -> str:
    """What commits carried before: every run of exports as ISO times."""
    exports = account.spans.all()
    counts = {each: account.contents.of(each) for each in exports}
    bootstrap = account.bootstrap
    return json.dumps(
        {
            "ddb_lake": {
                "table_id": account.table_id,
                "bootstrap": bootstrap and {"export_id": bootstrap.export_id, "time": format_time(bootstrap.time)},
                "exports": encode_spans(account.spans),
                "unknown": [[format_time(each.start), format_time(each.end)] for each in account.unknown],
                "empty": encode_spans(Spans().adding(each for each, count in counts.items() if not count)),
                "quarters": {export_name(each): count for each, count in counts.items() if count > 1},
                "commit": {"did": "apply"},
            }
        }
    )


def rewrite(location: Location, without: tuple[str, ...] = (), **more: object) -> None:
    """Have all commits of a table carry the first format, perhaps without some of its parts, or with others."""
    for path in sorted((Path(location.uri) / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for info in (action["commitInfo"] for action in actions if "commitInfo" in action):
            account = decode(json.loads(info["userMetadata"])["ddb_lake"])
            told = json.loads(first_format(account))["ddb_lake"]
            told = {name: value for name, value in told.items() if name not in without} | more
            info["userMetadata"] = json.dumps({"ddb_lake": told})
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))


ITEMS = {Key("there"): "0"}
REMOVED = [put("k", 5, "1"), put("l", 20, "1"), put("there", 35, "1")]


@pytest.fixture
def tables(tmp_path: Path) -> Lake:
    made = lake(tmp_path)
    made.bootstrap(ITEMS)
    return made


def take(tables: Lake, history: list[Change], *spans: Window) -> None:
    for span in spans:
        tables.decode(span, exported(history, span, ITEMS))
        tables.replica.apply(span)


def newest_metadata(location: Location) -> dict[str, object]:
    return json.loads(DeltaTable(location.uri).history(1)[0]["userMetadata"])["ddb_lake"]


def test_a_lake_of_the_first_format_goes_on_in_the_new_one(tables: Lake):
    take(tables, REMOVED, window(0, 30), window(30, 60), window(60, 75), window(90, 105))
    held = tables.items()
    before = tables.replica.coverage(), tables.replica.spans(), tables.log.spans(), tables.log.snapshot().account
    for location in (tables.replica.location, tables.log.location):
        rewrite(location)
        assert "format" not in newest_metadata(location)
    assert before == (
        tables.replica.coverage(),
        tables.replica.spans(),
        tables.log.spans(),
        tables.log.snapshot().account,
    )
    assert tables.items() == held
    take(tables, REMOVED, window(75, 90))
    for location in (tables.replica.location, tables.log.location):
        assert newest_metadata(location)["format"] == 2
    assert tables.replica.coverage() == (window(0, 105),)
    assert tables.replica.spans() == (*before[1][:3], window(75, 90), window(90, 105))


def test_a_log_that_has_not_told_which_exports_are_empty_is_asked_to_decode_those_again(tables: Lake):
    take(tables, REMOVED, window(0, 30), window(30, 60))
    tables.decode(window(60, 75), [])
    rewrite(tables.log.location, without=("empty", "quarters"))
    held = tables.items()
    DeltaTable(tables.log.location.uri).delete("_window < '2026-11-24-18:30'")
    with pytest.raises(NotDecoded, match="no longer has all changes"):
        tables.replica.apply(window(60, 75))
    take(tables, REMOVED, window(60, 75))
    tables.decode(window(15, 45), exported(REMOVED, window(15, 45), ITEMS))
    with pytest.raises(NotDecoded, match=r"no longer has all changes of the exports of \[2026-11-24T18:00"):
        tables.replica.apply(window(15, 45))
    assert tables.items() == held
    tables.decode(window(0, 30), exported(REMOVED, window(0, 30), ITEMS))
    tables.replica.apply(window(15, 45))
    assert tables.items() == held


def test_a_table_that_a_later_version_has_written_is_refused(tables: Lake):
    take(tables, REMOVED, window(0, 30))
    rewrite(tables.replica.location, format=3)
    version = DeltaTable(tables.replica.location.uri).version()
    for attempt in (tables.replica.coverage, lambda: tables.replica.apply(window(0, 30))):
        with pytest.raises(UnsupportedTable, match=f"replica at version {version}: .* format 3, which"):
            attempt()


def test_an_account_that_was_damaged_is_not_guessed(tables: Lake):
    take(tables, REMOVED, window(0, 30))
    version = DeltaTable(tables.replica.location.uri).version()
    path = Path(tables.replica.location.uri) / commit_path(version)
    actions = path.read_text()
    code = str(newest_metadata(tables.replica.location)["state"])
    path.write_text(actions.replace(code, code[:20] + code[21:]))
    with pytest.raises(DamagedLog, match=f"replica at version {version}: its account can't be read"):
        tables.replica.coverage()


def forget_until(patch: pytest.MonkeyPatch, time: datetime) -> None:
    """Have the next commits forget which exports ended until a time, as if there was no room for them."""

    def encode_within(coded: Coded, limit: int, where: str) -> tuple[Coded, str]:
        kept = forget(coded, time)
        return kept, encode_coded(kept)

    patch.setattr(coverage, "encode_within", encode_within)


def test_old_exports_are_named_by_the_rows_and_empty_ones_are_decoded_again(
    tables: Lake, monkeypatch: pytest.MonkeyPatch
):
    history = [put("k", 5, "1"), delete("k", 65), put("l", 95, "1")]
    take(tables, history, window(0, 15), window(30, 45), window(45, 60), window(60, 75), window(75, 90))
    with monkeypatch.context() as patch:
        forget_until(patch, minute(105))
        tables.decode(window(90, 105), history[2:])
    tables.replica.apply(window(90, 105))
    held = ITEMS | {Key("l"): "1"}
    assert tables.items() == held
    assert tables.log.snapshot().account.spans.runs == ()
    assert tables.log.coverage() == tables.replica.coverage() == (window(0, 15), window(30, 105))
    assert tables.log.spans() == (window(0, 15), window(60, 75), window(90, 105))
    # A window that comes late: an export after it of which the log has no row may have had a delete.
    tables.decode(window(15, 30), [put("k", 20, "2")])
    with pytest.raises(NotDecoded, match=r"no longer has the changes of \[2026-11-24T18:30:00Z, 2026-11-24T19:00"):
        tables.replica.apply(window(15, 30))
    assert tables.items() == held
    for span in (window(30, 45), window(45, 60), window(75, 90)):
        tables.decode(span, [])
    tables.replica.apply(window(15, 30))
    assert tables.items() == held
    assert tables.replica.coverage() == (window(0, 105),)


def remove_quarter(tables: Lake, minutes: int, export: Window | None = None) -> None:
    """Remove a partition of the change log, perhaps only an export's part of it, as people do who archive."""
    partition = f"_window = '{minute(minutes):%Y-%m-%d-%H:%M}'"
    DeltaTable(tables.log.location.uri).delete(
        partition if export is None else f"{partition} AND _export = '{export_name(export)}'"
    )


LATE = window(30, 70)


def with_a_part_of_a_forgotten_export(tables: Lake, patch: pytest.MonkeyPatch) -> list[Change]:
    """Have the log keep only the first quarter-hour of a wide export that it has forgotten, and decode a late one."""
    history = [put("k", 5, "early"), put("live", 50, "2")]
    take(tables, history, window(0, 60))
    with patch.context() as forgetting:
        forget_until(forgetting, minute(60))
        take(tables, history, window(60, 75))
    assert window(0, 60) not in tables.log.snapshot().account.spans
    remove_quarter(tables, 45)
    tables.decode(LATE, exported(history, LATE, ITEMS))
    return history


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_forgotten_export_that_has_lost_a_part_of_its_rows_is_not_taken_for_whole(
    tables: Lake, monkeypatch: pytest.MonkeyPatch, *, checkpoint: bool
):
    history = with_a_part_of_a_forgotten_export(tables, monkeypatch)
    if checkpoint:
        for _ in range(2):  # the second one is made of the first
            DeltaTable(tables.log.location.uri).create_checkpoint()
            foreign_commit(tables.log.location)
    held = tables.items()
    assert held[Key("live")] == "2"
    for attempt in (lambda: tables.replica.apply(LATE), lambda: tables.log.read(LATE)):
        with pytest.raises(NotDecoded, match=r"no longer has all changes of the exports of \[2026-11-24T18:00:00Z, "):
            attempt()
    assert tables.items() == held
    # Decoded again it is whole, even if the account has no room for it.
    with monkeypatch.context() as patch:
        forget_until(patch, minute(60))
        tables.decode(window(0, 60), exported(history, window(0, 60), ITEMS))
    assert window(0, 60) not in tables.log.snapshot().account.spans
    tables.replica.apply(LATE)
    assert tables.items() == held


def test_a_forgotten_export_whose_files_do_not_record_its_parts_is_decoded_again(
    tables: Lake, monkeypatch: pytest.MonkeyPatch
):
    history = [put("k", 5, "early"), put("live", 50, "2")]
    take(tables, history, window(0, 60))
    with monkeypatch.context() as patch:
        forget_until(patch, minute(60))
        take(tables, history, window(60, 75))
    for path in sorted((Path(tables.log.location.uri) / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        for action in actions:
            action.get("add", {}).pop("tags", None)  # as earlier versions wrote it
        path.write_text("".join(json.dumps(action) + "\n" for action in actions))
    held = tables.items()
    tables.decode(LATE, exported(history, LATE, ITEMS))
    with pytest.raises(
        NotDecoded, match=r"does not record in how many quarter-hours the exports of \[2026-11-24T18:00:00Z, .* again"
    ):
        tables.replica.apply(LATE)
    assert tables.items() == held
    with monkeypatch.context() as patch:
        forget_until(patch, minute(60))
        tables.decode(window(0, 60), exported(history, window(0, 60), ITEMS))
    tables.replica.apply(LATE)
    assert tables.items() == held


@settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_whatever_was_forgotten_a_window_is_applied_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    drawn = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "there"]), st.integers(0, 29), st.booleans()),
            max_size=14,
            unique_by=lambda write: write[:2],
        )
    )
    history = [
        put(key, 2 * at + 1, f"{number}") if is_put else delete(key, 2 * at + 1)
        for number, (key, at, is_put) in enumerate(drawn)
    ]
    bounds = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1])
    spans = [window(5 * start, 5 * end) for start, end in data.draw(st.lists(bounds, max_size=4))]
    whole = data.draw(
        st.sampled_from([[window(0, 60)], [window(0, 30), window(30, 60)], [window(0, 5), window(5, 60)]])
    )
    tables = lake(tmp_path_factory.mktemp("lake"))
    tables.bootstrap(ITEMS)
    for span in data.draw(st.permutations([*spans, *whole])):
        with pytest.MonkeyPatch.context() as patch:
            forget_until(patch, minute(5 * data.draw(st.integers(0, 12))))
            tables.decode(span, exported(history, span, ITEMS))
            with suppress(NotDecoded):
                tables.replica.apply(span)
        if data.draw(st.booleans()):
            export = data.draw(st.sampled_from(sorted(tables.log.spans()) or [span]))
            remove_quarter(tables, 15 * data.draw(st.integers(0, 3)), export)
    for span in [*spans, *whole]:
        tables.decode(span, exported(history, span, ITEMS))
    for span in whole:
        tables.replica.apply(span)
    assert tables.items() == state(ITEMS, history, minute(60))
    assert tables.replica.coverage() == (window(0, 60),)
