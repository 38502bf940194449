"""/files: objects of a store in a local folder, by signed links. Links into a bucket go there directly."""

from io import BytesIO
from pathlib import PurePosixPath

from flask import Blueprint, Response, request, send_file

from farm.store.disk import DiskStore
from farm.store.links import BadLink, LinkSigner
from web.services import services

files = Blueprint("files", __name__)

_MEDIA_TYPES = {
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".avif": "image/avif",
}
_YEAR_SECONDS = 365 * 86400


@files.get("/files/<path:key>")
def show(key: str) -> Response:
    """An object, for a valid link to it. The content of a key never changes, so caches may keep it."""
    farm = services()
    if not isinstance(farm.store, DiskStore) or farm.settings.secret_key is None:
        raise BadLink
    LinkSigner(farm.settings.secret_key).check(key, request.args)
    wished = request.args.get("filename")
    response = send_file(
        BytesIO(farm.store.get(key)),
        mimetype=_MEDIA_TYPES.get(PurePosixPath(key).suffix, "application/octet-stream"),
        as_attachment=wished is not None,
        download_name=None if wished is None else _file_name(wished) or PurePosixPath(key).name,
    )
    response.headers["Cache-Control"] = f"private, max-age={_YEAR_SECONDS}, immutable"
    return response


def _file_name(wished: str) -> str:
    """The requested name without folders, and without characters that break a header or a file manager."""
    printable = "".join(character for character in wished if character.isprintable())
    return PurePosixPath(printable.replace("\\", "/")).name
