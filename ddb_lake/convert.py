"""Move a table's replica to a strategy, in one commit: `python -m ddb_lake.convert TABLE [--to STRATEGY]`.

Without `--to` the strategy is the one that lake.yaml names, so that changing it there and running this is enough.
Windows may go on meanwhile.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ddb_lake.config import DEFAULT_PATH, PATH_VARIABLE, Settings, load_settings
from ddb_lake.errors import DdbLakeError
from ddb_lake.replica import Strategy
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline


def convert(settings: Settings, name: str, strategy: Strategy | None) -> str:
    """Move a replica, and say what that did.

    Args:
        settings: What lake.yaml says.
        name: The table's name in the lake.
        strategy: Where to; None for what lake.yaml says.

    Raises:
        DdbLakeError: If there is no such table, or it can't be moved.
    """
    table = next((each for each in settings.tables if each.name == name), None)
    if table is None:
        raise DdbLakeError(
            f"lake.yaml has no table {name!r}; name one of {', '.join(each.name for each in settings.tables)}"
        )
    pipeline = open_pipeline(table, DynamoDBExports.of(settings.aws), Lake.of(settings.lake, settings.aws))
    replica = pipeline.held_replica() or pipeline.replica
    done = replica.convert(strategy or table.strategy)
    where = replica.location
    if not done.changed:
        return f"{where} has the strategy {done.strategy} already; nothing was committed"
    rewritten = f", {done.files_rewritten} files rewritten ({done.bytes_written:,} bytes)"
    indexed = f", {done.segments_made} segments of the key index made"
    return (
        f"{where} has the strategy {done.strategy} since version {done.version}"
        + (rewritten if done.files_rewritten else "")
        + (indexed if done.segments_made else "")
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m ddb_lake.convert", description=__doc__)
    parser.add_argument("table", help="the table's name in the lake")
    parser.add_argument("--to", type=Strategy, choices=list(Strategy), help="by default what lake.yaml says")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(Path(os.environ.get(PATH_VARIABLE, DEFAULT_PATH)))
        sys.stdout.write(convert(settings, options.table, options.to) + "\n")
    except DdbLakeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
