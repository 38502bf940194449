"""What reading a text gives: a request, what is doubtful about it, and the hashes of the weights that were used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from farm.spec.digests import SHOWN_DIGITS
from farm.spec.modes import MODES

AddonKind = Literal["vae", "lora", "embedding"]

_PICTURES = {"image": "picture", "mask": "mask"}

_MOST_SHOWN = 60


class NotRead(ValueError):
    """A text is in no form that is read here, or broken; the message is a predicate of what holds it."""


@dataclass(frozen=True)
class WeightsHash:
    """The first digits of a hash by which a text knows a VAE, a LoRA or an embedding.

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
    it. `warnings` say what of the text is left out. `strength` is that of an image from text, to which it means
    nothing, None where none is said.
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
        kept = tuple(warning for warning in self.warnings if warning != _unused(self.strength))
        return replace(self, fields=fields, warnings=kept, strength=None)


def missing_pictures(mode: str) -> Iterator[str]:
    """What a text cannot hold, and an image of this mode begins from."""
    pictures = [f"the {_PICTURES[name]}" for name in MODES[mode].needs if name in _PICTURES]
    if pictures:
        yield f"it does not hold {' and '.join(pictures)} it began from: give them"


def of_text_alone(read: Infotext, strength: float) -> Infotext:
    """A text that names a strength and no picture. Some releases of the WebUI say one for images from text too."""
    return replace(read, strength=strength, warnings=(*read.warnings, _unused(strength)))


def _unused(strength: float) -> str:
    return (
        f"its denoising strength {strength:g} is not used: nothing in it says that it began from a picture. "
        "Where it did, give the picture"
    )


def hashes_of(kind: AddonKind, text: str) -> tuple[WeightsHash, ...]:
    """`name: hash, name: hash`, as the WebUI writes them. Raises ValueError."""
    found = []
    for item in filter(None, text.split(", ")):
        name, _, digits = item.rpartition(": ")
        if not name:
            raise ValueError("no names and hashes")
        found.append(WeightsHash(kind, name, digits))
    return tuple(found)


def comparable(digits: object) -> str | None:
    """The digits of a sha256 or its beginning; None for another hash, or one too short to tell weights apart."""
    text = str(digits or "").lower().removeprefix("0x")
    is_hexadecimal = all(digit in "0123456789abcdef" for digit in text)
    return text if is_hexadecimal and SHOWN_DIGITS <= len(text) <= 64 else None


def shown(value: object) -> str:
    """A value of a foreign text within a message: on one line, and not too long."""
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
