"""What the Dagster UI shows of exports and commits: small dataclasses turned into metadata."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from ddb_lake.pipeline import DecodedWindow, StagedItems, VerifiedExport
from ddb_lake.replica import BootstrapCommit, Column, ReplicaCommit
from ddb_lake.windows import format_time

Metadata = Mapping[str, Any]


def of_exports(exports: Iterable[VerifiedExport]) -> Metadata:
    """Describe one or several exports: which they are, what they hold, what they cost."""
    sources = tuple(exports)
    durations = [source.export.duration for source in sources if source.export.duration is not None]
    first = sources[0]
    return {
        "export_arn": first.export.arn if len(sources) == 1 else [source.export.arn for source in sources],
        "exports": len(sources),
        "manifest": first.manifest.uri,
        "manifest_checksums": ", ".join(sorted({source.manifest.verification.value for source in sources})),
        "items": sum(source.manifest.item_count for source in sources),
        "files": sum(len(source.manifest.files) for source in sources),
        "bytes": sum(source.size for source in sources),
        "billed_bytes": sum(source.manifest.billed_bytes for source in sources),
        "export_seconds": sum(durations, timedelta()).total_seconds(),
    }


def of_decoded(decoded: DecodedWindow, columns: Iterable[Column], path: str) -> Metadata:
    """Describe what a window's decoding wrote to the change log."""
    return {
        **of_exports(decoded.exports),
        "window": str(decoded.window),
        "changes": sum(commit.changes for commit in decoded.commits),
        "deletes": sum(commit.deletes for commit in decoded.commits),
        "added_columns": list(decoded.added_columns),
        "table_version": decoded.commits[-1].version,
        "dagster/uri": path,
        "dagster/column_schema": column_schema(columns),
    }


def of_staged(items: StagedItems, columns: Iterable[Column]) -> Metadata:
    """Describe the bootstrap's staged files."""
    return {
        **of_exports([items.source]),
        "time": format_time(items.source.manifest.time) if items.source.manifest.time else None,
        "staged_rows": items.staged.rows,
        "staged_files": len(items.staged.files),
        "added_columns": list(items.added_columns),
        "dagster/column_schema": column_schema(columns),
    }


def of_bootstrap(commit: BootstrapCommit, columns: Iterable[Column], path: str) -> Metadata:
    """Describe the commit that the replica starts from."""
    return {
        "time": format_time(commit.bootstrap_time),
        "export_id": commit.export_id,
        "outcome": commit.outcome,
        "rows_before": commit.rows_before,
        "rows_after": commit.rows,
        "dagster/row_count": commit.rows,
        "table_version": commit.version,
        "dagster/uri": path,
        "dagster/column_schema": column_schema(columns),
    }


def of_commit(commit: ReplicaCommit, columns: Iterable[Column], path: str) -> Metadata:
    """Describe the commit that applied a window."""
    return {
        "window": str(commit.window),
        "changes": commit.changes,
        "inserted": commit.inserted,
        "updated": commit.updated,
        "deleted": commit.deleted,
        "ignored": commit.ignored,
        "rows_before": commit.rows_before,
        "rows_after": commit.rows_after,
        "dagster/row_count": commit.rows_after,
        "table_version": commit.version,
        "dagster/uri": path,
        "dagster/column_schema": column_schema(columns),
    }


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return the columns as the UI's schema table, each described by the attribute that it holds."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.dtype),
                description=f"attribute {column.metadata['ddb_lake.attribute']!r}"
                if "ddb_lake.attribute" in column.metadata
                else None,
            )
            for column in columns
        ]
    )
