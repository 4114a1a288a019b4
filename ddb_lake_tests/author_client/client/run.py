"""Runs the client at a simulated time, and writes what it has seen to standard output as JSON.

    python run.py {offset|request} BUCKET ALIAS

`AWS_ENDPOINT_URL` says where the embedded AWS is; its clock begins at 22:58 of the client's local time.
"""

import json
import os
import sys

import boto3
from moments import local
from simulated_time import simulate


def main() -> None:
    """Simulate time, give the account what it has before anyone exports, and let the client go."""
    mode, bucket, alias = sys.argv[1:]
    simulate(mode, os.environ["AWS_ENDPOINT_URL"], local(22, 58))
    boto3.client("iam").create_account_alias(AccountAlias=alias)
    boto3.client("s3").create_bucket(Bucket=bucket)
    # Not before: the client's modules ask for its account as they are imported, and every request has a date.
    from journey import travel

    json.dump(travel(), sys.stdout)


if __name__ == "__main__":
    main()
