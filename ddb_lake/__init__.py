"""ddb_lake keeps a Delta Lake in step with DynamoDB, by DynamoDB's own exports."""

__version__ = "0.1.0"
