"""The S3 bucket of one export: the requests by which its objects get there."""

from ddb_lake.embedded_aws.errors import BackendError, EmbeddedAwsError
from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_files import DataFile, S3Object
from ddb_lake.embedded_aws.s3 import S3
from ddb_lake.embedded_aws.wire import Answer, find_in_xml


class BucketRefusal(EmbeddedAwsError):
    """S3 refused an object of an export, which makes the export fail.

    Args:
        code: DescribeExport's FailureCode, such as `S3NoSuchBucket`.
        message: Its FailureMessage.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ExportBucket:
    """Writes into the bucket that an export names."""

    def __init__(self, s3: S3, export: Export) -> None:
        self._s3 = s3
        self._region = export.region
        self._bucket = export.s3_bucket
        encryption = "aws:kms" if export.sse_algorithm == "KMS" else "AES256"
        self._headers = {"X-Amz-Server-Side-Encryption": encryption}
        if export.kms_key_id is not None:
            self._headers["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"] = export.kms_key_id

    def put(self, item: S3Object) -> None:
        """Put an object.

        Raises:
            BucketRefusal: If S3 refuses it.
        """
        self._check(self._s3.request(self._region, "PUT", self._path(item.key), None, self._headers, item.body))

    def upload(self, file: DataFile) -> None:
        """Upload a data file in one part, as AWS does: its ETag is then the manifest's `etag`.

        Raises:
            BucketRefusal: If S3 refuses it.
        """
        path = self._path(file.s3_key)
        begun = self._check(self._s3.request(self._region, "POST", path, {"uploads": ""}, self._headers))
        upload = find_in_xml(begun.body, "UploadId")
        part = {"partNumber": "1", "uploadId": upload}
        sent = self._check(self._s3.request(self._region, "PUT", path, part, None, file.body))
        etag = {name.lower(): value for name, value in sent.headers}["etag"]
        parts = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        body = f"{parts}</CompleteMultipartUpload>".encode()
        self._check(self._s3.request(self._region, "POST", path, {"uploadId": upload}, None, body))

    def _path(self, key: str) -> str:
        return f"/{self._bucket}/{key}"

    def _check(self, answer: Answer) -> Answer:
        if answer.status == 200:
            return answer
        # moto leaves the body empty where a bucket's policy denies.
        code = find_in_xml(answer.body, "Code") or ("AccessDenied" if answer.status == 403 else "")
        message = find_in_xml(answer.body, "Message") or "Access Denied"
        text = f"{message} (Service: Amazon S3; Status Code: {answer.status}; Error Code: {code})"
        match code:
            case "NoSuchBucket":
                raise BucketRefusal("S3NoSuchBucket", text)
            case "AccessDenied":
                raise BucketRefusal("S3AccessDenied", text)
            case _:
                raise BackendError(f"moto refused an object of an export in {self._bucket}: {text}")
