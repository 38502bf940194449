"""What a request means by a picture: the id of an upload, the picture itself in base64, or an address to fetch."""

import base64
import binascii
import re
from dataclasses import dataclass

from farm.errors import InvalidRequest
from farm.pictures.clean import PictureLimits, PictureRole
from farm.pictures.fetcher import Fetcher
from farm.pictures.sizes import estimate_cost
from farm.pictures.uploads import Desk, keep
from farm.spec.budget import Allowance
from farm.spec.digests import is_digest

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_DATA_URI = re.compile(r"data:image/[\w.+-]+(;[\w=.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
_LONGEST_HEAD = 200
_WHITESPACE = str.maketrans("", "", " \t\r\n")


def is_id(source: str) -> bool:
    """Whether a request means an upload that it names."""
    return is_digest(source)


def is_address(source: str) -> bool:
    """Whether a request means a picture that is to be fetched."""
    return _ADDRESS.match(source) is not None


@dataclass(frozen=True)
class Resolved:
    """The id of an upload that a request means, and what there is to say of how it was read."""

    id: str
    note: str | None = None


def resolve(desk: Desk, source: str, *, role: PictureRole, field: str, pixels: Allowance) -> Resolved:
    """The upload that a request means: named, brought along in base64, or to be fetched.

    What is brought or fetched is kept as by `keep`, and paid for from the request's pixels; whether a named one is
    there is not asked here. Raises InvalidRequest, which names the field and never repeats what it held;
    OverBudget; Busy; StoreError.
    """
    if is_id(source):
        return Resolved(source)
    content = _fetch(desk, source, field) if is_address(source) else _decode(source, desk.limits, field)
    pixels.spend(_pixels_of(content, desk.limits))
    report = keep(desk, content, role=role, field=field).report
    return Resolved(report.id, report.note)


def cost_of_source(desk: Desk, source: str) -> int:
    """What it costs to read a picture that a request brings, in pixels; 0 where it brings none, or a bad one."""
    if is_id(source) or is_address(source):
        return 0
    try:
        return _pixels_of(_decode(source, desk.limits, ""), desk.limits)
    except InvalidRequest:
        return 0


def _pixels_of(content: bytes, limits: PictureLimits) -> int:
    """What a picture says that it has; one that says nothing, or too many, is taken for one of the largest."""
    return min(estimate_cost(content), limits.most_pixels)


def _fetch(desk: Desk, url: str, field: str) -> bytes:
    if not desk.settings.fetch_urls:
        raise InvalidRequest.at(
            field, "is an address, and this farm fetches none (FARM_FETCH_URLS is off); send the picture itself"
        )
    return Fetcher(desk.settings.max_upload_bytes).fetch(url, field=field)


def _decode(source: str, limits: PictureLimits, field: str) -> bytes:
    if source[:5].lower() == "data:":
        # The rest may have megabytes that look like more of the head.
        head = _DATA_URI.match(source[:_LONGEST_HEAD])
        if head is None:
            raise InvalidRequest.at(field, "is a data: URI, but not one like `data:image/png;base64,...`")
        source = source[head.end() :]
    plain = source.translate(_WHITESPACE)
    if len(plain) // 4 * 3 > limits.most_bytes + 3:
        raise InvalidRequest.at(field, f"is larger than {limits.most_bytes:,} bytes, the most that this farm takes")
    try:
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest.at(
            field, "is neither the id of an upload (64 hex digits), nor base64, nor an https:// address"
        ) from None
