"""Sources of weights, as people write them: a path, a web address, a name on a hub, or the page of one."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from farm.errors import FarmError
from farm.network.addresses import is_safe_url
from farm.spec import digests
from farm.weights.hub.transport import redact_url

FORMS = """a file or folder on disk
  https://host/file.safetensors[#sha256=HASH]     the hash, or its first 10 digits as in the WebUI
  hf:owner/repo[@revision]            a diffusers folder, or the one file of a repository
  hf:owner/repo[@revision]:file       one file of several
  civitai:ID[@version]                the number of a model, and of one of its versions
or the address of a page on huggingface.co or civitai.com"""

_HUGGING_FACE_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_CIVITAI_HOSTS = frozenset({"civitai.com", "www.civitai.com", "civitai.green", "civitai.red"})
_NOT_OWNERS = frozenset({"api", "collections", "datasets", "docs", "papers", "spaces"})
_NAME = r"[A-Za-z0-9][\w.-]*"
_HUGGING_FACE = re.compile(rf"hf:({_NAME}/{_NAME})(?:@([^:@]+))?(?::(.+))?")
_CIVITAI = re.compile(r"civitai:(\d{1,18})?(?:@(\d{1,18}))?")
_SHA256 = re.compile(rf"sha256=((?i:{digests.PATTERN}|[0-9a-f]{{{digests.SHOWN_DIGITS}}}))")


class BadSource(FarmError):
    """This is not a source of weights."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{text!r} {why}. Weights come from one of:\n  {FORMS}")


@dataclass(frozen=True)
class LocalSource:
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class WebSource:
    """One file at an https address; `sha256` is its expected hash or its first digits, None where none is given."""

    url: str
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.url}#sha256={self.sha256}" if self.sha256 else self.url


@dataclass(frozen=True)
class HuggingFaceSource:
    """A repository, at a revision (None: its main branch), and one file in it (None: what is needed)."""

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf:{self.repo}{revision}" + (f":{self.file}" if self.file else "")


@dataclass(frozen=True)
class CivitaiSource:
    """A model, by its number, and one of its versions (None: the newest). One of the two is known."""

    model_id: int | None
    version_id: int | None = None

    def __str__(self) -> str:
        return f"civitai:{self.model_id or ''}" + (f"@{self.version_id}" if self.version_id else "")


Source = LocalSource | WebSource | HuggingFaceSource | CivitaiSource


def parse_source(text: str) -> Source:
    """Parse what a person wrote. Raises BadSource, which lists the accepted forms."""
    text = text.strip()
    scheme = text.split(":", 1)[0].lower() if ":" in text else ""
    if scheme == "hf":
        return _parse_hugging_face(text)
    if scheme == "civitai":
        return _parse_civitai(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return _parse_address(text)
    return _parse_local(text)


def _parse_local(text: str) -> LocalSource:
    path = Path(text).expanduser()
    if not text or not path.exists():
        raise BadSource(text, "is no file or folder here")
    return LocalSource(path.resolve())


def _parse_hugging_face(text: str) -> HuggingFaceSource:
    match = _HUGGING_FACE.fullmatch(text)
    if match is None or not _is_inside(match[3] or "file") or ".." in (match[2] or ""):
        raise BadSource(text, "is not of the form hf:owner/repo[@revision][:file]")
    return HuggingFaceSource(*match.groups())


def _parse_civitai(text: str) -> CivitaiSource:
    match = _CIVITAI.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise BadSource(text, "is not of the form civitai:ID[@version]")
    model, version = (int(number) if number else None for number in match.groups())
    return CivitaiSource(model, version)


def _parse_address(text: str) -> Source:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadSource("that address", "cannot be read") from None
    if parts.username or parts.password:
        # The address is not repeated: it holds a password.
        raise BadSource(
            "an address with a name or password in it", "would be stored with it; leave the name and password out"
        )
    if not host or not is_safe_url(text):
        raise BadSource(redact_url(text), "is not an https:// address (http:// only on this machine)")
    if host in _HUGGING_FACE_HOSTS | _CIVITAI_HOSTS and parts.fragment.startswith("sha256="):
        raise BadSource(redact_url(text), "is a page of a hub, which gives the hash itself: leave #sha256= out")
    if host in _HUGGING_FACE_HOSTS:
        return _parse_hugging_face_page(text, parts)
    if host in _CIVITAI_HOSTS:
        return _parse_civitai_page(text, parts)
    digest = _SHA256.fullmatch(parts.fragment)
    if parts.fragment and digest is None:
        raise BadSource(redact_url(text), "has something other than sha256= and 64 or 10 hex digits after its #")
    return WebSource(parts._replace(fragment="").geturl(), digest[1].lower() if digest else None)


def _parse_hugging_face_page(text: str, parts: SplitResult) -> HuggingFaceSource:
    """/owner/repo, /owner/repo/tree/REVISION, and /owner/repo/blob|resolve|raw/REVISION/FILE.

    A slash inside a revision (`refs/pr/1`) is %2F in such an address.
    """
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
    if len(segments) < 2 or segments[0] in _NOT_OWNERS:
        raise BadSource(redact_url(text), "is not the page of a model")
    repo, what, rest = "/".join(segments[:2]), segments[2:3], segments[3:]
    if what and what[0] in ("blob", "resolve", "raw") and len(rest) > 1:
        return _parse_hugging_face(f"hf:{repo}@{rest[0]}:{'/'.join(rest[1:])}")
    revision = f"@{rest[0]}" if what == ["tree"] and rest else ""
    return _parse_hugging_face(f"hf:{repo}{revision}")


def _parse_civitai_page(text: str, parts: SplitResult) -> CivitaiSource:
    """/models/ID[/title][?modelVersionId=VERSION], and the download address /api/download/models/VERSION."""
    if match := re.match(r"/api/download/models/(\d{1,18})$", parts.path):
        return CivitaiSource(None, int(match[1]))
    match = re.match(r"/models/(\d{1,18})(/|$)", parts.path)
    if match is None:
        raise BadSource(redact_url(text), "is not the page of a model")
    version = parse_qs(parts.query).get("modelVersionId", [""])[0]
    return CivitaiSource(int(match[1]), int(version) if version.isdecimal() else None)


def _is_inside(name: str) -> bool:
    """Whether a file's name stays in the folder it is put into."""
    return not name.startswith("/") and all(part not in ("", ".", "..") for part in name.split("/"))
