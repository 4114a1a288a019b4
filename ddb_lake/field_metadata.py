"""What the fields of the Delta tables' schemas tell of their columns, as all parts of ddb_lake name it."""

ATTRIBUTE = "ddb_lake.attribute"
"""The DynamoDB attribute, by its original name."""

ARM = "ddb_lake.arm"
"""Which of the attribute's types the column holds (docs/columns.md)."""

KEY = "ddb_lake.key"
"""Of the columns that hold the source table's primary key: HASH or RANGE."""

PARTITION = "ddb_lake.partition"
"""Of a replica's partition columns: the rule that computes it, as JSON."""

SINCE = "ddb_lake.since"
"""The start of the window that brought the attribute's first value, or the bootstrap's time."""

HASHED = "ddb_lake.hashed"
"""Of a hashed key attribute: a fingerprint of the hash's key."""

OURS = "ddb_lake."
"""How all of these begin."""
