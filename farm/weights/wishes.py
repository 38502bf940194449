"""What somebody asks to add: weights of a kind, from a source, under a name."""

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
from farm.weights.hub.fetch import Fetched
from farm.weights.presets import PRESETS, Preset, nearest_preset, preset

Kind = Literal["checkpoint", "vae", "embedding", "lora"]

_NAME: TypeAdapter[str] = TypeAdapter(Title)
# What begins or ends a tag, its parts, an axis's values and a choice, and what escapes them.
_UNSAYABLE = re.compile(r"[<>:,={}|\\]")
# Marks that turn the direction of writing, and spaces without a width; joiners belong to some scripts.
_INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_LONGEST = 200
_MERE_NAME = re.compile(r"[\w. -]{1,80}")
_TITLES = {"checkpoint": "checkpoint", **TITLES}


@dataclass(frozen=True)
class Wish:
    """What to add. `source` is a preset's name or what `parse_source` reads; without a name it gets one.

    `family` settles what the weights leave open; `tokenizer` is a folder with CLIP's vocabulary; `vae` is a
    registered VAE or a file, for a checkpoint that has none or instead of its own; `half` asks a hub for
    weights in half precision.
    """

    kind: Kind
    source: str
    name: str | None = None
    family: str | None = None
    tokenizer: Path | None = None
    vae: str | None = None
    half: bool = False
    note: str | None = None

    @property
    def title(self) -> str:
        """What its kind is called."""
        return _TITLES[self.kind]

    def preset(self) -> Preset | None:
        """The preset that the source names; a file of that name is written with its folder, as ./sd15.

        Raises NoSuchPreset for a name that is nearly one, and Conflict for a preset of another kind.
        """
        found = preset(self.source) if self._is_nearly_a_preset() else PRESETS.get(self.source)
        if found is not None and found.kind != self.kind:
            raise Conflict(f"The preset {found.name!r} is a {_TITLES[found.kind]}, not a {self.title}.")
        return found

    def _is_nearly_a_preset(self) -> bool:
        """Whether it is a mere name, of no file here, that looks like a preset's of this kind."""
        if not _MERE_NAME.fullmatch(self.source) or Path(self.source).exists():
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
            raise InvalidRequest.at("name", "must not contain characters that nobody sees")
        if self.kind != "checkpoint" and (unsayable := _UNSAYABLE.search(name)):
            message = f"must not contain {unsayable[0]}, which means something in prompts"
            raise InvalidRequest.at("name", message)
        return unicodedata.normalize("NFC", name.strip())

    def name_for(self, stem: str) -> str:
        """The name of what nobody named: its file's, as it is, but for what no prompt can say.

        Raises InvalidRequest where nothing is left of it.
        """
        said = _INVISIBLE.sub("", CONTROL.sub("_", stem))
        if self.kind != "checkpoint":
            said = _UNSAYABLE.sub("_", said)
        if not any(sign.isalnum() for sign in said):
            raise InvalidRequest.at("name", f"{self.source!r} has none of its own: choose one")
        return self.check_name(said.strip()[:_LONGEST])

    def check_hint(self, fetched: Fetched) -> None:
        """Raise BadWeights where the hub's page says that this is something else."""
        if fetched.kind_hint not in (None, self.kind):
            raise BadWeights(f"Its hub calls it a {_TITLES[str(fetched.kind_hint)]}, not a {self.title}.")

    def settled_family(self, fetched: Fetched, preset: Preset | None) -> str | None:
        """The family to take where the file cannot tell: as asked, else as its page says."""
        hint = preset.family if preset else fetched.family_hint
        is_needed = self.kind == "vae" or (self.kind == "checkpoint" and hint == "sd2-v")
        return self.family or (hint if is_needed else None)
