"""The root of every error that ddb_lake raises on purpose."""


class DdbLakeError(Exception):
    """A problem that ddb_lake understands: its text says what is wrong, where, and what to do next."""


class ConfigError(DdbLakeError):
    """lake.yaml is missing or wrong; the message names each mistake's file, key, value and remedy."""
