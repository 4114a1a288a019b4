"""The seven assets of one source table: the bootstrap's chain of three, the windows' chain of three, maintenance.

Thin: they translate partitions to windows, let the pipeline work, and say in metadata what happened.
"""

import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from ddb_lake import metadata
from ddb_lake.checks import COVERAGE, FILES, check_coverage, check_files
from ddb_lake.config import TableSettings
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import Export, ImageView
from ddb_lake.field_metadata import ATTRIBUTE
from ddb_lake.partitions import INITIAL, initial_partition, window_of, window_partitions
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import Column
from ddb_lake.replica.errors import LostFiles, StorageFailed, TooManyConflicts, WrongSourceTable
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline
from ddb_lake.upstream import exports_of, located_exports, recorded_metadata, table_id_of
from ddb_lake.windows import format_time

DAY_OF_WINDOWS = 96
"""Adjacent windows in one run, and so in one export: 24 hours, the most that DynamoDB exports incrementally."""

# It has been in beta for years, and nothing else makes one export of many windows.
warnings.filterwarnings("ignore", r"Parameter `backfill_policy`", dg.BetaWarning)


def build_assets(table: TableSettings) -> list[dg.AssetsDefinition]:
    """Return the seven assets of a source table, in the order of the data's flow; the last is its maintenance."""
    initial_export, initial_items, initial_table = _build_initial_load(table)
    incremental = _build_incremental(table, initial_table)
    return [initial_export, initial_items, initial_table, *incremental, _build_maintenance(table, incremental[-1])]


def _build_initial_load(table: TableSettings) -> tuple[dg.AssetsDefinition, ...]:
    name, group = table.name, f"{table.identifier}/initial_load"

    @dg.asset(
        key_prefix=[name],
        partitions_def=initial_partition,
        group_name=group,
        kinds={"dynamodb", "s3"},
        description=f"The full export of {name} at {format_time(table.start)}: everything written before. "
        "Found if it exists, else started; done when the export has completed and its manifest is verified.",
    )
    def initial_export(
        context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake
    ) -> dg.MaterializeResult:
        with _failures_explained():
            pipeline = open_pipeline(table, exports, lake)
            source = pipeline.export_bootstrap(_wait(context))
            return dg.MaterializeResult(
                metadata={
                    **metadata.of_verified([source]),
                    **metadata.of_passed_over(pipeline.exports.passed_over),
                    "time": format_time(table.start),
                }
            )

    @dg.asset(
        key_prefix=[name],
        partitions_def=initial_partition,
        group_name=group,
        deps=[initial_export],
        kinds={"polars", "parquet"},
        pool=name,
        description=f"The items of {name}'s full export, decoded and typed, as Parquet files in the replica's "
        "folder that nobody sees yet.",
    )
    def initial_items(
        context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake
    ) -> dg.MaterializeResult:
        with _failures_explained():
            pipeline = open_pipeline(table, exports, lake)
            recorded = recorded_metadata(context, dg.AssetKey([name, "initial_export"]), INITIAL)
            items = pipeline.stage_bootstrap(located_exports(recorded, time=format_time(table.start)), _wait(context))
            return dg.MaterializeResult(
                metadata={
                    **metadata.of_staged(items, pipeline.replica.location.uri),
                    **_width(context, name, items.staged.columns),
                }
            )

    @dg.asset(
        key_prefix=[name],
        partitions_def=initial_partition,
        group_name=group,
        deps=[initial_items],
        kinds={"deltalake"},
        pool=name,
        description=f"The replica of {name} as it was at {format_time(table.start)}: one commit that makes the "
        "staged files the whole table.",
    )
    def initial_table(
        context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake
    ) -> dg.MaterializeResult:
        with _failures_explained():
            pipeline = open_pipeline(table, exports, lake)
            key, time = dg.AssetKey([name, "initial_items"]), format_time(table.start)
            recorded = recorded_metadata(context, key, INITIAL)
            described = _exports_described(
                context, pipeline, recorded, lambda: [pipeline.bootstrap_export()], time=time
            )
            commit = pipeline.commit_bootstrap()
            # From here on nothing may fail: the commit stands.
            known = {column.metadata.get(ATTRIBUTE) for column in commit.state.columns}
            for part in table.partition_by:
                if part.attribute is not None and part.attribute not in known:
                    context.log.warning(
                        f"no item of {name} has the attribute {part.attribute!r}, by which lake.yaml parts the rows: "
                        "all are in one partition until one has; if it is misspelt, correct it and bootstrap anew"
                    )
            return dg.MaterializeResult(
                metadata={
                    **described,
                    **metadata.of_bootstrap(commit, pipeline.replica.location.uri),
                    **_width(context, name, commit.state.columns),
                }
            )

    return initial_export, initial_items, initial_table


def _build_incremental(table: TableSettings, initial_table: dg.AssetsDefinition) -> tuple[dg.AssetsDefinition, ...]:
    name, group = table.name, f"{table.identifier}/incremental"
    windows = window_partitions(table.start)
    # The same policy on all three, or Dagster would split the chain into separate runs.
    coalesced = dg.BackfillPolicy.multi_run(max_partitions_per_run=DAY_OF_WINDOWS)

    @dg.asset(
        key_prefix=[name],
        partitions_def=windows,
        group_name=group,
        kinds={"dynamodb", "s3"},
        backfill_policy=coalesced,
        description=f"The incremental export of {name} that contains the window: each item that changed, once. Found "
        "if it exists, else started; done when the export has completed and its manifest is verified. Adjacent "
        "windows materialised together share one export of up to 24 hours.",
    )
    def raw_export(context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake) -> dg.MaterializeResult:
        with _failures_explained():
            pipeline, window = open_pipeline(table, exports, lake), window_of(context, table.start)
            sources = pipeline.export_windows(window, _wait(context))
            without = [each.manifest.uri for each in sources if each.manifest.view is ImageView.NEW_IMAGE]
            if table.old_images and without:
                context.log.warning(
                    f"the old images of {window} are null as far as these exports serve it, which were made with "
                    f"NEW_IMAGE: {', '.join(without)}"
                )
            return dg.MaterializeResult(
                metadata={
                    **metadata.of_verified(sources),
                    **({"without_old_images": without} if table.old_images and without else {}),
                    **metadata.of_passed_over(pipeline.exports.passed_over),
                    "window": str(window),
                }
            )

    @dg.asset(
        key_prefix=[name],
        partitions_def=windows,
        group_name=group,
        deps=[raw_export],
        kinds={"polars", "deltalake"},
        pool=name,
        backfill_policy=coalesced,
        description=f"The window's changes of {name}, decoded and typed, in the change log: key, write time, and "
        "the new image or that the item was deleted. A window is replaced as a whole.",
    )
    def decoded_items(
        context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake
    ) -> dg.MaterializeResult:
        with _failures_explained():
            pipeline, window = open_pipeline(table, exports, lake), window_of(context, table.start)
            recorded = recorded_metadata(context, dg.AssetKey([name, "raw_export"]), window.key)
            decoded = pipeline.decode(window, located_exports(recorded, window=str(window)), _wait(context))
            return dg.MaterializeResult(
                metadata={
                    **metadata.of_decoded(decoded, pipeline.change_log.location.uri),
                    **_width(context, name, decoded.commits[-1].columns),
                }
            )

    @dg.asset(
        key_prefix=[name],
        partitions_def=windows,
        group_name=group,
        deps=[
            decoded_items,
            dg.AssetDep(initial_table, partition_mapping=dg.SpecificPartitionsPartitionMapping([INITIAL])),
        ],
        kinds={"deltalake"},
        pool=name,
        backfill_policy=coalesced,
        check_specs=[dg.AssetCheckSpec(COVERAGE, asset=dg.AssetKey([name, "delta_table"]))],
        description=f"The replica of {name}: the table's current state as a Delta table. One commit applies the "
        "window and records it as covered; the last write of an item wins, in whatever order windows arrive.",
    )
    def delta_table(context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake) -> dg.MaterializeResult:
        window = window_of(context, table.start)
        recorded = recorded_metadata(context, dg.AssetKey([name, "decoded_items"]), window.key)

        def apply_to(pipeline: Pipeline) -> dg.MaterializeResult:
            described = _exports_described(
                context, pipeline, recorded, lambda: pipeline.known_exports(window), window=str(window)
            )
            commit = pipeline.apply(window)
            # From here on nothing may fail: the window is covered.
            return dg.MaterializeResult(
                metadata={**described, **metadata.of_commit(commit, pipeline.replica.location.uri)},
                check_results=[check_coverage(table, commit.state.coverage)],
            )

        with _failures_explained():
            if table_id := table_id_of(recorded):
                # Where the replica is of the table that was decoded, DynamoDB need not be asked which one that is.
                with suppress(WrongSourceTable):
                    return apply_to(open_pipeline(table, exports, lake, table_id))
            return apply_to(open_pipeline(table, exports, lake))

    return raw_export, decoded_items, delta_table


def _build_maintenance(table: TableSettings, delta_table: dg.AssetsDefinition) -> dg.AssetsDefinition:
    name = table.name

    # Without the table's pool: it is safe beside windows, and they need not wait for it.
    @dg.asset(
        key_prefix=[name],
        group_name=f"{table.identifier}/maintenance",
        deps=[delta_table],
        kinds={"deltalake"},
        check_specs=[dg.AssetCheckSpec(FILES, asset=dg.AssetKey([name, "maintenance"]))],
        description=f"Keeps the replica of {name} quick: folds small files and files with many dead rows, writes a "
        "checkpoint, cleans the log up, and removes files that no version needs any more. Checks that all files are "
        "there that the logs name. Changes no row.",
    )
    def maintenance(
        context: dg.AssetExecutionContext, exports: DynamoDBExports, lake: Lake
    ) -> Generator[dg.MaterializeResult | dg.AssetCheckResult]:
        with _failures_explained():
            pipeline = open_pipeline(table, exports, lake)
            # Whatever the lake holds: that needs neither DynamoDB nor the source table.
            replica = pipeline.held_replica()
            if replica is None or replica.version() is None:
                context.log.info(f"{name} has no replica to maintain yet")
                yield dg.MaterializeResult(metadata={"maintained": False}, check_results=[check_files(0)])
                return
            strategy = replica.strategy()
            try:
                report = replica.maintain()
            except LostFiles as losses:
                yield check_files(0, losses)  # before the step fails, so that the check shows it too
                raise
            if strategy is not table.strategy:
                context.log.warning(
                    f"{name} has the strategy {strategy}, lake.yaml says {table.strategy}; "
                    f"`python -m ddb_lake.convert {name}` moves it"
                )
            described = metadata.of_maintenance(report, strategy)
            yield dg.MaterializeResult(
                metadata=described, check_results=[check_files(int(described["files_verified"]))]
            )

    return maintenance


def _exports_described(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    recorded: Mapping[str, Any],
    look_up: Callable[[], Iterable[Export]],
    **about: str,
) -> metadata.Metadata:
    """Return what is shown of the exports that a commit is about to take in; nothing where that can't be had.

    It is collected before the commit, and what is committed does not depend on it.

    Args:
        context: The step's.
        pipeline: The table's.
        recorded: What the step before has recorded, which has described them, most likely.
        look_up: Asks AWS for them.
        about: What the step must have recorded besides, see `exports_of`.

    Raises:
        WrongSourceTable: If the pipeline counts on another table than DynamoDB describes.
    """
    try:
        if described := exports_of(recorded, pipeline.table_id, **about):
            return described
        return metadata.of_exports(look_up())
    except WrongSourceTable:
        raise
    except DdbLakeError as error:
        context.log.warning(
            f"the exports can't be described here ({error}); what they hold is committed all the same"
        )
        return {}


def _width(context: dg.AssetExecutionContext, table: str, columns: Iterable[Column]) -> metadata.Metadata:
    """Return what is shown of a table's number of columns, and warn in the run's log where it is large."""
    described = metadata.of_width(table, columns)
    if warning := described.get("many_columns"):
        context.log.warning(warning)
    return described


@contextmanager
def _failures_explained() -> Generator[None]:
    """Show an error that ddb_lake understands as its message, not as a stack trace."""
    try:
        yield
    except DdbLakeError as error:
        # Where it is not the storage or other writers, another try of the same step can't help: each would cost
        # another export, or meet the same damage.
        raise dg.Failure(
            description=str(error), allow_retries=isinstance(error, StorageFailed | TooManyConflicts)
        ) from error


def _wait(context: dg.AssetExecutionContext) -> Callable[[str, float], None]:
    """Return what a waiting step does between two looks at its export: say so, and sleep."""

    def wait(progress: str, seconds: float) -> None:
        context.log.info(progress)
        time.sleep(seconds)

    return wait
