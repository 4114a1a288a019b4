"""What else could keep the table: `replica_contenders.py NAME (check | build | apply | state) FOLDER [FILE …]`.

`replica.py` runs it by `.venv-bench`, where ddb_lake is not, in a new process each time. Rows and changes come as
Parquet files. Importing libraries, reading the changes into memory and starting a server (Sail's) are not counted;
opening the table, finding the rows, writing and committing are.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from replica_measure import measured, told_of

COLUMNS = ["_key_hash", "_write_time_us", "_tie_break", "id", "customer", "status", "amount", "created_at", "note"]
"""As replica_data.py has them."""

NEWER = "s._write_time_us > t._write_time_us"
ASSIGNED = ", ".join(f"{name} = s.{name}" for name in COLUMNS if name != "id")
INSERTED = f"INSERT ({', '.join(COLUMNS)}) VALUES ({', '.join(f's.{name}' for name in COLUMNS)})"
MERGE = f"""
    MERGE INTO {{table}} AS t USING s ON t.id = s.id
    WHEN MATCHED AND s._deleted AND {NEWER} THEN DELETE
    WHEN MATCHED AND {NEWER} THEN UPDATE SET {ASSIGNED}
    WHEN NOT MATCHED AND NOT s._deleted THEN {INSERTED}
"""


class Outsider:
    """A table that is kept by something else.

    Attributes:
        name: What the table of results calls it.
        largest_rows: The largest table that is practical on two cores.
        largest_changes: The largest window that is.
        note: What it does otherwise than a MERGE by write time in one commit, "" for nothing.

    Args:
        folder: Its own folder.
    """

    name: str
    largest_rows: int = 5_000_000
    largest_changes: int = 100_000
    note: str = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_ready(self) -> None:
        """Import the libraries. Raises whatever keeps this from being run here."""
        raise NotImplementedError

    def build(self, files: list[str]) -> None:
        """Make the table of the rows."""
        raise NotImplementedError

    def load(self, file: str) -> Any:
        """Return a window's changes as `apply` takes them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        plain = [field.with_type(pa.string()) if field.type == pa.large_string() else field for field in table.schema]
        return table.cast(pa.schema(plain))  # Lance indexes no large strings

    def apply(self, changes: Any) -> None:
        """Open the table and bring the changes into it, on the disk at the end."""
        raise NotImplementedError

    def state(self, target: Path) -> None:
        """Write all live rows to Parquet files in a folder."""
        raise NotImplementedError

    def close(self) -> None:
        """End what `get_ready` began."""


class DuckDb(Outsider):
    """A table in DuckDB's own file, without an index."""

    name = "duckdb/merge"
    largest_rows = 20_000_000

    def get_ready(self) -> None:
        """Import."""
        import duckdb

        self.duckdb = duckdb

    def _connect(self) -> tuple[Any, str]:
        return self.duckdb.connect(str(self.folder / "lake.duckdb")), "orders"

    def build(self, files: list[str]) -> None:
        """Read the files."""
        connection, table = self._connect()
        with connection:
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet({files})")

    def apply(self, changes: Any) -> None:
        """One MERGE; closing writes a checkpoint."""
        connection, table = self._connect()
        with connection:
            connection.register("s", changes)
            self._merge(connection, table)

    def _merge(self, connection: Any, table: str) -> None:
        connection.execute(MERGE.format(table=table))

    def state(self, target: Path) -> None:
        """Copy."""
        connection, table = self._connect()
        with connection:
            connection.execute(f"COPY (FROM {table}) TO '{target}/rows.parquet'")


class DuckLake(DuckDb):
    """Parquet files and delete files, with a catalog in a DuckDB file."""

    name = "ducklake/merge"
    note = "two MERGEs in a transaction: one takes only one kind of change to a row that is there"

    def get_ready(self) -> None:
        """Import, and find the extension."""
        super().get_ready()
        import duckdb_extension_ducklake

        package = Path(duckdb_extension_ducklake.__file__).parent
        self.extension = next(package.rglob(f"v{self.duckdb.__version__}/*.duckdb_extension"))
        connection, _ = self._connect_without_table()
        connection.close()

    def _connect_without_table(self) -> tuple[Any, str]:
        connection = self.duckdb.connect(config={"allow_unsigned_extensions": "true"})
        connection.execute(f"LOAD '{self.extension}'")
        return connection, "lake.orders"

    def _connect(self) -> tuple[Any, str]:
        connection, table = self._connect_without_table()
        catalog = self.folder / "catalog.ducklake"
        connection.execute(f"ATTACH 'ducklake:{catalog}' AS lake (DATA_PATH '{self.folder / 'files'}')")
        return connection, table

    def _merge(self, connection: Any, table: str) -> None:
        into = f"MERGE INTO {table} AS t USING (FROM s WHERE"
        connection.execute("BEGIN")
        connection.execute(
            f"{into} NOT _deleted) AS s ON t.id = s.id WHEN MATCHED AND {NEWER} THEN UPDATE SET {ASSIGNED} "
            f"WHEN NOT MATCHED THEN {INSERTED}"
        )
        connection.execute(f"{into} _deleted) AS s ON t.id = s.id WHEN MATCHED AND {NEWER} THEN DELETE")
        connection.execute("COMMIT")


class PyIceberg(Outsider):
    """An Iceberg table with a catalog in SQLite: copy on write."""

    name = "pyiceberg/upsert"
    largest_changes = 10_000
    note = "upsert and delete in a transaction; the last call wins, not the write time"

    def get_ready(self) -> None:
        """Import."""
        import pyarrow.compute
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.expressions import In

        self.catalog, self.among, self.compute = SqlCatalog, In, pyarrow.compute

    def _open(self) -> Any:
        return self.catalog("bench", uri=f"sqlite:///{self.folder}/catalog.db", warehouse=f"file://{self.folder}")

    def build(self, files: list[str]) -> None:
        """Append file by file."""
        catalog = self._open()
        catalog.create_namespace("bench")
        properties = {"write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "3"}
        rows = self.load(files[0])
        table = catalog.create_table("bench.orders", schema=rows.schema, properties=properties)
        for file in files:
            table.append(self.load(file))

    def apply(self, changes: Any) -> None:
        """Upsert, and delete by keys."""
        table = self._open().load_table("bench.orders")
        deleted = changes["_deleted"]
        with table.transaction() as transaction:
            transaction.upsert(changes.filter(self.compute.invert(deleted)).drop(["_deleted"]), join_cols=["id"])
            transaction.delete(self.among("id", changes.filter(deleted)["id"].to_pylist()))

    def state(self, target: Path) -> None:
        """Read in batches."""
        write(self._open().load_table("bench.orders").scan().to_arrow_batch_reader(), target)


class LanceDb(Outsider):
    """A Lance table with an index of its keys, which is made beforehand."""

    name = "lancedb/merge_insert"
    largest_rows = 20_000_000
    note = "two versions a window; deletes compare no write time; the index is not kept up to date"

    def get_ready(self) -> None:
        """Import."""
        import lancedb
        import pyarrow.compute
        from lancedb.index import BTree

        self.lancedb, self.index, self.compute = lancedb, BTree, pyarrow.compute

    def build(self, files: list[str]) -> None:
        """Add file by file, then make the index."""
        table = self.lancedb.connect(str(self.folder)).create_table("orders", self.load(files[0]))
        for file in files[1:]:
            table.add(self.load(file))
        table.create_index("id", config=self.index())

    def apply(self, changes: Any) -> None:
        """Merge, and delete by keys."""
        table = self.lancedb.connect(str(self.folder)).open_table("orders")
        deleted = changes["_deleted"]
        merge = table.merge_insert("id").when_matched_update_all(
            where="source._write_time_us > target._write_time_us"
        )
        kept = changes.filter(self.compute.invert(deleted)).drop(["_deleted"])
        merge.when_not_matched_insert_all().execute(kept)
        keys = ", ".join(f"'{key}'" for key in changes.filter(deleted)["id"].to_pylist())
        table.delete(f"id IN ({keys})")

    def state(self, target: Path) -> None:
        """Read in batches."""
        table = self.lancedb.connect(str(self.folder)).open_table("orders")
        write(table.search().to_batches(), target)


class Sail(Outsider):
    """A Delta table kept by Sail, a server that speaks Spark's protocol, in this very process."""

    name = "pysail/merge"

    def get_ready(self) -> None:
        """Start the server, and connect."""
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        self.server = SparkConnectServer("127.0.0.1", 0)
        self.server.start(background=True)
        address: Any = self.server.listening_address
        self.spark = SparkSession.builder.remote(f"sc://127.0.0.1:{address[1]}").getOrCreate()

    def build(self, files: list[str]) -> None:
        """Write what is read."""
        self.spark.read.parquet(*files).write.format("delta").mode("overwrite").save(str(self.folder))

    def load(self, file: str) -> str:
        """Leave the changes on the disk."""
        return file

    def apply(self, changes: Any) -> None:
        """One MERGE."""
        self.spark.read.parquet(changes).createOrReplaceTempView("s")
        self.spark.sql(MERGE.format(table=f"delta.`{self.folder}`")).collect()

    def state(self, target: Path) -> None:
        """Write what is read."""
        self.spark.read.format("delta").load(str(self.folder)).write.mode("overwrite").parquet(str(target))

    def close(self) -> None:
        """Stop the server."""
        self.spark.stop()
        self.server.stop()


OUTSIDERS: dict[str, type[Outsider]] = {each.name: each for each in (DuckDb, DuckLake, PyIceberg, LanceDb, Sail)}


def write(batches: Any, target: Path) -> None:
    """Write Arrow batches to a Parquet file."""
    import pyarrow.parquet as pq

    waiting: Iterator[Any] = iter(batches)
    first = next(waiting)
    with pq.ParquetWriter(target / "rows.parquet", first.schema) as writer:
        writer.write_batch(first)
        for batch in waiting:
            writer.write_batch(batch)


def main() -> int:
    """Do one thing, and tell what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=OUTSIDERS)
    parser.add_argument("verb", choices=["check", "build", "apply", "state"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    contender = OUTSIDERS[options.name](options.folder)
    try:
        contender.get_ready()
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    if options.verb == "check":
        contender.close()
        return 0
    if options.verb == "build":
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        with measured() as took:
            contender.build(options.files)
    elif options.verb == "apply":
        changes = contender.load(options.files[0])
        with measured() as took:
            contender.apply(changes)
    else:
        target = Path(options.files[0])
        target.mkdir(parents=True, exist_ok=True)
        with measured() as took:
            contender.state(target)
    contender.close()
    told_of(took)
    return 0


if __name__ == "__main__":
    sys.exit(main())
