"""The KMS keys that there are: S3's own in every account, and those that the settings name.

A key is named by its id, its ARN, an alias or an alias's ARN (AWS: KMS developer guide, "Key identifiers").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ddb_lake.regions import partition_of

OWN_ALIAS = "alias/aws/s3"
"""S3's own key, which anybody in the account may use through S3 (AWS: S3 user guide, UsingKMSEncryption)."""

_ARN = re.compile(r"arn:(?P<partition>[^:]+):kms:(?P<region>[^:]*):(?P<account>[^:]*):(?P<name>.+)", re.ASCII)


@dataclass(frozen=True)
class KmsKey:
    """A key; `needs_permission` is false for S3's own."""

    arn: str
    alias: str | None
    needs_permission: bool = True


def find_key(text: str, region: str, account: str, keys: Mapping[str, str | None]) -> KmsKey | None:
    """Return the key that a text names in a region, or None if there is none.

    Args:
        text: An id, an alias, or the ARN of either.
        region: The region of the bucket, which has to be the key's.
        account: The id of the AWS account.
        keys: The ids of the keys that there are in every region, each with its alias.
    """
    arn = _ARN.fullmatch(text)
    if arn and (arn["partition"], arn["region"], arn["account"]) != (partition_of(region), region, account):
        return None
    name = arn["name"].removeprefix("key/") if arn else text
    root = f"arn:{partition_of(region)}:kms:{region}:{account}:"
    if name == OWN_ALIAS:
        return KmsKey(root + name, name, needs_permission=False)
    for key_id, alias in keys.items():
        if name == key_id or (alias is not None and name == alias):
            return KmsKey(f"{root}key/{key_id}", alias)
    return None
