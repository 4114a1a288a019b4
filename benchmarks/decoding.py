"""How fast files are decoded, beside other ways to read them, in the same run: `make bench-decode`.

Each contender has a process of its own for each case. They take turns, and right before each turn the yardstick R
reads the same files: `isal_zlib.decompress` and `orjson.loads` of every line. Ratios are to that; the steady ones are
those of CPU time. All but `ddb_lake (2 workers)` have one core. Memory is the most that the process has had, above a
Python that has imported nothing: it includes the libraries, which `ready MB` shows (Linux alone tells either).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

from decoding_data import CASES, Case, make, save

HERE = Path(__file__).parent
PYTHON = {"": HERE.parent / ".venv/bin/python", "bench": HERE.parent / ".venv-bench/bin/python"}
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
YARDSTICK, LIMIT, OURS, TWO = "isal+orjson", "zlib+simdjson", "ddb_lake", "ddb_lake (2 workers)"
ROUNDS = 3


@dataclass(frozen=True)
class Contender:
    """One way to read the files.

    Attributes:
        name: What the table calls it.
        loses: What its result lacks, "" for nothing.
        slow: Whether it reads one of the files only.
        environment: Which packages it needs.
        cores: How many it gets.
    """

    name: str
    loses: str = ""
    slow: bool = False
    environment: str = ""
    cores: int = 1


NAIVE = "numbers become floats, NS text, B stays base64; a map with the name S, N … becomes that member"
ONE_TYPE = "one type an attribute: all other types become null; numbers become floats; deletes lost"
UNKNOWN = "drops what its columns do not name without a word; N stays text, B base64"

CONTENDERS = [
    Contender(YARDSTICK, "decodes nothing: the type tags stay, and N and B are text"),
    Contender(LIMIT, "decodes nothing: a DOM that is thrown away"),
    Contender("boto3", slow=True),
    Contender("dynamodb-json", NAIVE, True, "bench"),
    Contender("origin", ONE_TYPE, True),
    Contender("polars json_decode", UNKNOWN),
    Contender("duckdb", UNKNOWN),
    Contender("pyarrow", f"{UNKNOWN}; a map whose names are data is a struct of all names"),
    Contender("datafusion", UNKNOWN, environment="bench"),
    Contender(OURS),
    Contender(TWO, cores=2),
    Contender("ddb_lake learn+decode"),
    Contender("ddb_lake to Delta"),
]


@dataclass(frozen=True)
class Row:
    """What was measured of one contender and case."""

    case: str
    contender: str
    cpu_ratio: float
    wall_ratio: float
    items_per_s: float
    peak_mb: float
    ready_mb: float
    wall_s: float
    lossless: bool


@dataclass
class Turns:
    """A contender's process, and what its turns and the yardstick's before them have taken."""

    contender: Contender
    process: subprocess.Popen[str]
    took: list[dict[str, float]] = field(default_factory=list)
    yardstick: list[dict[str, float]] = field(default_factory=list)

    def run(self, files: int) -> dict[str, float]:
        """Let it read some of the files."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(files, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.contender.name} has failed; its message is above")
        return json.loads(answer)

    def row(self, case: Case) -> Row:
        """Return the medians."""

        def ratio(measure: str) -> float:
            pairs = zip(self.took, self.yardstick, strict=True)
            return median(took[measure] / yardstick[measure] for took, yardstick in pairs)

        return Row(
            case=case.name,
            contender=self.contender.name,
            cpu_ratio=round(ratio("cpu"), 3),
            wall_ratio=round(ratio("wall"), 3),
            items_per_s=round(median(took["rows"] / took["wall"] for took in self.took)),
            peak_mb=round(max(took["peak_mb"] for took in self.took)),
            ready_mb=round(self.took[-1]["ready_mb"]),
            wall_s=median(took["wall"] for took in self.took),
            lossless=not self.contender.loses,
        )


@contextmanager
def process(contender: Contender, case: Case, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a contender's process until the end of the block."""
    if contender.name == LIMIT:
        command = [str(folder / "limit"), *(path for path, _ in case.files)]
    else:
        script = str(HERE / "decoding_contenders.py")
        command = [str(PYTHON[contender.environment]), script, contender.name, str(folder / f"{case.name}.json")]
    if shutil.which("taskset") and CORES:
        command = ["taskset", "-c", ",".join(map(str, CORES[-contender.cores :])), *command]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(contender.cores), "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def compile_limit(folder: Path) -> str:
    """Compile the native limit; return why there is none, or ""."""
    compiler = shutil.which("c++")
    if not compiler:
        return "there is no C++ compiler"
    source, program = str(HERE / "decoding_limit.cpp"), str(folder / "limit")
    command = [compiler, "-O3", "-march=native", "-std=c++17", source, "-o", program, "-lsimdjson", "-lz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "it needs Debian's libsimdjson-dev and zlib1g-dev" if done.returncode else ""


def measure(case: Case, contenders: list[Contender], folder: Path) -> list[Row]:
    """Let all contenders read a case's files in turns."""
    with ExitStack() as stack:
        turns = [Turns(each, stack.enter_context(process(each, case, folder))) for each in contenders]
        yardstick = turns[0]
        for _ in range(ROUNDS):
            for each in turns:
                files = 1 if each.contender.slow else len(case.files)
                each.yardstick.append(yardstick.run(files))
                each.took.append(each.yardstick[-1] if each is yardstick else each.run(files))
        return [each.row(case) for each in turns]


def footnotes() -> list[str]:
    """Return what contenders lose."""
    return list(dict.fromkeys(each.loses for each in CONTENDERS if each.loses))


def show(rows: list[Row]) -> None:
    """Print a case's part of the table."""
    notes = footnotes()
    loses = {each.name: each.loses for each in CONTENDERS}
    for row in rows:
        lossless = "yes" if row.lossless else f"no ({notes.index(loses[row.contender]) + 1})"
        print(
            f"{row.case:<12} {row.contender:<22} {row.cpu_ratio:>8.2f} {row.wall_ratio:>8.2f} "
            f"{row.items_per_s:>12,.0f} {row.peak_mb:>8,.0f} {row.ready_mb:>9,.0f}  {lossless}",
            flush=True,
        )


def goals(rows: list[Row]) -> Iterator[tuple[str, float, str, bool]]:
    """Yield what was to be reached, what was found, and whether it was."""
    by_name = {(row.case, row.contender): row for row in rows}

    def least(what: str, found: float, goal: float, unit: str = "×") -> tuple[str, float, str, bool]:
        return what, found, f"≥ {goal} {unit}", found >= goal

    for case, most, factor in (("narrow", 0.9, 4), ("wide", 1.9, 10), ("mix", 1.9, 3)):
        if (case, OURS) not in by_name:
            continue
        ours = by_name[case, OURS]
        yield f"{case}: CPU in R", ours.cpu_ratio, f"≤ {most}", ours.cpu_ratio <= most
        yield least(f"{case}: against boto3", by_name[case, "boto3"].cpu_ratio / ours.cpu_ratio, 5)
        yield least(f"{case}: against the origin's way", by_name[case, "origin"].cpu_ratio / ours.cpu_ratio, factor)
        yield least(f"{case}: two cores against one", ours.wall_ratio / by_name[case, TWO].wall_ratio, 1.7)
        yield f"{case}: peak memory", ours.peak_mb, "≤ 350 MB", ours.peak_mb <= 350


def compare(cases: list[str], scale: float, folder: Path) -> list[Row]:
    """Measure and print all cases."""
    contenders = CONTENDERS
    if reason := compile_limit(folder):
        print(f"The native limit, gunzip and simdjson in C++, is not measured: {reason}.")
        contenders = [each for each in contenders if each.name != LIMIT]
    head = (
        f"{'case':<12} {'contender':<22} {'CPU in R':>8} {'wall':>8} {'items/s':>12} {'peak MB':>8} {'ready MB':>9}"
    )
    print(f"{head}  lossless")
    rows: list[Row] = []
    for name in cases:
        case = make(name, folder, scale)
        save(case, folder / f"{name}.json")
        found = measure(case, contenders, folder)
        show(found)
        rows += found
        print(f"{'':<12} {case.items:,} items of {case.bytes / case.items:,.0f} bytes in {len(case.files)} files\n")
    for number, note in enumerate(footnotes(), 1):
        print(f"({number}) {note}")
    return rows


def memory(scale: float, folder: Path) -> None:
    """Print the peak of decoding 1, 10 and 50 files, on all cores."""
    contender = replace(next(each for each in CONTENDERS if each.name == TWO), cores=max(2, len(CORES)))
    print(f"{'case':<12} {'files':>5} {'MB of JSON':>11} {'peak MB':>8} {'ready MB':>9}")
    for name in ("narrow", "wide"):
        case = make(name, folder, 4 * scale)
        each = case.bytes / len(case.files)
        for count in (1, 10, 50):
            many = replace(case, files=[case.files[number % len(case.files)] for number in range(count)])
            save(many, folder / f"{name}.json")
            with process(contender, many, folder) as running:
                took = Turns(contender, running).run(count)
            sizes = f"{each * count / 1e6:>11,.0f} {took['peak_mb']:>8,.0f} {took['ready_mb']:>9,.0f}"
            print(f"{name:<12} {count:>5} {sizes}", flush=True)


def show_profile(cases: list[str], scale: float, folder: Path) -> None:
    """Print where the time goes."""
    from decoding_profile import profile

    found = {name: profile(make(name, folder, scale)) for name in cases}
    print(f"{'% of the CPU time':<20}{''.join(f'{name:>13}' for name in found)}")
    for stage in next(iter(found.values())):
        print(f"{stage:<20}{''.join(f'{shares[stage]:>13.0f}' for shares in found.values())}")


def main() -> int:
    """Measure, print a table, and tell by the exit status whether every goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1, help="how much data, 1 is about 30 MB of JSON a case")
    parser.add_argument("--case", choices=[*CASES], nargs="*", help="measure these only")
    parser.add_argument("--memory", action="store_true", help="measure the memory of 1, 10 and 50 files instead")
    parser.add_argument("--profile", action="store_true", help="measure the stages of decoding instead")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="bench_decode_") as folder:
        if options.memory:
            memory(options.scale, Path(folder))
            return 0
        if options.profile:
            show_profile(options.case or [*CASES], options.scale, Path(folder))
            return 0
        rows = compare(options.case or [*CASES], options.scale, Path(folder))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    reached = True
    print()
    for what, found, goal, good in goals(rows):
        print(f"{what:<34} {found:>8.2f}  {goal:<10} {'reached' if good else 'MISSED'}")
        reached &= good
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
