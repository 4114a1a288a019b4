"""What is covered is told by the commits themselves, and after the log's cleanup never more than the truth."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ddb_lake.replica import Location
from ddb_lake.replica.errors import UnclearRestore, WrongSourceTable
from ddb_lake.windows import Window
from ddb_lake_tests.replica.histories import (
    TABLE_ID,
    Key,
    Lake,
    T,
    delete,
    foreign_commit,
    forget_commits,
    lake,
    put,
    window,
)


def apply(tables: Lake, *spans: Window) -> None:
    for span in spans:
        tables.decode(span, [])
        tables.replica.apply(span)


@pytest.mark.parametrize(
    ("spans", "covered"),
    [
        ([window(0, 15)], [window(0, 15)]),
        ([window(0, 15), window(15, 30)], [window(0, 30)]),
        ([window(15, 30), window(0, 15)], [window(0, 30)]),
        ([window(0, 15), window(30, 45)], [window(0, 15), window(30, 45)]),
        ([window(30, 45), window(0, 15), window(15, 30)], [window(0, 45)]),
        ([window(0, 30), window(15, 45), window(0, 15)], [window(0, 45)]),
        ([window(-30, -15)], []),
        ([window(-15, 0), window(0, 15)], [window(0, 15)]),
    ],
    ids=lambda spans: " ".join(map(str, spans)) or "nothing",
)
def test_coverage_is_the_union_of_what_was_applied_since_the_bootstrap(
    tmp_path: Path, spans: list[Window], covered: list[Window]
):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, *spans)
    assert list(lake(tmp_path).replica.coverage()) == covered


def test_the_log_knows_its_own_coverage(tmp_path: Path):
    tables = lake(tmp_path)
    for span in (window(30, 45), window(-15, 0), window(15, 30)):
        tables.decode(span, [])
    assert lake(tmp_path).log.coverage() == (window(-15, 0), window(15, 45))


def test_coverage_is_found_below_any_number_of_others_commits(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, window(0, 15), window(30, 45))
    for _ in range(40):
        foreign_commit(tables.replica.location)
    assert tables.replica.coverage() == (window(0, 15), window(30, 45))
    assert tables.replica.bootstrap_time() == T
    apply(tables, window(15, 30))
    assert tables.replica.coverage() == (window(0, 45),)


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([], []),
        ([window(0, 15), window(15, 30)], [window(0, 30)]),
        ([window(0, 15), window(30, 45)], [window(0, 15)]),
        ([window(15, 30)], []),
    ],
    ids=["no window", "no hole", "a hole", "a hole at once"],
)
def test_after_the_cleanup_of_all_our_commits_the_gapless_stretch_is_left(
    tmp_path: Path, spans: list[Window], left: list[Window]
):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, *spans)
    forget_commits(tables.replica.location)
    assert list(tables.replica.coverage()) == left
    assert tables.replica.bootstrap_time() == T


def test_after_the_cleanup_the_next_window_adds_to_what_is_left(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, window(0, 15))
    forget_commits(tables.replica.location)
    apply(tables, window(15, 30))
    assert tables.replica.coverage() == (window(0, 30),)


def test_after_the_cleanup_the_same_bootstrap_still_keeps_the_windows(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    forget_commits(tables.replica.location)
    assert tables.replica.commit_bootstrap("01-export").outcome == "already_committed"
    assert tables.items() == {Key("a"): "1"}


def test_after_the_cleanup_applying_the_forgotten_windows_again_ends_in_the_same_state(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1"), put("b", 1, "1")])
    tables.decode(window(15, 30), [put("a", 20, "2"), delete("b", 20)])
    tables.replica.apply(window(15, 30))
    forget_commits(tables.replica.location)
    assert tables.replica.coverage() == ()
    for span in (window(0, 15), window(15, 30)):
        tables.replica.apply(span)
    assert tables.items() == {Key("a"): "2"}
    assert tables.replica.coverage() == (window(0, 30),)


def test_after_the_cleanup_the_log_tells_its_first_stretch(tmp_path: Path):
    tables = lake(tmp_path)
    for span in (window(0, 15), window(15, 30), window(45, 60)):
        tables.decode(span, [])
    forget_commits(tables.log.location)
    assert tables.log.coverage() == (window(0, 30),)


def test_after_the_cleanup_another_source_tables_id_is_still_refused(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    forget_commits(tables.replica.location)
    with pytest.raises(WrongSourceTable, match="no commit that tells of source table another-id"):
        lake(tmp_path, "another-id").replica.coverage()


def test_after_a_re_created_tables_bootstrap_and_the_cleanup_the_old_id_is_refused(tmp_path: Path):
    old = lake(tmp_path, "old-id")
    old.bootstrap({Key("a"): "0"})
    new = lake(tmp_path / "new", "new-id")
    replica = type(old.replica)(old.replica.location, "new-id", new.log)
    new.log.add_columns(old.log.columns())
    replica.stage_bootstrap("02", T, old.log.columns(), [])
    replica.commit_bootstrap("02")
    forget_commits(replica.location)
    assert replica.bootstrap_time() == T
    with pytest.raises(WrongSourceTable, match="old-id"):
        old.replica.coverage()


@pytest.mark.parametrize("table", ["replica", "log"])
def test_a_commit_tells_people_what_it_did(tmp_path: Path, table: str):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, window(0, 15))
    location = {"replica": tables.replica.location, "log": tables.log.location}[table]
    told = json.loads(DeltaTable(location.uri).history(1)[0]["userMetadata"])["ddb_lake"]
    assert told["table_id"] == TABLE_ID
    assert told["covered"] == ["2026-11-24T18:00:00Z", "2026-11-24T18:15:00Z"]
    assert told["holes"] == 0
    assert told["commit"]["exports"] == [["2026-11-24T18:00:00Z", "2026-11-24T18:15:00Z", 1]]
    assert told["commit"]["did"] == {"replica": "apply", "log": "replace"}[table]


def test_every_commit_of_ours_writes_the_same_app_transactions(tmp_path: Path):
    """Delta then refuses two of them at once by itself, whatever files they touch."""
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    apply(tables, window(0, 15), window(15, 30))

    def transactions(location: Location) -> list[set[str]]:
        commits = sorted((Path(location.uri) / "_delta_log").glob("*.json"))
        actions = [[json.loads(line) for line in path.read_text().splitlines()] for path in commits]
        return [{each["txn"]["appId"] for each in commit if "txn" in each} for commit in actions]

    replica, log = transactions(tables.replica.location), transactions(tables.log.location)
    assert set(map(frozenset, replica)) == {
        frozenset({f"ddb_lake/{TABLE_ID}/bootstrap", f"ddb_lake/{TABLE_ID}/covered_until"})
    }
    assert set(map(frozenset, log)) == {
        frozenset({f"ddb_lake/{TABLE_ID}/covered_from", f"ddb_lake/{TABLE_ID}/covered_until"})
    }


def test_tables_checkpoint_themselves_so_that_opening_stays_quick(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    for _ in range(51):
        tables.replica.apply(window(0, 15))
    assert list((Path(tables.replica.location.uri) / "_delta_log").glob("*.checkpoint.parquet"))
    assert tables.items() == {Key("a"): "1"}
    assert tables.replica.coverage() == (window(0, 15),)


def three_windows(folder: Path) -> Lake:
    tables = lake(folder)
    tables.bootstrap({Key("a"): "0"})
    for number in range(3):
        span = window(15 * number, 15 * number + 15)
        tables.decode(span, [put("a", 15 * number, str(number + 1))])
        tables.replica.apply(span)
    return tables


def test_a_table_that_somebody_restored_covers_what_it_covered_then(tmp_path: Path):
    tables = three_windows(tmp_path)
    DeltaTable(tables.replica.location.uri).restore(1)
    foreign_commit(tables.replica.location)
    assert tables.items() == {Key("a"): "1"}
    assert tables.replica.coverage() == (window(0, 15),)
    for span in (window(30, 45), window(15, 30)):
        tables.replica.apply(span)
    assert tables.items() == {Key("a"): "3"}
    assert tables.replica.coverage() == (window(0, 45),)


def test_a_restore_to_a_time_is_refused_until_one_to_a_version_follows(tmp_path: Path):
    tables = three_windows(tmp_path)
    commit = Path(tables.replica.location.uri) / "_delta_log" / f"{1:020}.json"
    DeltaTable(tables.replica.location.uri).restore(datetime.fromtimestamp(commit.stat().st_mtime + 0.001, UTC))
    with pytest.raises(UnclearRestore, match=r"restored in version 4 .* restore it again, to a version's number"):
        tables.replica.apply(window(0, 15))
    DeltaTable(tables.replica.location.uri).restore(2)
    assert tables.replica.coverage() == (window(0, 30),)


def test_a_restore_to_a_version_that_the_cleanup_has_forgotten_is_not_guessed(tmp_path: Path):
    tables = three_windows(tmp_path)
    DeltaTable(tables.replica.location.uri).restore(1)
    DeltaTable(tables.replica.location.uri).create_checkpoint()
    for number in range(4):
        (Path(tables.replica.location.uri) / "_delta_log" / f"{number:020}.json").unlink()
    with pytest.raises(UnclearRestore, match="commit 1 is gone by the log's cleanup"):
        tables.replica.coverage()
