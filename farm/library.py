"""What a request may name: checkpoints, addons, styles, wildcards, and the pictures that it brings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from sqlalchemy import select
from sqlalchemy.orm import Session

from farm import catalog, models, uploads
from farm.families import FAMILIES, Family
from farm.prompts.styles import Style
from farm.requests import JobRequest

_MOST_NAMED = 20


@dataclass(frozen=True)
class KnownCheckpoint:
    """A registered checkpoint."""

    id: int
    name: str
    family: Family
    sha256: str


@dataclass(frozen=True)
class KnownAddon:
    """A registered VAE, embedding or LoRA; `family` is one of FAMILIES, for the sake of its base."""

    name: str
    family: str
    sha256: str


Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Library:
    """Everything that names in one request may mean, each table by name; `pictures` by sha256."""

    checkpoints: Mapping[str, KnownCheckpoint]
    vaes: Mapping[str, KnownAddon] = field(default_factory=dict)
    loras: Mapping[str, KnownAddon] = field(default_factory=dict)
    embeddings: Mapping[str, KnownAddon] = field(default_factory=dict)
    styles: Mapping[str, Style] = field(default_factory=dict)
    wildcards: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, Size] = field(default_factory=dict)


def read_library(session: Session, request: JobRequest) -> Library:
    """Read what the request may name; its pictures are digests by now."""
    addons: dict[str, dict[str, KnownAddon]] = {"vae": {}, "lora": {}, "embedding": {}}
    for addon in session.scalars(select(models.Addon).where(models.Addon.removed_at.is_(None))):
        addons[addon.kind][addon.name] = KnownAddon(addon.name, addon.family, addon.sha256)
    return Library(
        checkpoints={
            name: KnownCheckpoint(found.id, name, FAMILIES[found.family], found.sha256)
            for name, found in catalog.by_name(session).items()
        },
        vaes=addons["vae"],
        loras=addons["lora"],
        embeddings=addons["embedding"],
        styles={
            found.name: Style(found.name, found.prompt, found.negative_prompt)
            for found in session.scalars(select(models.Style))
        },
        wildcards={found.name: found.lines for found in session.scalars(select(models.Wildcard))},
        pictures=uploads.sizes(session, pictures_of(request)),
    )


def pictures_of(request: JobRequest) -> set[str]:
    """The digests of all pictures that a request names."""
    sources = (source for settings in (request, *request.prompts) for source in (settings.image, settings.mask))
    return {source for source in sources if source is not None}


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """What to say of a name that nothing is registered under."""
    names = sorted(known)
    if not names:
        return f"unknown {what} {name!r}. Known: none yet"
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"unknown {what} {name!r}.{hint} Known: {', '.join(names[:_MOST_NAMED])}{more}"
