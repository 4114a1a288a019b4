"""Draws what `make bench-replica` has measured: `make bench-replica-plots`, by `.venv-bench`.

`replica-cost-by-rows.png` shows one window of a given size in larger and larger tables, and
`replica-cost-by-changes.png` larger and larger windows in one table: CPU time and bytes written. The same is
printed as a table in Markdown.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

STYLES: dict[str, tuple[str, str]] = {
    "ddb_lake/deletion_vectors": ("#0072B2", "o"),
    "ddb_lake/copy_on_write": ("#56B4E9", "s"),
    "delta-rs/merge": ("#D55E00", "D"),
    "duckdb/merge": ("#E69F00", "^"),
    "ducklake/merge": ("#7A6A00", "v"),
    "pyiceberg/upsert": ("#CC79A7", "P"),
    "lancedb/merge_insert": ("#009E73", "X"),
    "pysail/merge": ("#555555", "*"),
}
"""Colours that people who see few of them tell apart, with a marker each."""

MEASURES = [("cpu_seconds", 1.0, "CPU time of a window, s"), ("bytes_written", 1e6, "written by a window, MB")]
WIDTH, HEIGHT, DPI = 9, 5.2, 200

Rows = list[dict[str, Any]]


def short(number: float, _: object = None) -> str:
    """A number as on an axis."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def draw(axes: Axes, rows: Rows, along: str, measure: str, unit: float) -> None:
    """Draw a line for each contender."""
    for contender, (colour, marker) in STYLES.items():
        points = sorted((row[along], row[measure] / unit) for row in rows if row["contender"] == contender)
        if not points:
            continue
        ours = contender == next(iter(STYLES))
        axes.plot(
            *zip(*points, strict=True),
            label=contender,
            color=colour,
            marker=marker,
            markersize=8 if ours else 6.5,
            linewidth=3 if ours else 1.6,
            zorder=3 if ours else 2,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({row[along] for row in rows})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(which="major", color="#dddddd")
    axes.set_axisbelow(True)


def plot(rows: Rows, along: str, label: str, title: str, target: Path) -> None:
    """Draw both measures, and save them."""
    figure, all_axes = plt.subplots(1, 2, figsize=(WIDTH, HEIGHT))
    for axes, (measure, unit, name) in zip(all_axes, MEASURES, strict=True):
        draw(axes, rows, along, measure, unit)
        axes.set_title(name, fontsize=12)
        axes.set_xlabel(label)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=13)
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=10.5)
    figure.tight_layout(rect=(0, 0.15, 1, 1))
    figure.savefig(target, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    print(target)


def table(rows: Rows) -> None:
    """Print CPU time and bytes written of every size, a contender a line."""
    sizes = sorted({(row["rows"], row["changes"]) for row in rows})
    print("| contender |", " | ".join(f"{short(first)} × {short(second)}" for first, second in sizes), "|")
    print("|---" * (1 + len(sizes)) + "|")
    found = {(row["contender"], row["rows"], row["changes"]): row for row in rows}
    for contender in STYLES:
        told = [found.get((contender, *size)) for size in sizes]
        cells = [
            f"{rounded(row['cpu_seconds'])} s, {rounded(row['bytes_written'] / 1e6)} MB" if row else ""
            for row in told
        ]
        print(f"| {contender} |", " | ".join(cells), "|")


def rounded(number: float) -> str:
    """A number with two digits that count, or all before the point."""
    return f"{number:,.0f}" if number >= 10 else f"{number:#.2g}"


def main() -> int:
    """Read the results, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of `make bench-replica`")
    parser.add_argument("--target", type=Path, default=Path("docs/images"), help="(default: %(default)s)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the plot by changes (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=10_000, help="of the plot by rows (default: %(default)s)")
    options = parser.parse_args()
    mpl.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False})
    told: Rows = [row for file in options.results for row in json.loads(file.read_text())]
    rows = [row for row in told if row["store"] == "disk" and row["contender"] in STYLES]
    by_rows = [row for row in rows if row["changes"] == options.changes]
    title = f"One window of {options.changes:,} changes with random keys, by size of the table"
    plot(by_rows, "rows", "rows of the table", title, options.target / "replica-cost-by-rows.png")
    by_changes = [row for row in rows if row["rows"] == options.rows]
    title = f"One window in a table of {options.rows:,} rows, by changes with random keys"
    plot(by_changes, "changes", "changes of the window", title, options.target / "replica-cost-by-changes.png")
    table([*by_rows, *(row for row in by_changes if row["changes"] != options.changes)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
