"""Whether an endpoint behaves as DynamoDB's exports do: checks from outside, with nothing but boto3.

`python -m ddb_lake_tests.conformance --endpoint http://127.0.0.1:4566`, or without an endpoint against an embedded
AWS of its own, or with `--endpoint aws --patient` against AWS itself: about 25 small exports and some hours, of
which each incremental export is billed as 10 MB. Everything that it creates has the run's own name and is deleted.
"""
