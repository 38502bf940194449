"""Download one file: it goes on where it was cut, and has its name only when it is whole."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from farm.weights.hub.part import Part, check_disk, open_part
from farm.weights.hub.transport import NO_ACCOUNT, Access, DownloadError, HubAway, connected, opened, shown, wait

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here, and those that there will be (None: the server did not say)."""


class WrongHash(DownloadError):
    """The file is not the one that was promised."""

    def __init__(self, url: str, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        super().__init__(
            f"{shown(url)} is not the file it should be: expected sha256 {expected}, got {actual}. It was deleted."
        )


@dataclass(frozen=True)
class Downloaded:
    path: Path
    sha256: str
    size: int


def ignore_progress(_done: int, _total: int | None) -> None:
    """For downloads that nobody watches."""


@dataclass(frozen=True)
class _Wanted:
    """One file to bring: `sha256`, or how it begins, and `size` in bytes are None where they are not known."""

    url: str
    folder: Path
    access: Access
    sha256: str | None
    size: int | None

    def is_promised(self, sha256: str) -> bool:
        """Whether this is the hash of the file, as far as that was said."""
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
) -> Downloaded:
    """Bring a file here, and check that it has the sha256 and the size in bytes, where they are known.

    Of the sha256 the first digits are enough.

    1. A target that has the right hash already is left alone.
    2. Bytes go to `<target>.part`; what a broken download left there is hashed and gone on from.
    3. A cut connection or a busy hub is asked again, `attempts` times in a row without a byte gained.
    4. Only a whole and right file gets its name.

    Raises DownloadError with what to do; WrongHash after deleting what came.
    """
    wanted = _Wanted(url, target.parent, access, sha256.lower() if sha256 else None, size)
    if wanted.sha256 and target.is_file() and wanted.is_promised((here := _hash(target)).sha256):
        on_progress(here.size, here.size)
        return here
    with open_part(target, url) as part, connected() as client:
        _complete(client, wanted, part, on_progress, attempts=attempts, pause_seconds=pause_seconds)
        done = _finish(part, target, wanted)
    on_progress(done.size, done.size)
    return done


def _hash(path: Path) -> Downloaded:
    with path.open("rb") as file:
        return Downloaded(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _complete(
    client: httpx.Client,
    wanted: _Wanted,
    part: Part,
    on_progress: OnProgress,
    *,
    attempts: int,
    pause_seconds: float,
) -> None:
    failures, most = 0, part.size
    while not _is_complete(part, wanted.size):
        try:
            return _continue(client, wanted, part, on_progress)
        except DownloadError as error:
            # Only what was never here before counts: a server without ranges begins anew each time.
            failures, most = (1, part.size) if part.size > most else (failures + 1, most)
            if not error.is_retryable:
                raise
            if failures >= attempts:
                raise HubAway(f"{error}{_kept(part)}", error.wait_seconds) from None
            wait(error, failures - 1, pause_seconds)
    return None


def _kept(part: Part) -> str:
    if not part.size:
        return ""
    return f" The {part.size / 1e6:.1f} MB that came are kept: the same command goes on from there."


def _is_complete(part: Part, size: int | None) -> bool:
    if size is not None and part.size > size:
        part.empty()
    return part.size == size and part.size > 0


def _continue(client: httpx.Client, wanted: _Wanted, part: Part, on_progress: OnProgress) -> None:
    """Ask for what is missing, and write it down until it is all here. Raises DownloadError."""
    if part.size and not (part.etag or wanted.sha256):
        # Nothing would tell if the rest belonged to another version of the file.
        part.empty()
    with opened(client, wanted.url, wanted.access, _range(part)) as response:
        total = _agreed(wanted, _place(response, wanted, part), part)
        check_disk(wanted.folder, (total or 0) - part.size)
        on_progress(part.size, total)
        if response.status_code != 416:
            for chunk in response.iter_raw():
                part.write(chunk)
                on_progress(part.size, total)
    if total is not None and part.size != total:
        raise HubAway(f"{shown(wanted.url)} broke off at {part.size} of {total} bytes.")


def _agreed(wanted: _Wanted, total: int | None, part: Part) -> int | None:
    """The size of the whole file, by the server and by what was promised."""
    if total is None or wanted.size is None:
        return wanted.size if total is None else total
    if total != wanted.size:
        part.discard()
        raise DownloadError(f"{shown(wanted.url)} has {total} bytes, and {wanted.size} were promised.")
    return total


def _range(part: Part) -> dict[str, str]:
    if not part.size:
        return {}
    condition = {"If-Range": part.etag} if part.etag else {}
    return {"Range": f"bytes={part.size}-", **condition}


def _place(response: httpx.Response, wanted: _Wanted, part: Part) -> int | None:
    """Make the part fit to the answer, and return the size of the whole file; None where it is not said.

    206 goes on where the part ends. 200 is the whole file: the server knows no ranges, or the file changed.
    416 says that there is nothing more, which is right if the part is as long as the file.
    """
    first, total = _content_range(response)
    address = shown(wanted.url)
    if response.status_code == 416:
        if total == part.size:
            return total
        part.empty()
        raise HubAway(f"{address} has no bytes where the download broke off; it begins again.")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError(f"{address} is a web page instead of weights. {wanted.access.token_hint}.")
    etag = _etag(response)
    if response.status_code == 206 and first == part.size and (part.etag is None or etag in (None, part.etag)):
        part.record_version(etag or part.etag)
        return total
    part.empty()
    if response.status_code == 206:
        raise HubAway(f"{address} sent other bytes than were asked for; the download begins again.")
    part.record_version(etag)
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, total = match.groups() if match else (None, None)
    return int(first) if first else None, int(total) if total and total != "*" else None


def _etag(response: httpx.Response) -> str | None:
    """The ETag, if it stands for these very bytes: a weak one does not, and may not be used with ranges."""
    etag: str | None = response.headers.get("ETag")
    return None if etag is None or etag.startswith("W/") else etag


def _finish(part: Part, target: Path, wanted: _Wanted) -> Downloaded:
    actual = part.digest.hexdigest()
    if wanted.sha256 and not wanted.is_promised(actual):
        part.discard()
        raise WrongHash(wanted.url, wanted.sha256, actual)
    part.publish()
    return Downloaded(target, actual, part.size)
