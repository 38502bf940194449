"""Download one file: it resumes where it was interrupted, and gets its name only when it is complete."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from farm.weights.hub.partialfile import PartialFile, check_disk, open_partial_file
from farm.weights.hub.transport import (
    NO_ACCOUNT,
    Access,
    DownloadError,
    HubUnavailable,
    open_hub_client,
    open_response,
    redact_url,
    wait,
)

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes downloaded so far, and the total (None: the server did not give it)."""


class WrongHash(DownloadError):
    """The file does not have the expected hash."""

    def __init__(self, url: str, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(
            f"{redact_url(url)} is not the expected file: expected sha256 {expected}, got {actual}. It was deleted."
        )


@dataclass(frozen=True)
class DownloadedFile:
    path: Path
    sha256: str
    size: int


def ignore_progress(_done: int, _total: int | None) -> None:
    """For downloads without a progress display."""


@dataclass(frozen=True)
class _WantedFile:
    """One file to download: `sha256`, or its first digits, and `size` in bytes are None where unknown."""

    url: str
    folder: Path
    access: Access
    sha256: str | None
    size: int | None

    def has_hash(self, sha256: str) -> bool:
        """Whether this is the expected hash; False where none is expected."""
        return self.sha256 is not None and sha256.startswith(self.sha256)


def download(
    url: str,
    target: Path,
    *,
    access: Access = NO_ACCOUNT,
    sha256: str | None = None,
    size: int | None = None,
    on_progress: OnProgress = ignore_progress,
    attempts: int = 5,
    pause_seconds: float = 1.0,
) -> DownloadedFile:
    """Download a file, and check its sha256 and its size in bytes, where they are known.

    Of the sha256 the first digits are enough.

    1. A target that has the right hash already is left alone.
    2. Bytes go to `<target>.part`; what an interrupted download left there is hashed and resumed.
    3. A broken connection or a busy hub is retried, `attempts` times in a row without a new byte.
    4. Only a complete file with the right hash gets its name.

    Raises DownloadError with what to do; WrongHash after deleting the file.
    """
    wanted = _WantedFile(url, target.parent, access, sha256.lower() if sha256 else None, size)
    if wanted.sha256 and target.is_file() and wanted.has_hash((here := _hash_target(target)).sha256):
        on_progress(here.size, here.size)
        return here
    with open_partial_file(target, url) as partial, open_hub_client() as client:
        _download_rest(client, wanted, partial, on_progress, attempts=attempts, pause_seconds=pause_seconds)
        done = _finish(partial, target, wanted)
    on_progress(done.size, done.size)
    return done


def _hash_target(path: Path) -> DownloadedFile:
    with path.open("rb") as file:
        return DownloadedFile(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _download_rest(
    client: httpx.Client,
    wanted: _WantedFile,
    partial: PartialFile,
    on_progress: OnProgress,
    *,
    attempts: int,
    pause_seconds: float,
) -> None:
    failures, most = 0, partial.size
    while not _is_complete(partial, wanted.size):
        try:
            return _download_once(client, wanted, partial, on_progress)
        except DownloadError as error:
            # Only new bytes count as progress: a server without ranges restarts each time.
            failures, most = (1, partial.size) if partial.size > most else (failures + 1, most)
            if not error.is_retryable:
                raise
            if failures >= attempts:
                raise HubUnavailable(f"{error}{_describe_kept_bytes(partial)}", error.wait_seconds) from None
            wait(error, failures - 1, pause_seconds)
    return None


def _describe_kept_bytes(partial: PartialFile) -> str:
    if not partial.size:
        return ""
    return f" The {partial.size / 1e6:.1f} MB that were downloaded are kept: the same command resumes from there."


def _is_complete(partial: PartialFile, size: int | None) -> bool:
    if size is not None and partial.size > size:
        partial.empty()
    return partial.size == size and partial.size > 0


def _download_once(
    client: httpx.Client, wanted: _WantedFile, partial: PartialFile, on_progress: OnProgress
) -> None:
    """Request the missing bytes and write them to the partial file. Raises DownloadError."""
    if partial.size and not (partial.etag or wanted.sha256):
        # Nothing would show that the rest belongs to another version of the file.
        partial.empty()
    with open_response(client, wanted.url, wanted.access, _build_range_headers(partial)) as response:
        total = _check_size(wanted, _align_with_answer(response, wanted, partial), partial)
        check_disk(wanted.folder, (total or 0) - partial.size)
        on_progress(partial.size, total)
        if response.status_code != 416:
            for chunk in response.iter_raw():
                partial.write(chunk)
                on_progress(partial.size, total)
    if total is not None and partial.size != total:
        raise HubUnavailable(f"{redact_url(wanted.url)} stopped at {partial.size} of {total} bytes.")


def _check_size(wanted: _WantedFile, total: int | None, partial: PartialFile) -> int | None:
    """The size of the whole file. Raises DownloadError where the server's differs from the expected one."""
    if total is None or wanted.size is None:
        return wanted.size if total is None else total
    if total != wanted.size:
        partial.discard()
        raise DownloadError(
            f"{redact_url(wanted.url)} has {total} bytes, and {wanted.size} were expected. Check the source."
        )
    return total


def _build_range_headers(partial: PartialFile) -> dict[str, str]:
    if not partial.size:
        return {}
    condition = {"If-Range": partial.etag} if partial.etag else {}
    return {"Range": f"bytes={partial.size}-", **condition}


def _align_with_answer(response: httpx.Response, wanted: _WantedFile, partial: PartialFile) -> int | None:
    """Prepare the partial file for the answer, and return the size of the whole file; None where it is not given.

    206 continues where the partial file ends. 200 is the whole file: the server has no ranges, or the file changed.
    416 means that there is nothing more, which is right if the partial file is as long as the file.
    """
    first, total = _parse_content_range(response)
    address = redact_url(wanted.url)
    if response.status_code == 416:
        if total == partial.size:
            return total
        partial.empty()
        raise HubUnavailable(f"{address} has no bytes where the download stopped; it starts again.")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(f"{address} is a web page instead of weights. {wanted.access.token_hint}.")
    etag = _etag(response)
    if (
        response.status_code == 206
        and first == partial.size
        and (partial.etag is None or etag in (None, partial.etag))
    ):
        partial.record_version(etag or partial.etag)
        return total
    partial.empty()
    if response.status_code == 206:
        raise HubUnavailable(f"{address} sent other bytes than were requested; the download starts again.")
    partial.record_version(etag)
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _parse_content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, total = match.groups() if match else (None, None)
    return int(first) if first else None, int(total) if total and total != "*" else None


def _etag(response: httpx.Response) -> str | None:
    """The ETag, if it stands for these very bytes: a weak one does not, and may not be used with ranges."""
    etag: str | None = response.headers.get("ETag")
    return None if etag is None or etag.startswith("W/") else etag


def _finish(partial: PartialFile, target: Path, wanted: _WantedFile) -> DownloadedFile:
    actual = partial.digest.hexdigest()
    if wanted.sha256 and not wanted.has_hash(actual):
        partial.discard()
        raise WrongHash(wanted.url, wanted.sha256, actual)
    partial.publish()
    return DownloadedFile(target, actual, partial.size)
