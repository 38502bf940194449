"""What a request may name: checkpoints, addons, styles, wildcards, and the pictures that it brings."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from farm.db.tables import snippets
from farm.db.tables.weights import Addon
from farm.intake.request import ImageSettings, JobRequest
from farm.pictures import uploads
from farm.prompts.embeddings import EmbeddingNames
from farm.prompts.namedoubts import NameDoubts
from farm.prompts.styles import PromptStyle
from farm.spec.families import FAMILIES, Family
from farm.spec.names import Names
from farm.spec.sizes import Size
from farm.weights import checkpoints
from farm.weights.lookup import UnknownName, find_by_name, find_by_title, unknown


@dataclass(frozen=True)
class KnownCheckpoint:
    """A registered checkpoint; `suggested_size` is None where its family's side suits it."""

    id: int
    name: str
    family: Family
    sha256: str
    suggested_size: Size | None = None

    @property
    def size(self) -> Size:
        """What its images have where a request gives no other."""
        return self.suggested_size or (self.family.side, self.family.side)


@dataclass(frozen=True)
class KnownAddon:
    """A registered VAE, embedding or LoRA; `family` is one of FAMILIES, for the sake of its base."""

    name: str
    family: str
    sha256: str

    @property
    def base(self) -> str:
        return FAMILIES[self.family].base


@dataclass(frozen=True)
class Library:
    """Everything that names in one request may mean, each table by name; `pictures` by sha256."""

    checkpoints: Mapping[str, KnownCheckpoint]
    vaes: Mapping[str, KnownAddon] = field(default_factory=dict)
    loras: Mapping[str, KnownAddon] = field(default_factory=dict)
    embeddings: Mapping[str, KnownAddon] = field(default_factory=dict)
    styles: Mapping[str, PromptStyle] = field(default_factory=dict)
    wildcards: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: Mapping[str, Size] = field(default_factory=dict)

    def embeddings_in(self, text: str, base: str) -> tuple[str, ...]:
        """The embeddings made for a base that occur in a text."""
        return self._names[base].in_text(text) if base in self._names else ()

    def doubt_names(self, text: str, base: str) -> Iterator[str]:
        """What a text may have meant by a name, for checkpoints of this base."""
        return self._doubts[base].in_text(text) if base in self._doubts else iter(())

    @cached_property
    def _doubts(self) -> Mapping[str, NameDoubts]:
        bases = {known.base for known in self.embeddings.values()}
        return {
            base: NameDoubts([name for name, known in self.embeddings.items() if known.base == base])
            for base in bases
        }

    @cached_property
    def _names(self) -> Mapping[str, EmbeddingNames]:
        by_base: dict[str, list[str]] = defaultdict(list)
        for name, known in self.embeddings.items():
            by_base[known.base].append(name)
        return {base: EmbeddingNames(names) for base, names in by_base.items()}

    def find_checkpoint(self, title: str) -> str:
        """The name that a checkpoint is registered under. Raises UnknownName."""
        return find_by_title("checkpoint", title, self.checkpoints, self._checkpoint_names)

    def find_vae(self, title: str) -> str:
        return find_by_title("VAE", title, self.vaes, self._vae_names)

    def find_lora(self, name: str) -> str:
        """The name that a LoRA is registered under, as a tag has it. Raises UnknownName."""
        found = find_by_name("LoRA", name, self._lora_names)
        if found is None:
            raise UnknownName(unknown("LoRA", name, self._lora_names))
        return found

    @cached_property
    def style_names(self) -> Names:
        return Names(self.styles)

    @cached_property
    def _checkpoint_names(self) -> Names:
        return Names(self.checkpoints)

    @cached_property
    def _vae_names(self) -> Names:
        return Names(self.vaes)

    @cached_property
    def _lora_names(self) -> Names:
        return Names(self.loras)


def read_library(session: Session, request: JobRequest, pictures: Collection[str]) -> Library:
    """Read what the request may name, its pictures by the sha256 of their uploads."""
    addons: dict[str, dict[str, KnownAddon]] = {"vae": {}, "lora": {}, "embedding": {}}
    for addon in session.scalars(select(Addon).where(Addon.removed_at.is_(None))):
        addons[addon.kind][addon.name] = KnownAddon(addon.name, addon.family, addon.sha256)
    styles = {
        found.name: PromptStyle(found.name, found.prompt, found.negative_prompt)
        for found in session.scalars(select(snippets.Style))
    }
    return Library(
        checkpoints={
            name: KnownCheckpoint(
                found.id, name, FAMILIES[found.family], found.sha256, checkpoints.suggested_size(found)
            )
            for name, found in checkpoints.by_name(session).items()
        },
        vaes=addons["vae"],
        loras=addons["lora"],
        embeddings=addons["embedding"],
        styles=styles,
        wildcards=_wildcards(session, request, styles.values()),
        pictures=uploads.lock_sizes(session, pictures),
    )


def _wildcards(session: Session, request: JobRequest, styles: Iterable[PromptStyle]) -> dict[str, Sequence[str]]:
    """Their lines may be many: they are read only where something may name them."""
    texts = [text for row in (request, *request.prompts) for text in _texts(row)]
    texts += [text for style in styles for text in (style.prompt, style.negative_prompt)]
    texts += [str(value) for axis in request.axes for value in axis.values]
    if not any("__" in text for text in texts):
        return {}
    return {found.name: found.lines for found in session.scalars(select(snippets.Wildcard))}


def _texts(settings: ImageSettings) -> Iterator[str]:
    yield getattr(settings, "prompt", "")
    yield settings.negative_prompt or ""
