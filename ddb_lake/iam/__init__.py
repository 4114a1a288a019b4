"""The least-privilege IAM policy that ddb_lake needs, and its form for the tables and buckets of a lake.yaml.

The end-to-end tests run under this policy on the embedded AWS, which refuses everything else.
"""

import json
import re
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ddb_lake.config import RecoveryPolicy, Settings, TableSettings
from ddb_lake.exports import AdoptedExport
from ddb_lake.windows import Window

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
            statements.append({**statement, "Resource": found, **_condition(statement, resources)})
    return {**policy, "Statement": statements}


def _condition(statement: dict[str, Any], resources: dict[str, list[str]]) -> dict[str, Any]:
    """Return a statement's condition with its placeholders replaced; nothing where it has none."""
    if "Condition" not in statement:
        return {}
    filled = {
        operator: {key: resources[value[2:-1]] for key, value in block.items()}
        for operator, block in statement["Condition"].items()
    }
    return {"Condition": filled}


def _resources(settings: Settings, account: str) -> dict[str, list[str]]:
    """Return what each placeholder stands for."""
    tables = {_table_arn(table, account) for table in settings.tables}
    recovered = {_table_arn(each, account) for each in settings.tables if each.recovery is RecoveryPolicy.ENABLE}
    adopted = [(table, export) for table in settings.tables for export in table.adopted]
    lake = urlsplit(settings.lake.uri)
    on_s3 = lake.scheme == "s3"
    folder = f"{lake.path.strip('/')}/" if lake.path.strip("/") else ""
    # One set of credentials reaches one partition only, so that of the tables is that of the lake.
    bucket = f"arn:{settings.tables[0].partition}:s3:::{lake.netloc}"
    return {
        "everything": ["*"],
        "tables": sorted(tables),
        "tables_to_recover": sorted(recovered),
        "exports": sorted(f"{arn}/export/*" for arn in tables),
        "export_buckets": sorted(
            {_bucket_arn(table, table.bucket) for table in settings.tables}
            | {_bucket_arn(table, export.bucket) for table, export in adopted}
        ),
        "export_objects": sorted({_exports_of(table) for table in settings.tables}),
        "adopted_objects": sorted({name for table, export in adopted for name in _objects_of(table, export)}),
        **_keys(settings, account),
        "lake_bucket": [bucket] if on_s3 else [],
        "lake_objects": [f"{bucket}/{folder}*"] if on_s3 else [],
    }


def _table_arn(table: TableSettings, account: str) -> str:
    if table.table.startswith("arn:"):
        return table.table
    return f"arn:{table.partition}:dynamodb:{table.region}:{account}:table/{table.table}"


def _bucket_arn(table: TableSettings, bucket: str) -> str:
    return f"arn:{table.partition}:s3:::{bucket}"


def _keys(settings: Settings, account: str) -> dict[str, list[str]]:
    """Return the KMS keys of the exports; those that have only an alias are any key that has it.

    S3's own key needs no permission.
    """
    keys: set[str] = set()
    keys_by_alias: set[str] = set()
    aliases: set[str] = set()
    for table in settings.tables:
        if table.kms_key is None:
            continue
        *arn, name = table.kms_key.split(":")
        # In the bucket's region, which may be another than the table's.
        root = ":".join(arn) if arn else f"arn:{table.partition}:kms:*:{account}"
        if name.startswith("alias/aws/"):
            continue
        if name.startswith("alias/"):
            aliases.add(name)
            keys_by_alias.add(f"{root}:key/*")
        else:
            keys.add(f"{root}:key/{name.removeprefix('key/')}")
    return {
        "export_keys": sorted(keys),
        "export_keys_by_alias": sorted(keys_by_alias),
        "export_key_aliases": sorted(aliases),
    }


def _exports_of(table: TableSettings) -> str:
    """Return the objects of a table's exports: they lie under its own name in the destination."""
    folder = f"{table.prefix}/" if table.prefix else ""
    return f"{_bucket_arn(table, table.bucket)}/{folder}{table.table.rpartition('/')[2]}/*"


def _objects_of(table: TableSettings, export: AdoptedExport) -> list[str]:
    """Return an adopted export's objects: in its own folder, and those of an incremental one in a shared one too."""
    folder = export.manifest_key.rpartition("/")[0]
    folders = [folder, f"{folder.rpartition('/')[0]}/data"] if isinstance(export.covers, Window) else [folder]
    return [f"{_bucket_arn(table, export.bucket)}/{each}/*" for each in folders]
