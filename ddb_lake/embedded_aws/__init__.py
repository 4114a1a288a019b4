"""The embedded AWS: DynamoDB with full and incremental exports, S3 and STS on loopback, without an account.

It is moto's server behind a layer that journals every write and answers the export API itself. For development,
tests and demonstrations; nothing else of ddb_lake imports it.
"""

from ddb_lake.embedded_aws.access import AccessRules
from ddb_lake.embedded_aws.clock import ClockMode
from ddb_lake.embedded_aws.control import Control
from ddb_lake.embedded_aws.errors import ControlError, EmbeddedAwsError, JournalError
from ddb_lake.embedded_aws.server import EmbeddedAws

__all__ = ["AccessRules", "ClockMode", "Control", "ControlError", "EmbeddedAws", "EmbeddedAwsError", "JournalError"]
