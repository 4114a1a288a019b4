"""What the Dagster UI shows of exports and commits: small dataclasses turned into metadata."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from ddb_lake.decoding import Tally, width
from ddb_lake.exports import Export
from ddb_lake.field_metadata import ATTRIBUTE, SINCE
from ddb_lake.pipeline import DecodedWindow, StagedItems, VerifiedExport
from ddb_lake.replica import BootstrapCommit, Column, MaintenanceReport, ReplicaCommit, Strategy
from ddb_lake.table_decoder import Decoding
from ddb_lake.windows import format_time

Metadata = Mapping[str, Any]


def of_exports(exports: Iterable[Export]) -> Metadata:
    """Describe one or several exports: which they are, how much they hold, what they cost, how long they took."""
    sources = tuple(exports)
    arns = [export.arn for export in sources]
    durations = [export.duration for export in sources if export.duration is not None]
    return {
        "table_id": sources[0].table_id if sources else None,
        "export_arn": arns[0] if len(arns) == 1 else arns,
        "exports": len(arns),
        "items": sum(export.item_count or 0 for export in sources),
        "billed_bytes": sum(export.billed_bytes or 0 for export in sources),
        "export_seconds": sum(durations, timedelta()).total_seconds(),
    }


def of_verified(exports: Iterable[VerifiedExport]) -> Metadata:
    """Describe exports whose manifests have been read: besides, where those are and what they name."""
    sources = tuple(exports)
    manifests = [source.manifest.uri for source in sources]
    return {
        **of_exports(source.export for source in sources),
        "dagster/uri": manifests[0],
        "manifest": manifests[0] if len(manifests) == 1 else manifests,
        "manifest_items": [source.manifest.item_count for source in sources],
        "manifest_checksums": ", ".join(sorted({source.manifest.verification.value for source in sources})),
        "files": sum(len(source.manifest.files) for source in sources),
        "bytes": sum(source.size for source in sources),
    }


def of_passed_over(objects: Iterable[str]) -> Metadata:
    """Say what lay where exports are looked for and was not used, if anything."""
    reasons = list(objects)
    return {"passed_over": reasons} if reasons else {}


def of_decodings(decodings: Iterable[Decoding[Any]]) -> Metadata:
    """Describe how exports were decoded.

    `blocks` are pieces of files, each proven to have lost nothing; `exact_lines` the lines among them that only the
    exact reader could read; `relearned` how many exports had values without a column; `contradictions` by attribute
    how many values do not fit lake.yaml's type and are in a column beside it.
    """
    tally, relearned = Tally(), 0
    added: list[Column] = []
    for decoding in decodings:
        tally.add(decoding.tally)
        relearned += decoding.relearned
        added += decoding.added
    return {
        "blocks": tally.blocks,
        "exact_lines": tally.exact_lines,
        "relearned": relearned,
        "added_columns": [_named(column) for column in added],
        "contradictions": dict(sorted(tally.contradictions.items())),
    }


def of_width(table: str, columns: Iterable[Column]) -> Metadata:
    """Say how many columns a table's attributes have, and what is to be done where they are too many to be cheap."""
    count = sum(1 for _ in columns)
    warning = width.warning_of(table, count)
    return {"columns": count, **({"many_columns": warning} if warning else {})}


def of_decoded(decoded: DecodedWindow, path: str) -> Metadata:
    """Describe what a window's decoding wrote to the change log."""
    return {
        **of_verified(decoded.exports),
        "window": str(decoded.window),
        "changes": sum(commit.changes for commit in decoded.commits),
        "deletes": sum(commit.deletes for commit in decoded.commits),
        **of_decodings(decoded.decodings),
        "table_version": decoded.commits[-1].version,
        "dagster/uri": path,
        "dagster/column_schema": column_schema(decoded.commits[-1].columns),
    }


def of_staged(items: StagedItems, path: str) -> Metadata:
    """Describe the bootstrap's staged files."""
    return {
        **of_verified([items.source]),
        "time": format_time(items.source.manifest.time) if items.source.manifest.time else None,
        "staged_rows": items.staged.rows,
        "staged_files": len(items.staged.files),
        **of_decodings([items.decoding]),
        "dagster/uri": path,
        "dagster/column_schema": column_schema(items.staged.columns),
    }


def of_bootstrap(commit: BootstrapCommit, path: str) -> Metadata:
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
        "dagster/column_schema": column_schema(commit.state.columns),
    }


def of_commit(commit: ReplicaCommit, path: str) -> Metadata:
    """Describe the commit that applied a window."""
    return {
        "window": str(commit.window),
        "changes": commit.changes,
        "inserted": commit.inserted,
        "updated": commit.updated,
        "deleted": commit.deleted,
        "ignored": commit.ignored,
        "strategy": commit.strategy.value,
        **_effort(commit),
        "rows_before": commit.rows_before,
        "rows_after": commit.rows_after,
        "dagster/row_count": commit.rows_after,
        "table_version": commit.version,
        "dagster/uri": path,
        "dagster/column_schema": column_schema(commit.state.columns),
    }


def of_maintenance(report: MaintenanceReport, strategy: Strategy) -> Metadata:
    """Describe a maintenance: what it did, what it cost, and how the table is after it."""
    folded = report.folded
    return {
        "maintained": True,
        "strategy": strategy.value,
        "folds": folded.folds,
        "folds_overtaken": folded.overtaken,
        "fold_reasons": list(folded.reasons),
        "files_removed": folded.files_removed,
        "files_added": folded.files_added,
        "bytes_read": folded.bytes_read,
        "bytes_written": folded.bytes_written,
        "vacuumed_files": report.vacuumed.files,
        "vacuumed_bytes": report.vacuumed.size,
        "checkpoint": report.checkpoint,
        "log_files_removed": report.log_files_removed,
        "files_verified": report.files + (0 if report.change_log is None else report.change_log.files),
        **_change_log_upkeep(report),
        "seconds": dict(report.seconds),
        "data_files": report.files,
        "dead_rows": report.dead_rows,
        "dagster/row_count": report.live_rows,
        "table_version": report.version,
    }


def _change_log_upkeep(report: MaintenanceReport) -> Metadata:
    """Describe what the maintenance did to the change log."""
    upkeep = report.change_log
    return {
        "change_log_files_removed": 0 if upkeep is None else upkeep.log_files_removed,
        "change_log_vacuumed_files": 0 if upkeep is None else upkeep.vacuumed.files,
        "change_log_vacuumed_bytes": 0 if upkeep is None else upkeep.vacuumed.size,
    }


def _effort(commit: ReplicaCommit) -> Metadata:
    """Return what is known of a commit's cost: MERGE tells no bytes."""
    effort = commit.effort
    if commit.strategy is Strategy.COPY_ON_WRITE:
        return {"files_written": effort.files_written}
    return {"files_written": effort.files_written, "files_marked": effort.files_marked, "bytes_written": effort.size}


def column_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return the columns as the UI's schema table, each described by the attribute that it holds."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.dtype),
                description=_described(column),
            )
            for column in columns
        ]
    )


def _named(column: Column) -> str:
    """Return a column's name, and its attribute's where the two differ."""
    attribute = column.metadata.get(ATTRIBUTE, column.name)
    return column.name if attribute == column.name else f"{column.name} of {attribute!r}"


def _described(column: Column) -> str | None:
    """Return what the UI says of a column: its attribute's own name, and when that appeared."""
    if ATTRIBUTE not in column.metadata:
        return None
    since = f", since {column.metadata[SINCE]}" if SINCE in column.metadata else ""
    return f"attribute {column.metadata[ATTRIBUTE]!r}{since}"
