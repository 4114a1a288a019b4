"""A history is seen whole or not at all, and what is committed gets into the journal's file."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddb_lake.embedded_aws.errors import JournalError
from ddb_lake.embedded_aws.journal import Journal, TableRequest
from ddb_lake.embedded_aws.versions import Version

TABLE = "the-table"
ROWS = [(b"a", 1, b'{"n":1}', 5), (b"b", 2, b'{"n":2}', 5), (b"b", 3, None, 0)]
FOREVER = 2**63 - 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aws.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    journal.add_table(TABLE, b"{}", TableRequest(TABLE, "CreateTable", b"{}"))
    yield journal
    journal.close()


def keys(journal: Journal, sequence: int) -> list[bytes]:
    """The keys of the items of a snapshot."""
    with journal.reader() as versions:
        return [item.key for item in versions.items(TABLE, FOREVER, sequence)]


def test_nobody_sees_a_history_before_it_is_finished(journal: Journal) -> None:
    journal.append([(TABLE, Version(b"c", 1, b"{}", 1))])
    before = journal.sequence()
    first = journal.begin_history(len(ROWS))
    journal.append_hidden(TABLE, first, ROWS)
    journal.append([(TABLE, Version(b"d", 9, b"{}", 1))])
    assert [journal.newest(TABLE, key) is None for key in (b"a", b"b", b"c", b"d")] == [True, True, False, False]
    assert [version.key for version in journal.page(TABLE, b"", 10)] == [b"c", b"d"]
    assert keys(journal, before) == [b"c"]
    journal.finish_history()
    assert journal.newest(TABLE, b"a") == Version(*ROWS[0])
    assert [version.key for version in journal.page(TABLE, b"", 10)] == [b"a", b"b", b"c", b"d"]
    assert keys(journal, journal.sequence()) == [b"a", b"c", b"d"]
    assert keys(journal, before) == [b"c"]


def test_a_history_that_could_not_be_dropped_stays_hidden_and_no_other_one_begins(path: Path) -> None:
    journal = Journal(path)
    journal.add_table(TABLE, b"{}", TableRequest(TABLE, "CreateTable", b"{}"))
    first = journal.begin_history(len(ROWS))
    journal.append_hidden(TABLE, first, ROWS)
    with pytest.raises(JournalError, match="restart"):
        journal.begin_history(1)
    assert journal.newest(TABLE, b"a") is None
    journal.close()
    journal = Journal(path)
    assert journal.newest(TABLE, b"a") is None
    assert journal.begin_history(1) == first + len(ROWS)
    journal.close()


def test_a_history_that_was_not_finished_is_gone_after_the_restart(path: Path) -> None:
    journal = Journal(path)
    journal.add_table(TABLE, b"{}", TableRequest(TABLE, "CreateTable", b"{}"))
    first = journal.begin_history(len(ROWS))
    journal.append_hidden(TABLE, first, ROWS[:2])
    journal.append([(TABLE, Version(b"d", 9, b"{}", 1))])
    journal.close()
    again = Journal(path)
    assert keys(again, again.sequence()) == [b"d"]
    assert again.newest_us() == 9
    again.append([(TABLE, Version(b"e", 10, b"{}", 1))])  # under a number of its own
    assert keys(again, again.sequence()) == [b"d", b"e"]
    again.close()


def test_a_history_that_is_given_up_leaves_nothing(journal: Journal) -> None:
    first = journal.begin_history(len(ROWS))
    journal.append_hidden(TABLE, first, ROWS)
    while not journal.drop_some_of_history():
        pass
    assert not journal.hides
    assert keys(journal, journal.sequence()) == []


def test_keys_that_are_written_beside_a_history_are_noted(journal: Journal) -> None:
    journal.append([(TABLE, Version(b"a", 1, b"{}", 1))])
    journal.watch()
    journal.append([(TABLE, Version(b"b", 2, b"{}", 1))])
    assert journal.written_meanwhile() == {b"b"}
    journal.end_watch()
    assert journal.written_meanwhile() == set()


def test_a_checkpoint_brings_what_is_committed_into_the_file(journal: Journal, path: Path, tmp_path: Path) -> None:
    journal.append([(TABLE, Version(b"a", 1, b"{}", 1))])
    journal.checkpoints.take()
    alone = tmp_path / "without-its-log.sqlite"
    shutil.copy(path, alone)
    with sqlite3.connect(alone) as db:
        assert db.execute("SELECT key FROM version").fetchall() == [(b"a",)]


def test_a_journal_of_another_format_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE version (key BLOB)")
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalError, match="of format 2, and a journal has format 3; name another file"):
        Journal(path)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (1,)
