"""Access control: which keys a policy binds, and refusing what it doesn't allow in AWS's words."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.errors import AwsError, ControlError
from ddb_lake.embedded_aws.json_values import JsonObject, is_array
from ddb_lake.embedded_aws.kms import OWN_ALIAS, find_key
from ddb_lake.embedded_aws.permissions import (
    Permission,
    export_permissions,
    is_foreign,
    kms_permissions,
    missing_key_permission,
    permissions_of,
)
from ddb_lake.embedded_aws.policy import Decision, Policy
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.wire import Answer, find_in_xml
from ddb_lake.regions import partition_of

ADMIN_KEY = "admin"
"""The access key that a policy doesn't bind, unless other ones are named."""

_MOST_USED = 10_000
"""Pairs of action and resource that are noted: each object of S3 is a resource of its own."""


@dataclass(frozen=True)
class AccessRules:
    """A policy that binds every access key but the administrators'."""

    policy: Policy
    admin_keys: frozenset[str] = frozenset({ADMIN_KEY})

    @classmethod
    def read(cls, rules: JsonObject) -> "AccessRules":
        """Read `{"policy": {…}, "admin_keys": […]}`.

        Raises:
            ControlError: If something in it is malformed.
        """
        if rules.keys() - {"policy", "admin_keys"} or "policy" not in rules:
            raise ControlError('access rules are {"policy": {…}, "admin_keys": […]}, the keys being optional')
        keys: object = rules.get("admin_keys", [ADMIN_KEY])
        if not is_array(keys) or not all(isinstance(key, str) and key for key in keys):
            raise ControlError(f"admin_keys is a list of access key ids, not {keys!r}")
        return cls(Policy.read(rules["policy"]), frozenset(keys))

    def describe(self) -> JsonObject:
        """Return the rules as JSON."""
        return {"policy": self.policy.document, "admin_keys": sorted(self.admin_keys)}


class Access:
    """Decides on calls. Without rules everything is allowed.

    Args:
        account: The id of the AWS account.
        rules: What holds from the start.
        settings: Say which KMS keys there are.
    """

    def __init__(self, account: str, rules: AccessRules | None, settings: Settings) -> None:
        self._account = account
        self._settings = settings
        self.rules = rules
        self._used: set[tuple[str, str]] = set()
        self._guard = threading.Lock()

    def check(self, call: Call, body: bytes) -> None:
        """Refuse a call that the policy doesn't allow, and any on a table of another account.

        Raises:
            AwsError: AccessDeniedException (DynamoDB) or AccessDenied (S3 and others).
        """
        policy = self._policy_for(call)
        names_arns = call.service == "dynamodb" and b"arn:" in body
        if policy is None and not names_arns:
            return
        needed = permissions_of(call, self._account, body)
        for permission in (needed or ()) if names_arns else ():
            if is_foreign(permission, self._account):
                raise self._denied(call, permission, None)
        if policy is None:
            return
        if needed is None or not call.access_key:
            # Not knowing what AWS would ask for, or who asks, there is nothing that could allow it.
            unknown = Permission(f"{call.service}:{call.operation or 'Unknown'}", "*")
            raise self._denied(call, unknown, Decision.NOT_MENTIONED)
        for permission in needed:
            decision = policy.decide(permission.action, permission.resource, permission.context)
            if decision is not Decision.ALLOWED:
                raise self._denied(call, permission, decision)
        self._note(needed)

    def used(self) -> list[list[str]]:
        """Return the actions that a policy has allowed so far, each with its resource."""
        with self._guard:
            return [list(pair) for pair in sorted(self._used)]

    @property
    def used_is_complete(self) -> bool:
        """Whether `used` tells all: it notes so many pairs and no more."""
        return len(self._used) < _MOST_USED

    def _note(self, permissions: Iterable[Permission]) -> None:
        with self._guard:
            for each in permissions:
                if self.used_is_complete:
                    self._used.add((each.action, each.resource))

    def refusal_of_export(self, call: Call) -> str | None:
        """Return why S3 will refuse the files of an export that a call starts, or None if it won't."""
        policy = self._policy_for(call)
        bucket, prefix = call.json.get("S3Bucket"), call.json.get("S3Prefix")
        if policy is None or not isinstance(bucket, str):
            return None
        needed = export_permissions(bucket, prefix, call.region)
        key = call.json.get("S3SseKmsKeyId")
        if isinstance(key, str):
            # S3 decrypts too where an object is uploaded in parts.
            needed += self._kms_permissions(key, ("GenerateDataKey", "Decrypt"), call.region)
        for permission in needed:
            decision = policy.decide(permission.action, permission.resource, permission.context)
            if decision is not Decision.ALLOWED:
                return self._denied(call, permission, decision).message
        self._note(needed)
        return None

    def conceal(self, call: Call, answer: Answer) -> Answer:
        """Return an answer of S3, or a refusal where it would show what the caller may not know.

        That is an object whose KMS key the caller may not use, or, to who can't list, that one isn't there.

        Raises:
            AwsError: AccessDenied.
        """
        policy = self._policy_for(call)
        if policy is None or call.s3 is None:
            return answer
        if call.operation == "GetObject" and answer.status in (200, 206):
            self._require_decryption(policy, call, answer)
        if answer.status != 404:
            return answer
        if call.operation == "HeadObject" or (
            call.operation == "GetObject" and find_in_xml(answer.body, "Code") == "NoSuchKey"
        ):
            permission = missing_key_permission(call.s3, call.region)
            decision = policy.decide(permission.action, permission.resource, permission.context)
            if decision is not Decision.ALLOWED:
                raise self._denied(call, permission, decision)
        return answer

    def _require_decryption(self, policy: Policy, call: Call, answer: Answer) -> None:
        headers = {name.lower(): value for name, value in answer.headers}
        if headers.get("x-amz-server-side-encryption") != "aws:kms":
            return
        key = headers.get("x-amz-server-side-encryption-aws-kms-key-id", OWN_ALIAS)
        for permission in self._kms_permissions(key, ("Decrypt",), call.region):
            decision = policy.decide(permission.action, permission.resource, permission.context)
            if decision is not Decision.ALLOWED:
                raise self._denied(call, permission, decision)
            self._note([permission])

    def _kms_permissions(self, name: str, actions: Iterable[str], region: str) -> list[Permission]:
        """Return what is needed of a key; nothing where there is no such key, which is another's to say."""
        key = find_key(name, region, self._account, self._settings.kms_keys)
        return [] if key is None else kms_permissions(key, actions, region)

    def _policy_for(self, call: Call) -> Policy | None:
        rules = self.rules
        return None if rules is None or call.access_key in rules.admin_keys else rules.policy

    def _denied(self, call: Call, permission: Permission, decision: Decision | None) -> AwsError:
        """Return AWS's refusal; `decision` is the caller's policy's, None where another account's has to decide."""
        user = f"arn:{partition_of(call.region)}:iam::{self._account}:user/{call.access_key or 'anonymous'}"
        is_s3 = permission.action.startswith("s3:")
        resource = f'"{permission.resource}"' if is_s3 else permission.resource
        if decision is Decision.DENIED:
            because = "with an explicit deny in an identity-based policy"
        else:
            kind = "resource-based" if decision is None else "identity-based"
            because = f"because no {kind} policy allows the {permission.action} action"
        text = f"User: {user} is not authorized to perform: {permission.action} on resource: {resource} {because}"
        if call.service == "dynamodb":
            return AwsError("AccessDeniedException", text)
        return AwsError("AccessDenied", text, 403)
