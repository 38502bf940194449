"""Download weights from any source, and return what is known about them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from farm.config import Settings
from farm.weights.hub import civitai, huggingface
from farm.weights.hub.download import OnProgress, download, ignore_progress
from farm.weights.hub.pipeline_files import Precision
from farm.weights.hub.sources import CivitaiSource, HuggingFaceSource, LocalSource, Source, WebSource

# File names that say nothing about the model: there the repository's name is used.
_COMMON_NAMES = frozenset(
    {
        *("model", "pytorch_model", "diffusion_pytorch_model", "diffusion_pytorch_model.fp16", "learned_embeds"),
        *("pytorch_lora_weights", "adapter_model", "model.fp16"),
    }
)
_SECRET = re.compile(r"token|key|sig|secret|pass|auth|credential|policy|expires", re.IGNORECASE)


@dataclass(frozen=True)
class FetchedWeights:
    """Weights on the local disk.

    `name_hint` is the file's name without suffix, as it is. `origin` fetches the same bytes again, and holds no
    secret. The other hints come from the hub, None where it gives none: the file itself decides. `kind_hint`
    is checkpoint, lora, embedding or vae.
    """

    path: Path
    is_folder: bool
    name_hint: str
    origin: str
    sha256: str | None = None
    family_hint: str | None = None
    kind_hint: str | None = None
    trigger_words: tuple[str, ...] = ()


def fetch(
    source: Source,
    settings: Settings,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
    *,
    precision: Precision = "full",
) -> FetchedWeights:
    """Download a source below `folder`; what is on the local disk already stays where it is.

    `sha256` of the result is that of a downloaded file. `precision` chooses among the variants of a pipeline.
    Raises DownloadError with what to do.
    """
    if isinstance(source, LocalSource):
        return _fetch_local(source)
    if isinstance(source, WebSource):
        return _fetch_web(source, folder, on_progress)
    if isinstance(source, HuggingFaceSource):
        return _fetch_hugging_face(source, settings, folder, on_progress, precision)
    return _fetch_civitai(source, settings, folder, on_progress)


def _fetch_local(source: LocalSource) -> FetchedWeights:
    path = source.path
    return FetchedWeights(path, path.is_dir(), path.name if path.is_dir() else path.stem, str(path))


def _fetch_web(source: WebSource, folder: Path, on_progress: OnProgress) -> FetchedWeights:
    named = unquote(PurePosixPath(urlsplit(source.url).path).name)
    place = folder / "web" / hashlib.sha256(source.url.encode()).hexdigest()[:12]
    done = download(source.url, place / _safe_file_name(named), sha256=source.sha256, on_progress=on_progress)
    origin = WebSource(remove_secrets(source.url), done.sha256)
    return FetchedWeights(done.path, False, _stem(named), str(origin), done.sha256)


def _fetch_hugging_face(
    source: HuggingFaceSource, settings: Settings, folder: Path, on_progress: OnProgress, precision: Precision
) -> FetchedWeights:
    found = huggingface.fetch_repo(settings, source, folder / "hf", on_progress, precision)
    commit = found.revision.commit
    if found.file is None:
        origin = HuggingFaceSource(source.repo, commit)
        return FetchedWeights(found.path, True, source.repo.split("/")[1], str(origin), kind_hint="checkpoint")
    origin = HuggingFaceSource(source.repo, commit, found.file.path)
    stem = _stem(found.file.path)
    name = source.repo.split("/")[1] if stem in _COMMON_NAMES else stem
    return FetchedWeights(found.path, False, name, str(origin), found.sha256)


def _fetch_civitai(
    source: CivitaiSource, settings: Settings, folder: Path, on_progress: OnProgress
) -> FetchedWeights:
    found = civitai.look_up(settings, source)
    done = download(
        found.url,
        folder / "civitai" / str(found.version_id) / _safe_file_name(found.file_name),
        access=civitai.access_to(settings),
        sha256=found.sha256,
        on_progress=on_progress,
    )
    return FetchedWeights(
        path=done.path,
        is_folder=False,
        # Prompts on its page use the file's name; the page's title is for people.
        name_hint=_stem(found.file_name) or found.model_name,
        origin=str(CivitaiSource(found.model_id, found.version_id)),
        sha256=done.sha256,
        family_hint=found.family,
        kind_hint=found.kind,
        trigger_words=found.trigger_words,
    )


def remove_secrets(url: str) -> str:
    """The address without parameters that grant access: the result is stored and shown to all users."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, True) if not _SECRET.search(name)]
    return parts._replace(query=urlencode(kept)).geturl()


def _safe_file_name(name: str) -> str:
    """A safe file name, from a foreign one."""
    return re.sub(r"[^\w.()+ -]", "_", name).lstrip(". ")[-150:] or "weights"


def _stem(name: str) -> str:
    """A foreign file name without folders and suffix."""
    return PurePosixPath(name.replace("\\", "/")).stem
