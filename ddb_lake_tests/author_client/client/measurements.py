"""The table of measurements and the generator that fills it, one item about every second."""

import random
import time
import uuid
from datetime import datetime

import pynamodb_mate.api as pm
from boto_session_manager import BotoSesManager
from moments import utc_now

TABLE_NAME = "incremental_export_poc-measurement"
REGION = "us-east-1"

bsm = BotoSesManager(profile_name="poc")


class Measurement(pm.Model):
    """One measured value, under an id and at a time that the client makes up."""

    class Meta:
        table_name = TABLE_NAME
        region = REGION
        billing_mode = pm.constants.PAY_PER_REQUEST_BILLING_MODE

    id = pm.UnicodeAttribute(hash_key=True, default=lambda: str(uuid.uuid4()))
    time = pm.UTCDateTimeAttribute(null=False, default=utc_now)
    value = pm.NumberAttribute(null=False)


def turn_on_recovery() -> None:
    """Switch the table's point-in-time recovery on."""
    bsm.dynamodb_client.update_continuous_backups(
        TableName=TABLE_NAME,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )


def generate(until: datetime, longest_pause: float) -> list[Measurement]:
    """Save measurements until a time, with pauses between half a second and the longest.

    The last one is saved at `until` itself, which is the moment that a boundary is about.
    """
    saved: list[Measurement] = []
    while (left := (until - utc_now()).total_seconds()) > 0:
        pause = random.uniform(0.5, longest_pause)
        time.sleep(pause if pause < left - 0.5 else left)
        measurement = Measurement(value=random.randint(1, 100))
        measurement.save()
        saved.append(measurement)
    return saved
