"""Whether a name already stands for the weights of a source, as far as can be decided without a download."""

from dataclasses import replace

from farm.config import Settings
from farm.errors import Conflict, FarmError
from farm.weights.hub import civitai, huggingface
from farm.weights.hub.fetch import remove_secrets
from farm.weights.hub.sources import CivitaiSource, HuggingFaceSource, LocalSource, Source, WebSource, parse_source


def refuse_other_origin(settings: Settings, title: str, origin: str | None, source: Source) -> bool:
    """Raise Conflict where the registered weights have another source; return whether they are certainly the same.

    `title` names what is registered, and `origin` is its source. A hub is asked which revision is
    meant. A local file, or an address without a hash, can only be compared by its content.
    """
    known = _parse_origin(origin)
    if isinstance(source, LocalSource) or known is None:
        return False
    if isinstance(source, WebSource):
        wanted: Source = replace(source, url=remove_secrets(source.url))
        is_same, is_certain = _is_same_address(known, wanted), source.sha256 is not None
    else:
        wanted = _pin_revision(settings, source)
        is_same = is_certain = _is_same_revision(known, wanted)
    if not is_same:
        raise Conflict(
            f"{title} is registered from {origin}, and this is {wanted}. Remove it first, or choose another name."
        )
    return is_certain


def _parse_origin(origin: str | None) -> Source | None:
    try:
        return parse_source(origin) if origin else None
    except FarmError:
        # A local path that no longer exists.
        return None


def _pin_revision(settings: Settings, source: HuggingFaceSource | CivitaiSource) -> Source:
    """The source at the revision that it resolves to now. Raises DownloadError."""
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
    # The stored origin has the whole hash; the request may have the first digits.
    return (known.sha256 or "").startswith(wanted.sha256) if wanted.sha256 else known.url == wanted.url
