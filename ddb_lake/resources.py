"""What the assets and the sensor reach the world by: DynamoDB's exports, and the lake that the tables live in."""

import logging
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import boto3
import dagster as dg
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from dagster_aws.utils import ResourceWithBoto3Configuration
from pydantic import Field

from ddb_lake.aws_sessions import Limits, open_session
from ddb_lake.config import AwsMode, AwsSettings, LakeSettings, TableSettings
from ddb_lake.exports import ExportClient
from ddb_lake.exports.errors import translate
from ddb_lake.exports.remembering import Answers, RememberingClient
from ddb_lake.orphans import record_process
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import Location, SessionCredentials

_LOG = logging.getLogger(__name__)

EMBEDDED_KEY = "embedded"
"""Access key and secret for the embedded AWS, which takes any: so that real ones are never sent to it."""


@dataclass(frozen=True)
class _Reach:
    """By which endpoint, as whom and how patiently AWS is called."""

    region: str
    profile: str | None
    endpoint: str | None
    access_key: str | None
    secret_key: str | None
    limits: Limits

    def session(self) -> boto3.Session:
        """Return a session of its own."""
        return open_session(self.region, self.profile, self.access_key, self.secret_key, self.limits)


class DynamoDBExports(ResourceWithBoto3Configuration):
    """The export calls of DynamoDB, for the tables of lake.yaml."""

    connect_seconds: float = Field(default=Limits.connect_seconds, description="How long connecting may take.")
    read_seconds: float = Field(default=Limits.read_seconds, description="How long a socket may be silent.")
    timed_out_attempts: int = Field(
        default=Limits.timed_out_attempts,
        description="How often a call is tried at most where there is no answer in time.",
    )

    @classmethod
    def of(cls, aws: AwsSettings) -> "DynamoDBExports":
        """Return the resource that lake.yaml's `aws` describes."""
        if aws.mode is AwsMode.EMBEDDED:
            return cls(endpoint_url=aws.endpoint, aws_access_key_id=EMBEDDED_KEY, aws_secret_access_key=EMBEDDED_KEY)
        return cls(profile_name=aws.profile)

    def for_a_tick(self) -> "DynamoDBExports":
        """Return the resource with clients that don't wait twice for an answer: the next tick asks again."""
        return self.model_copy(update={"timed_out_attempts": 1})

    def client(self, table: TableSettings, answers: Answers | None = None) -> ExportClient:
        """Return the client for a table's region and destination.

        Args:
            table: The table.
            answers: What was answered about it before, which is not asked again; None to ask for everything.

        Raises:
            AccessDenied: If the profile or its credentials can't be had.
        """
        reach = _Reach(
            table.region,
            self.profile_name,
            self.endpoint_url,
            self.aws_access_key_id,
            self.aws_secret_access_key,
            Limits(self.connect_seconds, self.read_seconds, self.max_attempts, self.timed_out_attempts),
        )
        try:
            dynamodb, s3 = _clients(reach)
            account = _account(reach) if table.table.startswith("arn:") else None
        except BotoCoreError as error:
            raise translate(error, f"preparing to call AWS for {table.name}") from error
        if answers is None:
            return ExportClient(dynamodb, s3, table.destination, account, table.adopted)
        return RememberingClient(dynamodb, s3, table.destination, account, table.adopted, answers=answers)


@lru_cache
def _clients(reach: _Reach) -> tuple[Any, Any]:
    """Return boto3's clients for DynamoDB and S3, made once: that takes long, and may ask for a role."""
    session = reach.session()
    config = Config(s3={"addressing_style": "path" if reach.endpoint else "auto"})
    return (
        session.client("dynamodb", endpoint_url=reach.endpoint),
        session.client("s3", endpoint_url=reach.endpoint, config=config),
    )


def _account(reach: _Reach) -> str | None:
    """Return the account of the credentials (STS, which needs no permission); None where STS can't be asked.

    An answer is kept, a failure is not. To know the account makes an error early and clear, and AWS refuses without
    it too.
    """
    try:
        return _account_of_credentials(reach)
    except (ClientError, BotoCoreError) as error:
        _LOG.warning("the account of the credentials is not known: %s", error)
        return None


@lru_cache
def _account_of_credentials(reach: _Reach) -> str:
    return reach.session().client("sts", endpoint_url=reach.endpoint).get_caller_identity()["Account"]


class Lake(dg.ConfigurableResource):
    """Where the Delta tables live: a folder or an S3 URL, and how it is reached."""

    uri: str = Field(description="A local folder, or s3://bucket/prefix.")
    region: str | None = Field(default=None, description="The bucket's region, where the lake is on S3.")
    endpoint_url: str | None = Field(default=None, description="The embedded AWS's endpoint.")
    profile_name: str | None = Field(default=None, description="The AWS profile that reaches the bucket.")
    answer_seconds: int = Field(default=30, description="How long S3 is given for an answer with its body.")
    retry_seconds: int = Field(default=20, description="After how long S3 is not asked again.")

    @classmethod
    def of(cls, lake: LakeSettings, aws: AwsSettings) -> "Lake":
        """Return the resource that lake.yaml's `lake` describes."""
        endpoint = aws.endpoint if aws.mode is AwsMode.EMBEDDED else None
        return cls(uri=lake.uri, region=lake.region, endpoint_url=endpoint, profile_name=aws.profile)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Record which process executes the run: every run needs the lake, and this comes before its first step."""
        if context.instance is not None and context.run is not None:
            record_process(context.instance, context.run)

    def for_a_tick(self) -> "Lake":
        """Return the resource with less patience: together, the two limits must fit into what a tick has left."""
        return self.model_copy(update={"answer_seconds": 20, "retry_seconds": 5})

    def locate(self, table: TableSettings, name: str) -> Location:
        """Return the location of a source table's Delta table of a name, see `Pipeline`."""
        return Location(f"{self.uri}/{table.name}/{name}", self._storage_options, self._credentials)

    @cached_property
    def _session(self) -> boto3.Session:
        return open_session(self.region, self.profile_name)

    @property
    def _storage_options(self) -> dict[str, str]:
        """The options for object storage, without keys that may expire."""
        if not self.uri.startswith("s3://"):
            return {}
        if self.endpoint_url:
            return {
                **self._patience,
                "AWS_ENDPOINT_URL": self.endpoint_url,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": self.region or "us-east-1",
                "AWS_ACCESS_KEY_ID": EMBEDDED_KEY,
                "AWS_SECRET_ACCESS_KEY": EMBEDDED_KEY,
            }
        return {**self._patience, "AWS_REGION": self._session.region_name or "us-east-1"}

    @property
    def _patience(self) -> dict[str, str]:
        return {"timeout": f"{self.answer_seconds}s", "retry_timeout": f"{self.retry_seconds}s"}

    @property
    def _credentials(self) -> SessionCredentials | None:
        """What gives the keys of the real S3."""
        real_s3 = self.uri.startswith("s3://") and not self.endpoint_url
        return SessionCredentials(self._session) if real_s3 else None


def open_pipeline(
    table: TableSettings,
    exports: DynamoDBExports,
    lake: Lake,
    recorded_id: str | None = None,
    answers: Answers | None = None,
) -> Pipeline:
    """Return a source table's pipeline, reached by the two resources.

    `recorded_id` is as `Pipeline` says, `answers` as `DynamoDBExports.client` does.
    """
    return Pipeline(table, exports.client(table, answers), lambda name: lake.locate(table, name), recorded_id)
