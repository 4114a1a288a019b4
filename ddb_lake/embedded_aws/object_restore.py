"""Bringing S3's objects back into moto after a restart, each by the request that has put it there."""

from xml.sax.saxutils import escape

from ddb_lake.embedded_aws.errors import BackendError
from ddb_lake.embedded_aws.object_store import ObjectStore, Piece, Setting, Storage, StoredRequest
from ddb_lake.embedded_aws.s3 import S3
from ddb_lake.embedded_aws.wire import Answer, find_in_xml

_POLICY = "policy"


def restore_objects(s3: S3, store: ObjectStore) -> None:
    """Create buckets, objects, unfinished uploads and their settings again.

    Raises:
        BackendError: If moto refuses what it once took, or gives an object another ETag than before.
    """
    settings = store.settings()
    for setting in settings:
        if not setting.name:
            s3.send_again(setting.request, f"/{setting.bucket}", setting.body)
    for storage in store.objects():
        etag = _restore_object(s3, store, storage)
        if etag.strip('"') != (storage.etag or "").strip('"'):
            raise BackendError(
                f"s3://{storage.bucket}/{storage.key} had the ETag {storage.etag} before the restart, and has {etag}"
            )
    for storage in store.uploads():
        new = _begin_upload(s3, storage)
        s3.rename_upload(storage.id, new)
        for piece in store.pieces(storage.id):
            _send_part(s3, store, storage, new, piece)
    # A bucket's policy comes last, since it may deny all of the above.
    named = [setting for setting in settings if setting.name]
    policies = [setting for setting in named if setting.name == _POLICY and not setting.key]
    _restore_settings(s3, [setting for setting in named if setting not in policies])
    _restore_settings(s3, policies)


def _restore_settings(s3: S3, settings: list[Setting]) -> None:
    """Send settings again.

    They come in the order of their last change, so that one may be refused which another one, first set before it
    and changed after it, has once allowed. Such a one is sent again after the rest.
    """
    pending = settings
    while pending:
        refused: list[Setting] = []
        for setting in pending:
            path = f"/{setting.bucket}/{setting.key}" if setting.key else f"/{setting.bucket}"
            try:
                s3.send_again(setting.request, path, setting.body)
            except BackendError:
                if len(refused) + 1 == len(pending):
                    raise
                refused.append(setting)
        pending = refused


def _restore_object(s3: S3, store: ObjectStore, storage: Storage) -> str:
    """Put an object again, at once or in parts as it came, and return its ETag."""
    pieces = store.pieces(storage.id)
    if len(pieces) == 1 and pieces[0].number == 0:
        path = f"/{storage.bucket}/{storage.key}"
        return _etag(s3.send_again(pieces[0].request, path, store.read_content(pieces[0].content)))
    upload = _begin_upload(s3, storage)
    parts = "".join(
        f"<Part><PartNumber>{piece.number}</PartNumber>"
        f"<ETag>{escape(_send_part(s3, store, storage, upload, piece))}</ETag></Part>"
        for piece in pieces
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    complete = StoredRequest("POST", storage.request.region)
    answer = s3.send_again(complete, f"/{storage.bucket}/{storage.key}", body, f"uploadId={upload}")
    return find_in_xml(answer.body, "ETag")


def _begin_upload(s3: S3, storage: Storage) -> str:
    answer = s3.send_again(storage.request, f"/{storage.bucket}/{storage.key}", b"")
    return find_in_xml(answer.body, "UploadId")


def _send_part(s3: S3, store: ObjectStore, storage: Storage, upload: str, piece: Piece) -> str:
    """Send a part again, and return its ETag."""
    query = f"partNumber={piece.number}&uploadId={upload}"
    path = f"/{storage.bucket}/{storage.key}"
    return _etag(s3.send_again(piece.request, path, store.read_content(piece.content), query))


def _etag(answer: Answer) -> str:
    return next(value for name, value in answer.headers if name.lower() == "etag")
