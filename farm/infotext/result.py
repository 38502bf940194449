"""The result of reading a text: a request, warnings about it, and the hashes of the weights that were used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from farm.spec.digests import SHOWN_DIGITS
from farm.spec.modes import MODES

AddonKind = Literal["vae", "lora", "embedding"]

_PICTURES = {"image": "picture", "mask": "mask"}

_MOST_SHOWN = 60


class NotRead(ValueError):
    """A text is in no supported form, or broken; the message is a predicate of the file or text that holds it."""


@dataclass(frozen=True)
class WeightsHash:
    """The first digits of a hash by which a text identifies a VAE, a LoRA or an embedding.

    `is_exact` says that it is the whole sha256 of the file that the farm keeps. Other tools hash the file that it
    was made of, or the tensors in that alone.
    """

    kind: AddonKind
    name: str
    digits: str
    is_exact: bool = False


@dataclass(frozen=True)
class Infotext:
    """What a text asks for.

    `fields` are those of a job request, its one prompt in `prompts`. Names stand as the text has them:
    what is registered here under them, if anything, shows when the job is submitted. `model_hash` is the
    first digits of the checkpoint's sha256, None where the text has none. `hashes` are those of what was added to
    it. `warnings` name the parts of the text that are left out. `strength` is one that an image from text does not
    use, None where none is given.
    """

    fields: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    model_hash: str | None = None
    hashes: tuple[WeightsHash, ...] = ()
    strength: float | None = None

    def with_picture(self) -> "Infotext":
        """The same for a job that begins from a picture: then a denoising strength is that of image to image."""
        if self.strength is None:
            return self
        fields = {**self.fields, "mode": "img2img", "strength": self.strength}
        kept = tuple(warning for warning in self.warnings if warning != _warn_of_strength(self.strength))
        return replace(self, fields=fields, warnings=kept, strength=None)


def missing_pictures(mode: str) -> Iterator[str]:
    """What a text cannot hold, and an image of this mode begins from."""
    pictures = [f"the {_PICTURES[name]}" for name in MODES[mode].needs if name in _PICTURES]
    if pictures:
        yield f"it does not hold {' and '.join(pictures)} it began from: give them"


def set_strength_aside(read: Infotext, strength: float) -> Infotext:
    """For a text with a strength and no picture: some releases of the WebUI write one for images from text too."""
    return replace(read, strength=strength, warnings=(*read.warnings, _warn_of_strength(strength)))


def _warn_of_strength(strength: float) -> str:
    return (
        f"its denoising strength {strength:g} is not used: nothing in it shows that it began from a picture. "
        "If it did, give the picture"
    )


def parse_hashes(kind: AddonKind, text: str) -> tuple[WeightsHash, ...]:
    """`name: hash, name: hash`, as the WebUI writes them. Raises ValueError."""
    found = []
    for item in filter(None, text.split(", ")):
        name, _, digits = item.rpartition(": ")
        if not name:
            raise ValueError("no names and hashes")
        found.append(WeightsHash(kind, name, digits))
    return tuple(found)


def parse_digest(digits: object) -> str | None:
    """The digits of a sha256 or its beginning; None for another hash, or one too short to identify weights."""
    text = str(digits or "").lower().removeprefix("0x")
    is_hexadecimal = all(digit in "0123456789abcdef" for digit in text)
    return text if is_hexadecimal and SHOWN_DIGITS <= len(text) <= 64 else None


def shorten(value: object) -> str:
    """A value of a foreign text within a message: on one line, and not too long."""
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
