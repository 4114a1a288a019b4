"""Asset checks: whether the replica holds every window that it should, and whether all of its files are there."""

from collections.abc import Iterable

import dagster as dg

from ddb_lake.config import TableSettings
from ddb_lake.replica.errors import LostFiles
from ddb_lake.windows import Window, format_time, merge, missing

COVERAGE = "coverage"
"""The check that the windows applied so far leave no hole."""

FILES = "files"
"""The check that all files are there that the logs of the replica and of the change log name."""


def check_files(verified: int, losses: LostFiles | None = None) -> dg.AssetCheckResult:
    """Tell whether a maintenance has found all files, and else which are lost and what brings them back.

    Args:
        verified: How many data files were looked for.
        losses: What it has raised where files are lost.
    """
    return dg.AssetCheckResult(
        check_name=FILES,
        passed=losses is None,
        severity=dg.AssetCheckSeverity.ERROR,
        description="all files are there" if losses is None else str(losses),
        metadata={"files_verified": verified} if losses is None else {},
    )


def check_coverage(table: TableSettings, coverage: Iterable[Window]) -> dg.AssetCheckResult:
    """Tell whether windows are missing between the bootstrap and the newest window applied.

    A hole loses nothing: the sensor fills it, and so does materialising its windows.
    """
    covered = merge(coverage)
    newest = max((window.end for window in covered), default=table.start)
    holes = missing(Window(table.start, newest), covered) if newest > table.start else ()
    return dg.AssetCheckResult(
        check_name=COVERAGE,
        passed=not holes,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"windows are missing: {', '.join(map(str, holes[:5]))}{' …' if len(holes) > 5 else ''}"
            if holes
            else "no window is missing"
        ),
        metadata={"holes": len(holes), "covered_until": format_time(newest)},
    )
