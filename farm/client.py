"""A client of the portal's API: what the command line uses, and what a script may."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import urljoin

import httpx

from farm.errors import Conflict, FarmError, FieldProblem, InvalidRequest, NotFound
from farm.intake.request import JobRequest
from farm.network.proxies import open_http
from farm.reports.figures import StatsReport
from farm.reports.shapes import (
    AddonReport,
    CheckpointReport,
    ExclusionReport,
    GridReport,
    ImageReport,
    JobReport,
    PreviewReport,
    TaskReport,
    UploadReport,
    WorkerReport,
)

_BUSY_SECONDS = 60.0
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class PortalUnreachable(FarmError):
    """The portal does not answer."""


class KeyNeeded(FarmError):
    """The portal requires an API key: set FARM_API_KEY."""


class ServiceUnavailable(PortalUnreachable):
    """The portal reports that a part of the farm, its database or its store, does not answer now."""


class ImageUnreachable(PortalUnreachable):
    """An image cannot be fetched now: the store does not answer, or its answer was cut short."""


class AnswerLost(PortalUnreachable):
    """The connection broke before the portal answered: it may have carried the request out, or not."""


_T = TypeVar("_T")


def ask_until_answered(
    ask: Callable[[], _T], seconds: float, retry_on: type[PortalUnreachable] = PortalUnreachable
) -> _T:
    """Ask until the portal answers, for at most so many seconds. The request must be one that may be repeated."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except retry_on:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


class Client:
    """Talks to one portal. Raises InvalidRequest, NotFound, Conflict or PortalUnreachable."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = open_http(self.url, timeout=60, headers=headers, follow_redirects=True)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        try:
            return self._http.get(f"{self.url}/readyz", timeout=5).is_success
        except httpx.TransportError:
            return False

    def submit(self, request: JobRequest, idempotency_key: str | None = None) -> tuple[JobReport, list[str]]:
        """Submit a job; return it with the portal's warnings."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = request.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        answer = self._call("POST", "/jobs", json=body, headers=headers)
        return JobReport.model_validate(answer), answer["warnings"]

    def upload(self, path: Path, role: Literal["input", "mask"] = "input") -> UploadReport:
        """Send a picture or a mask, which jobs may then name by its `id`. Raises OSError if it cannot be read."""
        content, headers = path.read_bytes(), {"Content-Type": "application/octet-stream"}

        def send() -> Any:
            return self._call("POST", "/uploads", params={"role": role}, content=content, headers=headers)

        # The portal may be busy with the pictures of others.
        return UploadReport.model_validate(ask_until_answered(send, _BUSY_SECONDS, ServiceUnavailable))

    def preview(self, request: JobRequest) -> PreviewReport:
        """What a request would unfold into; nothing is stored but the pictures that it carries."""
        body = request.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return PreviewReport.model_validate(self._call("POST", "/jobs", json=body, params={"dry_run": "true"}))

    def jobs(self, *, status: str | None = None, limit: int = 50) -> list[JobReport]:
        query = {"limit": limit, **({"status": status} if status else {})}
        return [JobReport.model_validate(job) for job in self._call("GET", "/jobs", params=query)["jobs"]]

    def job(self, job_id: int) -> JobReport:
        return JobReport.model_validate(self._call("GET", f"/jobs/{job_id}"))

    def act(self, job_id: int, action: str) -> JobReport:
        """Cancel, pause, resume or retry a job."""
        return JobReport.model_validate(self._call("POST", f"/jobs/{job_id}/{action}"))

    def set_priority(self, job_id: int, priority: int) -> JobReport:
        return JobReport.model_validate(self._call("PATCH", f"/jobs/{job_id}", json={"priority": priority}))

    def explain(self, job_id: int) -> list[str]:
        reasons: list[str] = self._call("GET", f"/jobs/{job_id}/explain")["reasons"]
        return reasons

    def tasks(self, job_id: int, *, status: str | None = None) -> Iterator[TaskReport]:
        query = {"status": status} if status else {}
        yield from map(TaskReport.model_validate, self._get_pages(f"/jobs/{job_id}/tasks", "tasks", query))

    def images(self, job_id: int, *, after: int = -1) -> Iterator[ImageReport]:
        yield from map(
            ImageReport.model_validate, self._get_pages(f"/jobs/{job_id}/images", "images", {"after": after})
        )

    def grids(self, job_id: int) -> list[GridReport]:
        """The labelled pictures of a sweep that has ended."""
        return [GridReport.model_validate(grid) for grid in self._call("GET", f"/jobs/{job_id}/grids")["grids"]]

    def workers(self) -> list[WorkerReport]:
        return [WorkerReport.model_validate(worker) for worker in self._call("GET", "/workers")["workers"]]

    def stats(self) -> StatsReport:
        """The farm in figures: plans, shares, and how good its estimates were."""
        return StatsReport.model_validate(self._call("GET", "/stats"))

    def drain(self, worker: str, reason: str | None = None) -> list[ExclusionReport]:
        """Let a worker finish and claim nothing more; return what it is excluded from."""
        return self._exclude("drain", {"worker": worker, "reason": reason})

    def restore(self, worker: str, checkpoint: str | None = None) -> list[ExclusionReport]:
        """Put a worker back in service, or let it render a checkpoint again; return its remaining exclusions."""
        return self._exclude("restore", {"worker": worker, "checkpoint": checkpoint})

    def _exclude(self, action: str, body: dict[str, str | None]) -> list[ExclusionReport]:
        answer = self._call("POST", f"/workers/{action}", json=body)
        return [ExclusionReport.model_validate(exclusion) for exclusion in answer["exclusions"]]

    def checkpoints(self) -> list[CheckpointReport]:
        found = self._call("GET", "/checkpoints")["checkpoints"]
        return [CheckpointReport.model_validate(checkpoint) for checkpoint in found]

    def addons(self) -> list[AddonReport]:
        """The registered VAEs, embeddings and LoRAs."""
        return [AddonReport.model_validate(addon) for addon in self._call("GET", "/addons")["addons"]]

    def download(self, image: ImageReport | GridReport, folder: Path) -> Path:
        """Save an image or a grid in a folder under its own name; an existing file of the same size is left alone.

        Completely or not at all. Raises ImageUnreachable for errors that may pass.
        """
        path = folder / _check_file_name(image.filename)
        if path.exists() and path.stat().st_size == image.size_bytes:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with _translating_errors(self.url):
            # A link into a bucket carries its own signature.
            link = urljoin(f"{self.url}/", image.url)
            content = self._get_content(link)
        if len(content) != image.size_bytes:
            raise ImageUnreachable(f"{image.filename} arrived with {len(content)} of {image.size_bytes} bytes.")
        partial = path.with_name(f"{path.name}.part")
        partial.write_bytes(content)
        partial.rename(path)
        return path

    def _get_content(self, link: str) -> bytes:
        """The content at a link. Only our own portal is sent the key, hence the slash: http://farm is not http://farm-bucket."""
        if link.startswith(f"{self.url}/"):
            return self._http.get(link).raise_for_status().content
        with open_http(link, timeout=60) as http:
            return http.get(link).raise_for_status().content

    def _get_pages(self, path: str, name: str, query: dict[str, Any]) -> Iterator[Any]:
        while True:
            page = self._call("GET", path, params=query)
            yield from page[name]
            if page["next"] is None:
                return
            query = {**query, "after": page["next"]}

    def _call(self, method: str, path: str, **options: Any) -> Any:
        with _translating_errors(self.url):
            response = self._http.request(method, f"{self.url}/api/v1{path}", **options)
        if response.is_error:
            _raise_problem(response)
        try:
            return response.json()
        except ValueError:
            raise FarmError(
                f"The answer of {self.url} is not that of a farm's portal. Is FARM_URL right?"
            ) from None


def _check_file_name(filename: str) -> str:
    """The name without any folder: a portal must not choose where files are written. Raises FarmError."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    if not name or name == "..":
        raise FarmError(f"The portal names an image {filename!r}, which is not a valid file name.")
    return name


@contextmanager
def _translating_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        is_temporary = status >= 500 or status in (408, 429)
        raise (ImageUnreachable if is_temporary else FarmError)(
            f"{error.request.url.host} answered {status} for an image."
        ) from None
    except httpx.TransportError as error:
        kind = PortalUnreachable if isinstance(error, _NOT_SENT) else AnswerLost
        raise kind(
            f"The portal at {url} does not answer ({error}). Is the farm up? Set FARM_URL if it is elsewhere."
        ) from None


def _raise_problem(response: httpx.Response) -> None:
    """Turn a problem document (RFC 9457) back into the error it was made from."""
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    detail = problem.get("detail") or f"The portal answered {response.status_code}."
    if problem.get("errors"):
        raise InvalidRequest([FieldProblem(e["field"], e["message"]) for e in problem["errors"]])
    raise {401: KeyNeeded, 404: NotFound, 409: Conflict, 503: ServiceUnavailable}.get(
        response.status_code, FarmError
    )(detail)
