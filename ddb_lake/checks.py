"""Asset checks: whether the replica holds every window that it should."""

from collections.abc import Iterable

import dagster as dg

from ddb_lake.config import TableSettings
from ddb_lake.windows import Window, format_time, merge, missing

COVERAGE = "coverage"
"""The check that the windows applied so far leave no hole."""


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
