"""lake.yaml: the source tables, where the lake is, and which AWS; read, checked, and explained when wrong.

No secret has a place in it: credentials come from the standard AWS variables and profiles.
"""

import logging
import os
import re
from collections.abc import Hashable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from botocore.session import Session
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ddb_lake.attribute_settings import AttributesSettings, StrictModel, attribute_name
from ddb_lake.errors import ConfigError
from ddb_lake.exports import SUMMARY_KEY, AdoptedExport, Destination, ImageView, can_be_exported
from ddb_lake.regions import partition_of, why_no_region
from ddb_lake.replica import DatePart, HashBucket, PartitionColumn, Strategy
from ddb_lake.replica.location import looks_partitioned, why_unreadable
from ddb_lake.replica.partitioning import MOST_BUCKETS, Unit
from ddb_lake.windows import (
    QUARTER_HOUR,
    Window,
    floor_quarter_hour,
    format_time,
    is_quarter_hour,
    parse_time,
)

_LOG = logging.getLogger(__name__)

DEFAULT_PATH = Path("lake.yaml")
PATH_VARIABLE = "DDB_LAKE_CONFIG"
"""The environment variable that names another file than `lake.yaml` in the current folder."""

_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}")
_TABLE_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):dynamodb:(?P<region>[a-z0-9-]+):(?P<account>\d{12})"
    r":table/(?P<name>[a-zA-Z0-9_.-]{3,255})",
    re.ASCII,
)
_KMS_ALIAS = r"alias/[a-zA-Z0-9/_-]{1,250}"
_KMS_ID = r"(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-fA-F]{32})"
_KMS_KEY = re.compile(
    rf"(?:arn:(?P<partition>aws[a-z-]*):kms:(?P<region>[a-z0-9-]+):(?P<account>\d{{12}}):(?:{_KMS_ALIAS}|key/{_KMS_ID})"
    rf"|{_KMS_ALIAS}|{_KMS_ID})",
    re.ASCII,
)
_LONGEST_PREFIX = 512
"""Bytes: a key of S3 has 1,024 at most, and table, window and file need up to half of them."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SECRET = re.compile(r"secret|password|token|access_key|credential", re.IGNORECASE)


class AwsMode(StrEnum):
    """Which AWS is meant."""

    EMBEDDED = "embedded"
    REAL = "real"


class RecoveryPolicy(StrEnum):
    """What to do where a source table's point-in-time recovery is off."""

    CHECK = "check"
    ENABLE = "enable"


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = parse_time(value)
        except ValueError as error:
            raise ValueError("not a time with a time zone; write it like 2026-11-24T18:15:00Z") from error
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("not a time with a time zone; write it like 2026-11-24T18:15:00Z")
    if not 2000 <= value.year <= 2100:
        raise ValueError("not a time that DynamoDB could export; write it like 2026-11-24T18:15:00Z")
    if value.microsecond % 1000:
        raise ValueError("more exact than a millisecond, which no export's time is; write it as the export has it")
    return value.astimezone(UTC)


def _table(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not _TABLE_NAME.fullmatch(text) and not _TABLE_ARN.fullmatch(text):
        raise ValueError(
            "neither a table's name (3 to 255 of a-z A-Z 0-9 _ . -) nor its ARN "
            "(arn:aws:dynamodb:<region>:<account>:table/<name>)"
        )
    return text


def _bucket(value: object) -> str:
    if not isinstance(value, str) or not _BUCKET.fullmatch(value):
        raise ValueError("not a bucket's name; write the name alone, without s3:// and without a path")
    return value


def _prefix(value: object) -> str:
    if not isinstance(value, str) or value.startswith("/") or value.endswith("/") or "//" in value:
        raise ValueError("not a prefix; write it without a slash at either end, like exports/dynamodb")
    if {".", ".."} & set(value.split("/")):
        raise ValueError("not a prefix: HTTP clients resolve . and .., and would ask for other objects; remove them")
    if not value.isprintable():
        raise ValueError("not a prefix: it has control characters; remove them")
    if wrong := [each for each in ("\\", "*", "?", "${") if each in value]:
        raise ValueError(f"not a prefix: IAM policies and clients of S3 read {wrong[0]} as something else; remove it")
    if len(value.encode()) > _LONGEST_PREFIX:
        raise ValueError(f"longer than {_LONGEST_PREFIX} bytes, so that the keys of exports could be too long for S3")
    return value


def _kms_key(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not _KMS_KEY.fullmatch(text):
        raise ValueError(
            "not a KMS key; write its id (1234abcd-12ab-34cd-56ef-1234567890ab), alias/name, or the ARN of either"
        )
    return text


def manifest_uri(value: object) -> str:
    """Return the S3 URI of an export's manifest if it can be adopted.

    Raises:
        ValueError: If it is none, or its prefix is one that `prefix` may not be either.
    """
    text = value if isinstance(value, str) else ""
    bucket, _, key = text.removeprefix("s3://").partition("/")
    place = SUMMARY_KEY.fullmatch(key)
    if not text.startswith("s3://") or not _BUCKET.fullmatch(bucket) or place is None:
        raise ValueError(
            "not the manifest of an export; write it like s3://bucket/prefix/AWSDynamoDB/<export id>/"
            "manifest-summary.json (`python -m ddb_lake.adopt <table> <export's ARN>` prints it)"
        )
    try:
        _prefix(place["prefix"] or "")
    except ValueError as error:
        raise ValueError(f"it lies under {place['prefix']!r}, where no export can be used: {error}") from error
    return text


def _owner(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{12}", value):
        raise ValueError("not an account id; write its twelve digits in quotes")
    return value


def _table_region(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if why := why_no_region(text, "dynamodb"):
        raise ValueError(why)
    return text


def _lake_region(value: object) -> str:
    text = value if isinstance(value, str) else ""
    # A server of one's own calls its region what it likes.
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if (why := why_no_region(text, "s3")) and not (text and elsewhere):
        raise ValueError(why)
    return text


def _lake_uri(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not text or (
        re.match(r"[A-Za-z0-9]+:/", text) and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^@]*)?", text)
    ):
        raise ValueError("neither a local path nor an S3 URL; write it like ./lake or s3://bucket/prefix")
    text = text.rstrip("/") or "/"
    if why := why_unreadable(text):
        raise ValueError(why)
    return text


class AwsSettings(StrictModel):
    """Which AWS, and how it is reached.

    `endpoint` is the embedded AWS's; the real one is found by its region. `profile` is one of the AWS
    configuration's, for the real AWS.
    """

    mode: AwsMode = AwsMode.EMBEDDED
    endpoint: Annotated[str, Field(pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\]):\d{1,5}$")] = (
        "http://127.0.0.1:4566"
    )
    profile: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "AwsSettings":
        if self.mode is AwsMode.REAL and "endpoint" in self.model_fields_set:
            raise ValueError("endpoint belongs to mode: embedded; remove it, or set AWS_ENDPOINT_URL")
        if self.mode is AwsMode.EMBEDDED and self.profile:
            raise ValueError("profile belongs to mode: real; remove it")
        if self.profile and self.profile not in (known := Session().available_profiles):
            raise ValueError(
                f"the AWS configuration has no profile {self.profile!r}; write one of {', '.join(known) or 'none'}"
            )
        return self


class LakeSettings(StrictModel):
    """Where the Delta tables live: a local path (relative to lake.yaml) or an S3 URL, and that bucket's region."""

    uri: Annotated[str, BeforeValidator(_lake_uri)]
    region: Annotated[str, BeforeValidator(_lake_region)] | None = None


class SensorSettings(StrictModel):
    """The export sensor: whether it runs as soon as Dagster does, and the seconds between two ticks.

    On the real AWS it starts exports, which cost money, so it is off until it is switched on.
    """

    running: bool = False
    interval_seconds: Annotated[int, Field(ge=5, le=3600)] = 30


class PartitionRule(StrictModel):
    """One partition column: either a number of `buckets`, or a `unit` (year, month, day) of an attribute's time."""

    buckets: Annotated[int, Field(ge=2, le=MOST_BUCKETS)] | None = None
    attribute: Annotated[str, BeforeValidator(attribute_name)] | None = None
    unit: Unit | None = None

    @model_validator(mode="after")
    def _check(self) -> "PartitionRule":
        by_time = self.attribute is not None and self.unit is not None
        if (self.buckets is not None) == by_time or (self.attribute is None) != (self.unit is None):
            raise ValueError("write either buckets: 16, or attribute: created_at and unit: day")
        return self

    @property
    def column(self) -> PartitionColumn:
        """The partition column that the rule makes."""
        if self.buckets is not None:
            return HashBucket(self.buckets)
        assert self.attribute is not None
        assert self.unit is not None
        return DatePart(self.attribute, self.unit)


class AdoptedSettings(StrictModel):
    """A completed export that somebody else has made: its manifest, and the time or the window that it is of."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    manifest: Annotated[str, BeforeValidator(manifest_uri)]
    time: Annotated[datetime, BeforeValidator(_time)] | None = None
    from_time: Annotated[datetime, BeforeValidator(_time)] | None = Field(default=None, alias="from")
    to_time: Annotated[datetime, BeforeValidator(_time)] | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _check(self) -> "AdoptedSettings":
        full = self.time is not None
        if full == (self.from_time is not None) or full == (self.to_time is not None):
            raise ValueError("write either the time of a full export, or from and to of an incremental one")
        if self.from_time is None or self.to_time is None:
            return self
        if self.from_time >= self.to_time or not can_be_exported(Window(self.from_time, self.to_time)):
            raise ValueError(
                f"no export is from {format_time(self.from_time)} to {format_time(self.to_time)}: "
                "DynamoDB exports between 15 minutes and 24 hours incrementally"
            )
        return self

    @property
    def export(self) -> AdoptedExport:
        """The export."""
        bucket, _, key = self.manifest.removeprefix("s3://").partition("/")
        if self.time is not None:
            return AdoptedExport(bucket, key, self.time)
        assert self.from_time is not None
        assert self.to_time is not None
        return AdoptedExport(bucket, key, Window(self.from_time, self.to_time))


class TableSettings(AttributesSettings):
    """One source table.

    `start` is the quarter-hour (UTC) at which the bootstrap is taken and the first window begins, or the time of the
    full export that `adopt` names, whatever that is. `alias` names the table in the lake and in Dagster where its own
    name would meet another's. `strategy` and `partition_by` are for a replica that a bootstrap makes; one that exists
    keeps its own.
    """

    table: Annotated[str, BeforeValidator(_table)]
    region: Annotated[str, BeforeValidator(_table_region)]
    adopt: tuple[AdoptedSettings, ...] = ()
    start: Annotated[datetime, BeforeValidator(_time)]
    bucket: Annotated[str, BeforeValidator(_bucket)]
    prefix: Annotated[str, BeforeValidator(_prefix)] = ""
    bucket_owner: Annotated[str, BeforeValidator(_owner)] | None = None
    kms_key: Annotated[str, BeforeValidator(_kms_key)] | None = None
    alias: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,254}$")] | None = None
    view: ImageView = ImageView.NEW_IMAGE
    strategy: Strategy = Strategy.DELETION_VECTORS
    partition_by: tuple[PartitionRule, ...] = ()
    recovery: RecoveryPolicy = RecoveryPolicy.CHECK

    @field_validator("start")
    @classmethod
    def _check_start(cls, start: datetime, info: ValidationInfo) -> datetime:
        adopt: tuple[AdoptedSettings, ...] = info.data.get("adopt", ())
        times = [each.time for each in adopt if each.time is not None]
        if times and start not in times:
            raise ValueError(
                f"not the time of the adopted full export; write {format_time(times[0])}, "
                "or remove that export from adopt"
            )
        if not times and "adopt" in info.data and not is_quarter_hour(start):
            before = floor_quarter_hour(start)
            raise ValueError(
                f"not on a quarter-hour; write {format_time(before)} or {format_time(before + QUARTER_HOUR)}, "
                "or adopt a full export of exactly that time"
            )
        return start

    @model_validator(mode="after")
    def _check(self) -> "TableSettings":
        full = [each.manifest for each in self.adopt if each.time is not None]
        if len(full) > 1:
            raise ValueError(f"adopt names {len(full)} full exports ({', '.join(full)}); a replica starts from one")
        manifests = [each.manifest for each in self.adopt]
        if len(set(manifests)) < len(manifests):
            raise ValueError("adopt names an export twice; remove one of the two")
        arn = _TABLE_ARN.fullmatch(self.table)
        if arn and arn["region"] != self.region:
            raise ValueError(f"the ARN is of the region {arn['region']}, but region says {self.region}; correct one")
        if arn and arn["partition"] != (partition := partition_of(self.region)):
            raise ValueError(
                f"the ARN begins with arn:{arn['partition']}:, but ARNs of the region {self.region} begin with "
                f"arn:{partition}:; correct one"
            )
        key = _KMS_KEY.fullmatch(self.kms_key or "")
        if key and key["partition"] and key["partition"] != self.partition:
            raise ValueError(
                f"kms_key is of the partition {key['partition']}, but the region {self.region} is of "
                f"{self.partition}; write a key of the bucket's region"
            )
        if self.old_images and self.view is not ImageView.NEW_AND_OLD_IMAGES:
            raise ValueError(
                f"old_images: true needs exports that show them, but view is {self.view}; "
                "write view: NEW_AND_OLD_IMAGES"
            )
        kinds = [part.column.name for part in self.partition_by]
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                "partition_by: two rules make one partition column; write at most one with buckets, and one for each "
                "of year, month and day"
            )
        for part in self.partition_by:
            if part.attribute is not None and (why := self.why_no_text(part.attribute)):
                raise ValueError(
                    f"partition_by: a {part.unit} is told by a text with an ISO 8601 time, but the attribute "
                    f"{part.attribute!r} {why}; remove that, or partition by another attribute or by buckets"
                )
        return self

    @property
    def name(self) -> str:
        """The table's name in the lake and in Dagster."""
        return self.alias or self.table.rpartition("/")[2]

    @property
    def partition(self) -> str:
        """The AWS partition that the table's ARNs, and those of its bucket, begin with."""
        return partition_of(self.region)

    @property
    def identifier(self) -> str:
        """The name with nothing but letters, digits and underscores, as Dagster's groups and jobs want it."""
        return re.sub(r"[^A-Za-z0-9_]", "_", self.name)

    @property
    def destination(self) -> Destination:
        """Where the table's exports go."""
        return Destination(self.bucket, self.prefix, self.bucket_owner, self.kms_key)

    @property
    def adopted(self) -> tuple[AdoptedExport, ...]:
        """The exports that others have made and that are to be used."""
        return tuple(each.export for each in self.adopt)


class Settings(StrictModel):
    """All of lake.yaml, validated."""

    aws: AwsSettings = AwsSettings()
    lake: LakeSettings
    sensor: SensorSettings = SensorSettings()
    tables: tuple[TableSettings, ...]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        """Let `aws: real` and `lake: PATH` stand for the longer forms."""
        if not isinstance(value, dict):
            return value
        members = {**cast("dict[str, Any]", value)}
        if isinstance(members.get("aws"), str):
            members["aws"] = {"mode": members["aws"]}
        if isinstance(members.get("lake"), str):
            members["lake"] = {"uri": members["lake"]}
        return members

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if not self.tables:
            raise ValueError("tables is empty; name at least one table")
        names: dict[str, str] = {}
        for table in self.tables:
            identifier = table.identifier.lower()
            if identifier in names:
                raise ValueError(
                    f"the tables {names[identifier]} and {table.name} would share the name {identifier}; "
                    "give one of them another alias"
                )
            names[identifier] = table.name
        return self


def load_settings(path: Path) -> Settings:
    """Read and check a lake.yaml.

    Args:
        path: The file. A relative lake path in it is taken from the file's folder.

    Raises:
        ConfigError: If the file is not there, is not YAML, or something in it is wrong; all mistakes at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file; run from the folder that holds lake.yaml, set {PATH_VARIABLE} "
            "to another file, or `make dev` for a demonstration"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    try:
        content = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        # Without the lines themselves: they may hold what should not be shown.
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        remedy = "; write it in single quotes" if "unknown escape" in (error.problem or "") else ""
        raise ConfigError(f"{path}: line {line}: not YAML: {error.problem}{remedy}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: not YAML: {type(error).__name__}: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {_shown(content)}; it must hold the keys aws, lake, sensor and tables")
    settings = parse_settings(cast("dict[str, Any]", content), path)
    if "://" in settings.lake.uri:
        _check_partition_like(path, settings.lake.uri, exists=True)  # asking S3 is not for here
        return settings
    try:
        # Without its symbolic links, as delta-rs opens it.
        uri = str((path.parent / Path(settings.lake.uri).expanduser()).resolve())
    except (RuntimeError, OSError, ValueError) as error:
        raise ConfigError(f"{path}: lake.uri: {settings.lake.uri!r}: can't be resolved: {error}") from error
    if why := why_unreadable(uri):
        raise ConfigError(f"{path}: lake.uri: {settings.lake.uri!r} is {uri!r}: {why}")
    _check_partition_like(path, uri, exists=any(any(Path(uri).glob(log)) for log in _LOGS))
    return settings.model_copy(update={"lake": settings.lake.model_copy(update={"uri": uri})})


_LOGS = ("*/replica/_delta_log", "*/change_log/*/_delta_log")
"""Where a lake's folder has the logs of its tables."""


def _check_partition_like(path: Path, uri: str, *, exists: bool) -> None:
    """Refuse a folder that polars takes for a partition; only warn where a lake may be there already.

    Raises:
        ConfigError: If it is refused.
    """
    if not looks_partitioned(uri):
        return
    why = (
        f"{path}: lake.uri: {uri!r}: polars takes a folder like key=value for a partition column, and does not open "
        "the change log or any other partitioned table there; use another folder"
    )
    if not exists:
        raise ConfigError(why)
    _LOG.warning("%s (a table may be moved there as it is)", why)


def parse_settings(members: Mapping[str, Any], source: Path) -> Settings:
    """Check the members of a lake.yaml.

    Args:
        members: As YAML gives them.
        source: Where they come from, for messages.

    Raises:
        ConfigError: If something is wrong; all mistakes at once.
    """
    try:
        return Settings.model_validate(members)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(source, problem) for problem in error.errors())) from None


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which YAML would silently keep the last.

    It names the line of a date that does not exist.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> date:
        try:
            return super().construct_yaml_timestamp(node)
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is no date or time: {error}; correct it, or quote it", node.start_mark
            ) from None


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


_UNSHOWN = ".hash_key_variable"
"""The key of what may be a secret written in the wrong place."""

_REMEDIES = {
    "missing": "it is missing; add it",
    "extra_forbidden": "there is no such key; correct its name or remove it",
    "tuple_type": "write a list: each member after a dash, or all in brackets",
    "string_pattern_mismatch": "it does not have the form {pattern}",
    "enum": "write {expected}",
    "literal_error": "write {expected}",
    "dict_type": "write its keys, indented, below it",
    "bool_parsing": "write true or false",
    "string_type": "write text; quote what YAML takes for something else",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "greater_than_equal": "write {ge} or more",
    "less_than_equal": "write {le} or less",
    "model_type": "write its keys, indented, below it",
    "model_attributes_type": "write its keys, indented, below it",
}


def _explain(path: Path, problem: Mapping[str, Any]) -> str:
    """Say one mistake in a line: file, key, value, remedy."""
    key = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if (form := _REMEDIES.get(problem["type"])) is not None:
        remedy = form.format_map({"pattern": "", "expected": "", "ge": "", "le": "", **problem.get("ctx", {})})
    else:
        remedy = problem["msg"].removeprefix("Value error, ")
    if _SECRET.search(key) and "attributes" not in problem["loc"]:  # whose names are the source table's
        remedy += "; lake.yaml holds no credentials: use the standard AWS variables or a profile"
        return f"{path}: {key}: {remedy}"
    if problem["type"] in {"missing", "extra_forbidden"} or not problem["loc"] or key.endswith(_UNSHOWN):
        return f"{path}: {key}: {remedy}"
    return f"{path}: {key}: {_shown(problem['input'])}: {remedy}"


def _shown(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'}"
    return re.sub(r"//[^/@]*@", "//…@", repr(value))  # whatever stands before an @ may be a secret
