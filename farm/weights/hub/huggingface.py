"""Hugging Face: the files of a revision of a repository, and the download of those that are needed.

The API is that of https://huggingface.co/docs/hub/api; large files carry their sha256, small ones git's hash.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from farm.config import Settings
from farm.weights.hub.download import DownloadedFile, OnProgress, WrongHash, download, ignore_progress
from farm.weights.hub.partialfile import check_disk
from farm.weights.hub.pipeline_files import INDEX, Precision, RepoFile, choose_pipeline_files, choose_single_file
from farm.weights.hub.sources import HuggingFaceSource
from farm.weights.hub.transport import Access, DownloadError, get_json, open_hub_client

_VOCABULARY = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class Revision:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[RepoFile, ...]

    @property
    def is_pipeline(self) -> bool:
        return any(file.path == INDEX for file in self.files)

    def file(self, path: str) -> RepoFile:
        """The file at a path. Raises DownloadError if the revision has no such file."""
        for file in self.files:
            if file.path == path:
                return file
        near = [file.path for file in self.files if file.name == path.rpartition("/")[2]]
        hint = f" Did you mean {near[0]}?" if near else ""
        raise DownloadError(f"hf:{self.repo}@{self.commit[:10]} holds no file {path!r}.{hint}")


@dataclass(frozen=True)
class FetchedRepo:
    """What was downloaded from a repository: a folder, or the one file with its sha256."""

    revision: Revision
    path: Path
    file: RepoFile | None = None
    sha256: str | None = None


def access_to(settings: Settings) -> Access:
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    return Access(settings.hf_endpoint, token, "FARM_HF_TOKEN")


def look_up(settings: Settings, repo: str, revision: str | None = None) -> Revision:
    """What a repository holds at a branch, tag or commit (None: at its main branch). Raises DownloadError."""
    access, base = access_to(settings), f"{settings.hf_endpoint}/api/models/{repo}"
    with open_hub_client() as client:
        about, _ = get_json(client, f"{base}/revision/{quote(revision or 'main', safe='')}", access)
        commit = _read_field(about, "sha", repo)
        tree = _get_all_pages(client, f"{base}/tree/{commit}?recursive=true", access)
        files = tuple(_parse_file(entry, repo) for entry in tree if _read_field(entry, "type", repo) == "file")
    return Revision(repo, commit, files)


def _get_all_pages(client: httpx.Client, url: str, access: Access) -> list[Any]:
    found: list[Any] = []
    page: str | None = url
    while page:
        entries, page = get_json(client, page, access)
        found += entries
    return found


def _parse_file(entry: dict[str, Any], repo: str) -> RepoFile:
    large = entry.get("lfs")
    return RepoFile(
        path=_read_field(entry, "path", repo),
        size=int(_read_field(large or entry, "size", repo)),
        sha256=_read_field(large, "oid", repo) if large else None,
        blob_id=_read_field(entry, "oid", repo),
    )


def _read_field(answer: Any, name: str, repo: str) -> str:
    try:
        return str(answer[name])
    except (KeyError, TypeError):
        raise DownloadError(
            f"The hub's answer about hf:{repo} has no field {name!r}. Is FARM_HF_ENDPOINT right?"
        ) from None


def fetch_file(
    settings: Settings, revision: Revision, file: RepoFile, target: Path, on_progress: OnProgress = ignore_progress
) -> DownloadedFile:
    """Download one file of a revision to `target`, and check it against the hub's hash."""
    if file.sha256 is None and target.is_file() and _blob_id(target) == file.blob_id:
        on_progress(file.size, file.size)
        return DownloadedFile(target, hashlib.sha256(target.read_bytes()).hexdigest(), file.size)
    url = f"{settings.hf_endpoint}/{revision.repo}/resolve/{revision.commit}/{quote(file.path)}"
    done = download(
        url, target, access=access_to(settings), sha256=file.sha256, size=file.size, on_progress=on_progress
    )
    if file.sha256 is None and (actual := _blob_id(target)) != file.blob_id:
        target.unlink()
        raise WrongHash(url, f"(of git) {file.blob_id}", actual)
    return done


def _blob_id(path: Path) -> str:
    """Git's name for the content of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def fetch_files(
    settings: Settings,
    revision: Revision,
    files: Iterable[RepoFile],
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Download files into `folder`, by their paths in the repository; the progress is that of all together.

    Files of an earlier try are kept, so that a folder resumes where it was interrupted.
    """
    files = list(files)
    total, before = sum(file.size for file in files), 0
    check_disk(folder, total - _count_bytes(folder))
    for file in files:
        target = folder / file.path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise DownloadError(f"hf:{revision.repo} names a file outside of its folder: {file.path!r}.")

        def report_progress(done: int, _total: int | None, before: int = before) -> None:
            on_progress(before + done, total)

        fetch_file(settings, revision, file, target, report_progress)
        before += file.size
    return folder


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fetch_repo(
    settings: Settings,
    source: HuggingFaceSource,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
    precision: Precision = "full",
) -> FetchedRepo:
    """Download what a source means below `folder`: the file it names, a pipeline's files, or its only file.

    Each choice of files has a folder of its own, so that files of one are not taken for part of another.
    """
    revision = look_up(settings, source.repo, source.revision)
    inside = folder / source.repo.replace("/", "--") / revision.commit[:10]
    if source.file is None and revision.is_pipeline:
        files = choose_pipeline_files(revision.files, precision)
        fetched = fetch_files(settings, revision, files, inside / f"pipeline-{precision}", on_progress)
        return FetchedRepo(revision, fetched)
    file = revision.file(source.file) if source.file else choose_single_file(source.repo, revision.files)
    done = fetch_file(settings, revision, file, inside / "files" / file.path, on_progress)
    return FetchedRepo(revision, done.path, file, done.sha256)


def fetch_vocabulary(settings: Settings, folder: Path, on_progress: OnProgress = ignore_progress) -> Path:
    """Download CLIP's vocabulary (vocab.json and merges.txt) into `folder`, from `settings.clip_repo`."""
    repo, _, wanted = settings.clip_repo.partition("@")
    revision = look_up(settings, repo, wanted or None)
    paths = {file.path for file in revision.files}
    inside = "" if set(_VOCABULARY) <= paths else "tokenizer/"
    for name in _VOCABULARY:
        fetch_file(settings, revision, revision.file(inside + name), folder / name, on_progress)
    return folder
