"""Whether a name stands for the weights of a source, as far as can be told without bringing them here."""

from dataclasses import replace

from farm.config import Settings
from farm.errors import Conflict, FarmError
from farm.weights.hub import civitai, huggingface
from farm.weights.hub.fetch import without_secrets
from farm.weights.hub.sources import CivitaiSource, HuggingFaceSource, LocalSource, Source, WebSource, parse_source


def refuse_other_origin(settings: Settings, title: str, origin: str | None, source: Source) -> bool:
    """Raise Conflict where what is registered came from elsewhere; say whether it is certainly the same.

    `title` names what is registered, and `origin` is where that came from. A hub is asked which revision is
    meant. What lies on this disk, or at an address that says no hash, has to be looked into.
    """
    known = _read(origin)
    if isinstance(source, LocalSource) or known is None:
        return False
    if isinstance(source, WebSource):
        wanted: Source = replace(source, url=without_secrets(source.url))
        is_same, is_certain = _is_same_address(known, wanted), source.sha256 is not None
    else:
        wanted = _pinned(settings, source)
        is_same = is_certain = _is_same_revision(known, wanted)
    if not is_same:
        raise Conflict(
            f"{title} is registered from {origin}, and this is {wanted}. Remove it first, or choose another name."
        )
    return is_certain


def _read(origin: str | None) -> Source | None:
    try:
        return parse_source(origin) if origin else None
    except FarmError:
        # From a disk where it no longer lies.
        return None


def _pinned(settings: Settings, source: HuggingFaceSource | CivitaiSource) -> Source:
    """The source at the revision that it stands for now. Raises DownloadError."""
    if isinstance(source, HuggingFaceSource):
        return replace(source, revision=huggingface.look_up(settings, source.repo, source.revision).commit)
    found = civitai.look_up(settings, source)
    return CivitaiSource(found.model_id, found.version_id)


def _is_same_revision(known: Source, wanted: Source) -> bool:
    if isinstance(known, HuggingFaceSource) and isinstance(wanted, HuggingFaceSource) and wanted.file is None:
        # The only file of a repository need not be named.
        return replace(known, file=None) == wanted
    return known == wanted


def _is_same_address(known: Source, wanted: Source) -> bool:
    if not isinstance(known, WebSource) or not isinstance(wanted, WebSource):
        return False
    # What is kept has all of the hash; what is wished may have the first digits.
    return (known.sha256 or "").startswith(wanted.sha256) if wanted.sha256 else known.url == wanted.url
