"""`python -m ddb_lake.iam lake.yaml` prints the IAM policy that the lake needs, as JSON."""

import argparse
import json
import re
import sys
from pathlib import Path

from ddb_lake.config import ConfigError, load_settings
from ddb_lake.iam import render_policy


def main() -> int:
    """Print the policy; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ddb_lake.iam", description=__doc__)
    parser.add_argument("settings", type=Path, help="the lake.yaml")
    parser.add_argument(
        "--account", type=_account, default="*", help="the tables' account, twelve digits (default: any)"
    )
    options = parser.parse_args()
    try:
        policy = render_policy(load_settings(options.settings), options.account)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(policy, indent=2) + "\n")
    return 0


def _account(text: str) -> str:
    if not re.fullmatch(r"\d{12}|\*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither an account id of twelve digits nor *")
    return text


if __name__ == "__main__":
    sys.exit(main())
