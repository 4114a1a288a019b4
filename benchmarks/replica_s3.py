"""A local S3 for the benchmarks of the replica: the embedded AWS's, with its requests counted.

It runs in a process of its own and tells at `/_bench/counts` what it has been asked so far.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import boto3

from ddb_lake.embedded_aws.application import Application
from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.http_server import HttpServer
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.replica import Location

BUCKET, REGION, KEY = "bench", "us-east-1", "admin"
COUNTS = "/_bench/counts"


class Counting:
    """A WSGI application that counts what another one is asked."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Count and answer."""
        if environ["PATH_INFO"] == COUNTS:
            with self.lock:
                told = json.dumps(self.counts).encode()
            start_response("200 OK", [("Content-Length", str(len(told)))])
            return [told]

        def respond(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            size = next((value for name, value in headers if name.lower() == "content-length"), "0")
            with self.lock:
                if environ["REQUEST_METHOD"] != "HEAD":
                    self.counts["bytes_read"] += int(size)
            return start_response(status, headers, *rest)

        with self.lock:
            self.counts["requests"] += 1
            self.counts[environ["REQUEST_METHOD"]] += 1
            if environ["REQUEST_METHOD"] == "PUT":
                self.counts["bytes_written"] += int(environ.get("CONTENT_LENGTH") or 0)
        return self.application(environ, respond)


def location(url: str, name: str) -> Location:
    """A folder of the bucket."""
    options = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "timeout": "600s",
    }
    return Location(f"s3://{BUCKET}/{name}", options)


def counts(url: str) -> Counter[str]:
    """What the server has been asked so far."""
    with urlopen(url + COUNTS) as answer:
        return Counter(json.load(answer))


@contextmanager
def server() -> Iterator[str]:
    """Run a server with an empty bucket until the end of the block; give its URL."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            keys: Any = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY}
            boto3.client("s3", endpoint_url=url, region_name=REGION, **keys).create_bucket(Bucket=BUCKET)
            yield url
        finally:
            process.terminate()


def main() -> int:
    """Serve until the end."""
    application = Counting(Application(None, Clock("real", None), Settings(0, 4), None, "loopback"))
    serving = HttpServer("127.0.0.1", 0, application)
    os.write(1, f"http://127.0.0.1:{serving.port}\n".encode())
    serving.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
