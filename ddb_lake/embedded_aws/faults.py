"""Faults on demand: rules that spoil the answers of chosen operations a number of times.

A rule is a JSON object, such as `{"service": "s3", "operation": "GetObject", "resource": "lake/*.gz", "times": 2,
"fault": {"kind": "flip", "bytes": 3}}`. Of several rules that fit a request the oldest one spoils it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.errors import AwsError, ControlError
from ddb_lake.embedded_aws.json_values import JsonObject, is_object
from ddb_lake.embedded_aws.wire import Answer

Moment = Literal["before", "after"]

_SERVICES = ("dynamodb", "s3")
_LONGEST_DELAY = 60
_KINDS = (
    '{"kind": "throttle"}, {"kind": "error", "status": 500, "code": …, "message": …}, '
    '{"kind": "delay", "seconds": …}, {"kind": "reset", "moment": "before" or "after"}, '
    '{"kind": "cut", "bytes": …} or {"kind": "flip", "bytes": …}'
)
_CONTROL_PLANE_WORDS = ("Table", "Export", "Backup", "Resource", "TimeToLive", "Limits")


@dataclass(frozen=True)
class Refused:
    """The request is answered with an error and not served; without a code it is the service's throttling."""

    status: int = 400
    code: str | None = None
    message: str = "injected by a fault rule"

    def describe(self) -> JsonObject:
        """Return the fault as a rule states it."""
        if self.code is None:
            return {"kind": "throttle"}
        return {"kind": "error", "status": self.status, "code": self.code, "message": self.message}

    def error(self, call: Call) -> AwsError:
        """Return the error in the words of the call's service."""
        if self.code is not None:
            return AwsError(self.code, self.message, self.status)
        if call.service == "s3":
            return AwsError("SlowDown", "Please reduce your request rate.", 503)
        if any(word in call.operation for word in _CONTROL_PLANE_WORDS):
            return AwsError("ThrottlingException", "Rate of requests exceeds the allowed throughput.")
        return AwsError(
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded. Consider increasing your "
            "provisioning level with the UpdateTable API.",
        )


@dataclass(frozen=True)
class Delayed:
    """The request waits before it is served, by the system's clock."""

    seconds: float

    def describe(self) -> JsonObject:
        """Return the fault as a rule states it."""
        return {"kind": "delay", "seconds": self.seconds}


@dataclass(frozen=True)
class Reset:
    """The connection is reset instead of an answer, before the request is served or after."""

    moment: Moment

    def describe(self) -> JsonObject:
        """Return the fault as a rule states it."""
        return {"kind": "reset", "moment": self.moment}


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the body, which Content-Length tells whole."""

    bytes: int

    def describe(self) -> JsonObject:
        """Return the fault as a rule states it."""
        return {"kind": "cut", "bytes": self.bytes}


@dataclass(frozen=True)
class Flipped:
    """So many bytes in the middle of the body arrive inverted."""

    bytes: int

    def describe(self) -> JsonObject:
        """Return the fault as a rule states it."""
        return {"kind": "flip", "bytes": self.bytes}

    def spoil(self, answer: Answer) -> Answer:
        """Return the answer with its bytes inverted."""
        body = bytearray(answer.body)
        first = max(0, (len(body) - self.bytes) // 2)
        for index in range(first, min(len(body), first + self.bytes)):
            body[index] ^= 0xFF
        return replace(answer, body=bytes(body))


Fault = Refused | Delayed | Reset | Cut | Flipped
Transport = Reset | Cut
"""Faults that the HTTP server commits, since they are below HTTP."""

TRANSPORT = "ddb_lake.embedded_aws.transport"
"""The key in the WSGI environment by which the HTTP server learns of such a fault."""


@dataclass(frozen=True)
class Rule:
    """Which requests are spoilt, how, and how often still (None: until the rule is cleared)."""

    id: int
    service: str
    operation: str
    resource: str
    times: int | None
    fault: Fault

    def fits(self, call: Call) -> bool:
        """Tell whether a call is meant; operation and resource are patterns with `*` and `?`."""
        return (
            self.service == call.service
            and fnmatchcase(call.operation, self.operation)
            and fnmatchcase(call.resource, self.resource)
        )

    def describe(self) -> JsonObject:
        """Return the rule as JSON; `times` are those that are left."""
        return {
            "id": self.id,
            "service": self.service,
            "operation": self.operation,
            "resource": self.resource,
            "times": self.times,
            "fault": self.fault.describe(),
        }


class Faults:
    """The rules in force, and how often each has spoilt something."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: dict[int, Rule] = {}
        self._hits: dict[int, int] = {}

    def add(self, rule: JsonObject) -> JsonObject:
        """Add a rule and return it with its id.

        Raises:
            ControlError: If it is malformed.
        """
        with self._lock:
            number = len(self._hits) + 1
            added = _read_rule(number, rule)
            self._rules[number] = added
            self._hits[number] = 0
            return added.describe()

    def describe(self) -> list[JsonObject]:
        """Return all rules, used up ones included, with how often each was applied."""
        with self._lock:
            return [{**rule.describe(), "applied": self._hits[rule.id]} for rule in self._rules.values()]

    def clear(self) -> int:
        """Remove all rules and return how many there were."""
        with self._lock:
            count = len(self._rules)
            self._rules.clear()
            return count

    def remove(self, number: int) -> None:
        """Remove one rule.

        Raises:
            ControlError: If there is none with this id.
        """
        with self._lock:
            if self._rules.pop(number, None) is None:
                raise ControlError(f"there is no fault rule {number}")

    def take(self, call: Call) -> Fault | None:
        """Return what shall befall a call, and count it."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules.values():
                if rule.times != 0 and rule.fits(call):
                    if rule.times is not None:
                        self._rules[rule.id] = replace(rule, times=rule.times - 1)
                    self._hits[rule.id] += 1
                    return rule.fault
        return None


def serve_with(fault: Fault | None, call: Call, environ: dict[str, Any], serve: Callable[[], Answer]) -> Answer:
    """Serve a call, or spoil it.

    Args:
        fault: What befalls it, or None.
        call: The call.
        environ: Its WSGI environment; tells the HTTP server of a reset or a cut.
        serve: Serves it.

    Raises:
        AwsError: If the call is refused.
    """
    match fault:
        case None:
            return serve()
        case Refused():
            raise fault.error(call)
        case Delayed():
            time.sleep(fault.seconds)
            return serve()
        case Reset(moment="before"):
            environ[TRANSPORT] = fault
            return Answer(500, (), b"")
        case Reset() | Cut():
            environ[TRANSPORT] = fault
            return serve()
        case Flipped():
            return fault.spoil(serve())


def _read_rule(number: int, rule: JsonObject) -> Rule:
    unknown = rule.keys() - {"service", "operation", "resource", "times", "fault"}
    if unknown:
        raise ControlError(
            f"a fault rule has no {', '.join(sorted(unknown))}; it has service, operation, resource, times and fault"
        )
    service: object = rule.get("service")
    if service not in _SERVICES:
        raise ControlError(f"faults befall the services {' and '.join(_SERVICES)}, not {service!r}")
    patterns = [rule.get(name, "*") for name in ("operation", "resource")]
    if not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ControlError(f"operation and resource are texts, with * and ? as wildcards, not {patterns!r}")
    times: object = rule.get("times", 1)
    if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
        raise ControlError(f"times is a whole number from 1, or null for ever, not {times!r}")
    return Rule(number, service, patterns[0], patterns[1], times, _read_fault(rule.get("fault"), service))


def _read_fault(fault: object, service: str) -> Fault:
    if not is_object(fault):
        raise ControlError(f"fault must be one of {_KINDS}, not {fault!r}")
    default = "InternalError" if service == "s3" else "InternalServerError"
    given = {"status": 500, "code": default, "message": Refused.message, "moment": "before", **fault}
    members = fault.keys() - {"kind"}
    match given:
        case {"kind": "throttle"} if not members:
            return Refused()
        case {"kind": "error", "status": int() as status, "code": str(code), "message": str(message)} if (
            members <= {"status", "code", "message"} and 400 <= status <= 599
        ):
            return Refused(status, code, message)
        case {"kind": "delay", "seconds": int() | float() | Decimal() as seconds} if (
            members == {"seconds"} and 0 <= seconds <= _LONGEST_DELAY
        ):
            return Delayed(float(seconds))
        case {"kind": "reset", "moment": "before" | "after" as moment} if members <= {"moment"}:
            return Reset(moment)
        case {"kind": "cut", "bytes": int() as count} if members == {"bytes"} and count >= 0:
            return Cut(count)
        case {"kind": "flip", "bytes": int() as count} if members == {"bytes"} and count >= 1:
            return Flipped(count)
        case _:
            raise ControlError(f"fault must be one of {_KINDS}, not {fault!r}")
