"""A run that waits for its export outlives faults of AWS that pass, and no others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports.errors import AccessDenied, ServiceUnavailable, Throttled
from ddb_lake.jobs import MAX_RUNTIME_TAG
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, quarter

EXPORT_SECONDS = 300
FAULTS = 12
"""More than boto3's own tries outlast."""
HEADS = 40
"""The same where the files of an export are looked for side by side: each of these calls has its own tries."""

THROTTLE = {"kind": "throttle"}
FIVE_HUNDRED = {"kind": "error", "status": 500}
DENIED = {"kind": "error", "status": 403, "code": "AccessDenied", "message": "Access Denied"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries again at once."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[LakeUnderTest]:
    """A table with a closed window, and exports that take five minutes."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), delay=EXPORT_SECONDS) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        advance_to(cloud, 2)
        with lake_at(cloud, tmp_path) as lake:
            yield lake


class Waiting:
    """Waits by moving the clock, and adds faults once, when the export is first waited for."""

    def __init__(self, lake: LakeUnderTest, *faults: Callable[[], Any]) -> None:
        self._lake = lake
        self._faults = list(faults)
        self.said: list[str] = []

    def __call__(self, progress: str, seconds: float) -> None:
        self.said.append(progress)
        while self._faults:
            self._faults.pop()()
        self._lake.cloud.control.advance(seconds)

    @property
    def tries_again(self) -> int:
        return sum("Trying again" in line for line in self.said)


def faulty(lake: LakeUnderTest, service: str, operation: str, fault: Any, times: int | None) -> Callable[[], Any]:
    """Make the next calls of an operation fail."""
    return lambda: lake.cloud.control.add_fault(service, fault, operation=operation, times=times)


@pytest.mark.parametrize(
    ("service", "operation", "fault"),
    [
        ("dynamodb", "DescribeExport", THROTTLE),
        ("dynamodb", "DescribeExport", FIVE_HUNDRED),
        ("s3", "GetObject", THROTTLE),
        ("s3", "GetObject", FIVE_HUNDRED),
        ("s3", "HeadObject", FIVE_HUNDRED),
    ],
)
def test_a_fault_that_passes_is_waited_out(lake: LakeUnderTest, service: str, operation: str, fault: Any) -> None:
    pipeline = lake.pipeline
    times = HEADS if operation == "HeadObject" else FAULTS
    waiting = Waiting(lake, faulty(lake, service, operation, fault, times))
    (source,) = pipeline.wait_for_exports([pipeline.window_request(quarter(0))], waiting)
    assert source.manifest.window == quarter(0)
    assert 0 < waiting.tries_again < FAULTS
    assert lake.started() == 1


@pytest.mark.parametrize(
    ("service", "operation", "fault", "expected"),
    [
        ("dynamodb", "DescribeExport", THROTTLE, Throttled),
        ("s3", "GetObject", FIVE_HUNDRED, ServiceUnavailable),
    ],
)
def test_a_fault_that_does_not_pass_fails_the_run_in_the_end(
    lake: LakeUnderTest, service: str, operation: str, fault: Any, expected: type[Exception]
) -> None:
    pipeline = lake.pipeline
    waiting = Waiting(lake, faulty(lake, service, operation, fault, None))
    with pytest.raises(expected):
        pipeline.wait_for_exports([pipeline.window_request(quarter(0))], waiting)
    assert waiting.tries_again == 20


QUESTIONS = [
    ("dynamodb", "DescribeTable", THROTTLE),
    ("dynamodb", "DescribeExport", THROTTLE),
    ("s3", "ListObjectsV2", FIVE_HUNDRED),
    ("s3", "GetObject", FIVE_HUNDRED),
]
"""What the steps of a run ask AWS about its exports."""


@pytest.mark.parametrize(("service", "operation", "fault"), QUESTIONS)
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
@pytest.mark.parametrize("chain", [["initial_export", "initial_items"], ["raw_export", "decoded_items"]])
def test_no_step_fails_by_a_fault_that_passes(
    lake: LakeUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chain: list[str],
    recorded: bool,
    service: str,
    operation: str,
    fault: Any,
) -> None:
    waiting = Waiting(lake)
    monkeypatch.setattr("ddb_lake.assets._wait", lambda _: waiting)

    def run(lake: LakeUnderTest, asset: str) -> None:
        job = lake.bootstrap(asset) if asset.startswith("initial") else lake.materialise(quarter(0), asset)
        assert job.success

    # An export that is there already is described, and one that isn't is started: both must outlast the fault.
    if not recorded:
        pipeline = lake.pipeline
        pipeline.start_export(pipeline.bootstrap_request)
        pipeline.start_export(pipeline.window_request(quarter(0)))
    with lake_at(lake.cloud, tmp_path) as elsewhere:  # an instance in which no step has recorded anything
        for asset, of in zip(chain, (lake, lake if recorded else elsewhere), strict=True):
            faulty(lake, service, operation, fault, 6)()
            said = waiting.tries_again
            run(of, asset)
            (rule,) = lake.cloud.control.faults()
            assert waiting.tries_again > said or rule["applied"] == 0
            lake.cloud.control.clear_faults()


@pytest.mark.parametrize(("service", "operation"), [("dynamodb", "DescribeExport"), ("s3", "GetObject")])
def test_a_missing_permission_fails_the_run_at_once(lake: LakeUnderTest, service: str, operation: str) -> None:
    pipeline = lake.pipeline
    waiting = Waiting(lake, faulty(lake, service, operation, DENIED, None))
    with pytest.raises(AccessDenied):
        pipeline.wait_for_exports([pipeline.window_request(quarter(0))], waiting)
    assert waiting.tries_again == 0


def test_each_job_says_how_long_its_runs_may_take_and_the_instance_cuts_no_full_export_off(
    lake: LakeUnderTest,
) -> None:
    hour = 3600
    limits = {
        name: int(lake.definitions.resolve_job_def(f"measurement_{name}").tags[MAX_RUNTIME_TAG])
        for name in ("initial_load", "incremental", "maintenance")
    }
    assert limits == {"initial_load": 7 * 24 * hour, "incremental": 24 * hour, "maintenance": 4 * hour}
    instance = yaml.safe_load((Path(__file__).parents[1] / "dagster.yaml").read_text())
    assert instance["run_monitoring"]["max_runtime_seconds"] >= limits["initial_load"]


def test_dagsters_run_monitoring_reads_the_tag_that_the_jobs_have() -> None:
    from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

    assert MAX_RUNTIME_TAG == MAX_RUNTIME_SECONDS_TAG
