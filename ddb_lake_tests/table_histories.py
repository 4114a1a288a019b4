"""Source tables with a past on the embedded AWS, and their way into a lake without Dagster."""

from pathlib import Path
from typing import Any

from ddb_lake.config import TableSettings
from ddb_lake.exports import ExportClient
from ddb_lake.pipeline import DecodedWindow, Pipeline, StagedItems
from ddb_lake.replica import Location
from ddb_lake.windows import QUARTER_HOUR, Window, floor_quarter_hour
from ddb_lake_tests.cloud import BUCKET, Cloud


def write(cloud: Cloud, table: str, operation: tuple[Any, ...]) -> None:
    """Do one write through the API."""
    match operation:
        case ("put", key, attributes):
            cloud.dynamodb.put_item(TableName=table, Item={**attributes, "id": {"S": key}})
        case ("set", key, name, value):
            cloud.dynamodb.update_item(
                TableName=table,
                Key={"id": {"S": key}},
                UpdateExpression="SET #n = :v",
                ExpressionAttributeNames={"#n": name},
                ExpressionAttributeValues={":v": value},
            )
        case ("remove", key, name):
            cloud.dynamodb.update_item(
                TableName=table,
                Key={"id": {"S": key}},
                UpdateExpression="REMOVE #n",
                ExpressionAttributeNames={"#n": name},
            )
        case ("delete", key):
            cloud.dynamodb.delete_item(TableName=table, Key={"id": {"S": key}})


def bootstrap(pipeline: Pipeline) -> StagedItems:
    """Export the bootstrap, decode it and commit it."""
    pipeline.start_export(pipeline.bootstrap_request)
    staged = pipeline.stage_bootstrap()
    pipeline.commit_bootstrap()
    return staged


def no_waiting(progress: str, seconds: float) -> None:
    """Exports complete here by the next look."""


def bring_in(pipeline: Pipeline, window: Window) -> DecodedWindow:
    """Export just this window, decode that export and apply it."""
    sources = pipeline.wait_for_exports([pipeline.window_request(window)], no_waiting)
    decoded = pipeline.decode_exports(window, sources)
    pipeline.apply(window)
    return decoded


class History:
    """A new table with writes before noon and in each of some windows, and the Scan at each window's end."""

    def __init__(self, cloud: Cloud, folder: Path, before: list[Any], during: list[list[Any]]) -> None:
        self.cloud = cloud
        self.folder = folder
        self.table = folder.name
        # The clock never goes back, so each history begins where the last one ended.
        self.start = floor_quarter_hour(cloud.control.now()) + 2 * QUARTER_HOUR
        self.scans: list[list[Any]] = []
        cloud.control.clock("frozen", at=self.start - QUARTER_HOUR)
        cloud.create_table(self.table)
        for operation in before:
            write(cloud, self.table, operation)
        for n, operations in enumerate(during):
            cloud.control.clock("frozen", at=self.window(n).start)
            for operation in operations:
                write(cloud, self.table, operation)
            cloud.control.clock("frozen", at=self.window(n).end)
            self.scans.append(cloud.scan(self.table))

    def window(self, n: int, count: int = 1) -> Window:
        """The window of some quarter-hours from the n-th on."""
        return Window(self.start + n * QUARTER_HOUR, self.start + (n + count) * QUARTER_HOUR)

    def opened(self, name: str, **wanted: Any) -> Pipeline:
        """A pipeline into a lake of its own, with what lake.yaml wants of the table."""
        settings = TableSettings.model_validate(
            {"table": self.table, "region": "us-east-1", "start": self.start, "bucket": BUCKET, **wanted}
        )
        client = ExportClient(self.cloud.dynamodb, self.cloud.s3, settings.destination)
        return Pipeline(settings, client, lambda kind: Location(str(self.folder / name / kind)))

    def bootstrapped(self, name: str, **wanted: Any) -> Pipeline:
        """Such a pipeline, with the bootstrap at the start."""
        pipeline = self.opened(name, **wanted)
        bootstrap(pipeline)
        return pipeline
