"""The least-privilege IAM policy that ddb_lake needs, and its form for the tables and buckets of a lake.yaml.

The end-to-end tests run under this policy on the embedded AWS, which refuses everything else.
"""

import json
import re
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ddb_lake.config import RecoveryPolicy, Settings, TableSettings

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def template() -> dict[str, Any]:
    """Return the policy with placeholders such as `${tables}` for its resources."""
    return json.loads((files(__name__) / "policy.json").read_text(encoding="utf-8"))


def render_policy(settings: Settings, account: str = "*") -> dict[str, Any]:
    """Return the policy for the tables, the export buckets and the lake of a lake.yaml.

    A statement about what there is none of, such as the objects of a lake on local disk, is left out.

    Args:
        settings: The lake.yaml.
        account: The AWS account of tables that lake.yaml names without an ARN; `*` for whichever it is.
    """
    resources = _resources(settings, account)
    policy = template()
    statements: list[dict[str, Any]] = []
    for statement in policy["Statement"]:
        placeholder = _PLACEHOLDER.fullmatch(statement["Resource"])
        if placeholder is None:
            raise ValueError(f"the resource of {statement['Sid']} is no placeholder: {statement['Resource']!r}")
        found = resources[placeholder[1]]
        if found:
            statements.append({**statement, "Resource": found})
    return {**policy, "Statement": statements}


def _resources(settings: Settings, account: str) -> dict[str, list[str]]:
    """Return what each placeholder stands for."""
    tables = {_table_arn(table, account) for table in settings.tables}
    recovered = {_table_arn(each, account) for each in settings.tables if each.recovery is RecoveryPolicy.ENABLE}
    lake = urlsplit(settings.lake.uri)
    on_s3 = lake.scheme == "s3"
    folder = f"{lake.path.strip('/')}/" if lake.path.strip("/") else ""
    # One set of credentials reaches one partition only, so that of the tables is that of the lake.
    bucket = f"arn:{settings.tables[0].partition}:s3:::{lake.netloc}"
    return {
        "tables": sorted(tables),
        "tables_to_recover": sorted(recovered),
        "exports": sorted(f"{arn}/export/*" for arn in tables),
        "export_buckets": sorted({_bucket_arn(table) for table in settings.tables}),
        "export_objects": sorted({_exports_of(table) for table in settings.tables}),
        "lake_bucket": [bucket] if on_s3 else [],
        "lake_objects": [f"{bucket}/{folder}*"] if on_s3 else [],
    }


def _table_arn(table: TableSettings, account: str) -> str:
    if table.table.startswith("arn:"):
        return table.table
    return f"arn:{table.partition}:dynamodb:{table.region}:{account}:table/{table.table}"


def _bucket_arn(table: TableSettings) -> str:
    return f"arn:{table.partition}:s3:::{table.bucket}"


def _exports_of(table: TableSettings) -> str:
    """Return the objects of a table's exports: they lie under its own name in the destination."""
    folder = f"{table.prefix}/" if table.prefix else ""
    return f"{_bucket_arn(table)}/{folder}{table.table.rpartition('/')[2]}/*"
