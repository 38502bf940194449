"""A request to add weights: of a kind, from a source, under a name."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from farm.errors import Conflict, InvalidRequest
from farm.spec.fields import CONTROL, Title
from farm.weights.addons import TITLES
from farm.weights.files.header import BadWeights
from farm.weights.hub.fetch import FetchedWeights
from farm.weights.presets import PRESETS, Preset, nearest_preset, preset

WeightsKind = Literal["checkpoint", "vae", "embedding", "lora"]

_NAME: TypeAdapter[str] = TypeAdapter(Title)
# Characters of the prompt language: of tags and their parts, an axis's values, a choice, and the escape.
_RESERVED = re.compile(r"[<>:,={}|\\]")
# Marks that turn the direction of writing, and spaces without a width; joiners belong to some scripts.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_LONGEST = 200
_PLAIN_NAME = re.compile(r"[\w. -]{1,80}")
_TITLES = {"checkpoint": "checkpoint", **TITLES}


@dataclass(frozen=True)
class AddRequest:
    """What to add. `source` is a preset's name or what `parse_source` reads; without a name one is chosen.

    `family` decides what the weights leave open; `tokenizer` is a folder with CLIP's vocabulary; `vae` is a
    registered VAE or a file, for a checkpoint that has none or instead of its own; `half` asks a hub for
    weights in half precision.
    """

    kind: WeightsKind
    source: str
    name: str | None = None
    family: str | None = None
    tokenizer: Path | None = None
    vae: str | None = None
    half: bool = False
    note: str | None = None

    @property
    def title(self) -> str:
        """The display name of its kind."""
        return _TITLES[self.kind]

    def find_preset(self) -> Preset | None:
        """The preset that the source names; a file of that name is written with its folder, as ./sd15.

        Raises NoSuchPreset for a name that is nearly one, and Conflict for a preset of another kind.
        """
        found = preset(self.source) if self._is_nearly_a_preset() else PRESETS.get(self.source)
        if found is not None and found.kind != self.kind:
            raise Conflict(f"The preset {found.name!r} is a {_TITLES[found.kind]}, not a {self.title}.")
        return found

    def _is_nearly_a_preset(self) -> bool:
        """Whether the source is a plain name, of no local file, that is close to a preset's of this kind."""
        if not _PLAIN_NAME.fullmatch(self.source) or Path(self.source).exists():
            return False
        return nearest_preset(self.source, self.kind) is not None

    def check_name(self, name: str) -> str:
        """The name as it is registered, if it is fit for prompts, files and terminals. Raises InvalidRequest."""
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InvalidRequest.at("name", message) from None
        if _INVISIBLE.search(name) or not name.strip():
            raise InvalidRequest.at("name", "must not contain invisible characters")
        if self.kind != "checkpoint" and (unsayable := _RESERVED.search(name)):
            message = f"must not contain {unsayable[0]}, which has a meaning in prompts"
            raise InvalidRequest.at("name", message)
        return unicodedata.normalize("NFC", name.strip())

    def choose_name(self, stem: str) -> str:
        """A name for weights that were added without one: its file's, without what prompts cannot contain.

        Raises InvalidRequest where nothing is left of it.
        """
        chosen = _INVISIBLE.sub("", CONTROL.sub("_", stem))
        if self.kind != "checkpoint":
            chosen = _RESERVED.sub("_", chosen)
        if not any(sign.isalnum() for sign in chosen):
            raise InvalidRequest.at("name", f"{self.source!r} gives no name: choose one with --name")
        return self.check_name(chosen.strip()[:_LONGEST])

    def check_hint(self, fetched: FetchedWeights) -> None:
        """Raise BadWeights where the hub's page names another kind."""
        if fetched.kind_hint not in (None, self.kind):
            raise BadWeights(f"The hub's page calls it a {_TITLES[str(fetched.kind_hint)]}, not a {self.title}.")

    def choose_family(self, fetched: FetchedWeights, preset: Preset | None) -> str | None:
        """The family to use where the file does not show it: the requested one, else that of its page."""
        hint = preset.family if preset else fetched.family_hint
        is_needed = self.kind == "vae" or (self.kind == "checkpoint" and hint == "sd2-v")
        return self.family or (hint if is_needed else None)
