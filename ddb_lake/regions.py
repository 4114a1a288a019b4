"""The AWS regions that botocore knows, and their partitions.

A partition (the standard one, China, GovCloud, the European Sovereign Cloud and others) has ARNs of its own.
"""

from difflib import get_close_matches
from functools import cache
from typing import Literal

from botocore import __version__ as botocore_version
from botocore.exceptions import UnknownRegionError
from botocore.session import Session

_SUGGESTIONS = 3


@cache
def regions_of(service: Literal["dynamodb", "s3"]) -> frozenset[str]:
    """Return the regions of all partitions that have a service."""
    session = Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    )


@cache
def partition_of(region: str) -> str:
    """Return the partition of a region, as ARNs begin with it: `aws`, `aws-cn`, `aws-eusc`, ….

    It is `aws` for a name that no partition has, such as an emulator's `local`.
    """
    try:
        return Session().get_partition_for_region(region)
    except UnknownRegionError:
        return "aws"


def why_no_region(name: str, service: Literal["dynamodb", "s3"]) -> str | None:
    """Return why a name is no region of a service, with the nearest ones and the remedy; None if it is one."""
    known = regions_of(service)
    if name in known:
        return None
    near = get_close_matches(name, sorted(known), _SUGGESTIONS)
    instead = f"write {' or '.join(near)}" if near else "write one such as eu-central-1"
    label = {"dynamodb": "DynamoDB", "s3": "S3"}[service]
    return f"not a region of {label}; {instead} (a region newer than botocore {botocore_version} needs a newer one)"
