"""An image that is to be rendered again here: whether its names stand for the weights that made it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from farm.infotext import Infotext
from farm.infotext.reading import WeightsHash
from farm.spec.digests import SHOWN_DIGITS, shortened
from farm.spec.names import Names, title_parts
from farm.weights.addons import TITLES


@dataclass(frozen=True)
class Registered:
    """The sha256 of what may be named here: of checkpoints by name, of addons by kind and name.

    Of addons that is the file that the farm keeps. `sources` are the hashes of the file that it was made of, by
    which others know it: its sha256, and that of the tensors in it. What an earlier release took in has none.
    """

    checkpoints: Mapping[str, str]
    addons: Mapping[tuple[str, str], str]
    sources: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


def recognised(read: Infotext, here: Registered) -> Infotext:
    """What a text asks for, with its checkpoint by the name that it has here.

    Where its name stands for other weights, and nothing here has its hash, the name stays. That is said, and
    so is each VAE, LoRA and embedding whose hash the text has that is another one here, or not here at all.
    """
    fields, warnings = dict(read.fields), [*read.warnings, *_doubts(read.hashes, here)]
    name, short = _checkpoint_here(str(fields.get("checkpoint", "")), here), (read.model_hash or "").lower()
    known = here.checkpoints.get(name, "")
    if len(short) >= SHOWN_DIGITS and not known.startswith(short):
        alike = [other for other, sha256 in here.checkpoints.items() if sha256.startswith(short)]
        fields.update({"checkpoint": alike[0]} if alike else {})
        warnings += [_another("checkpoint", name, known, short)] if known and not alike else []
    return replace(read, fields=fields, warnings=tuple(warnings))


def _checkpoint_here(title: str, here: Registered) -> str:
    """The name that a request would find under this title; the title where there is none."""
    names = Names(here.checkpoints)
    return next((found for part, _ in title_parts(title) if (found := names.only(part))), title)


def _doubts(hashes: tuple[WeightsHash, ...], here: Registered) -> Iterator[str]:
    for wanted in hashes:
        key = (wanted.kind, _name_here(wanted, here))
        if key in here.addons and _is_of(wanted, key, here):
            continue
        twin = next((other for other in here.addons if other[0] == key[0] and _is_of(wanted, other, here)), None)
        hint = f"; what the image was made with is called {twin[1]!r} here" if twin else ""
        yield _doubt(wanted, key, here) + hint


def _doubt(wanted: WeightsHash, key: tuple[str, str], here: Registered) -> str:
    title = TITLES[wanted.kind]
    if key not in here.addons:
        return f"there is no {title} {wanted.name!r} here"
    known = (here.addons[key],) if wanted.is_exact else here.sources.get(key, ())
    if known:
        # What the WebUI would write for a LoRA is the hash of its tensors alone, which is the last.
        return _another(title, key[1], known[-1 if wanted.kind == "lora" else 0], wanted.digits)
    return (
        f"it cannot be told whether the {title} {key[1]!r} here is the image's: a release added it that kept no "
        "hash of its file. Remove it and add it again"
    )


def _name_here(wanted: WeightsHash, here: Registered) -> str:
    """Other tools name weights by their files: case, spaces, dashes and underscores count for nothing."""
    if wanted.is_exact or (wanted.kind, wanted.name) in here.addons:
        return wanted.name
    return Names(name for kind, name in here.addons if kind == wanted.kind).only(wanted.name) or wanted.name


def _is_of(wanted: WeightsHash, key: tuple[str, str], here: Registered) -> bool:
    """Whether the hash is one of these weights."""
    if wanted.is_exact:
        return here.addons[key] == wanted.digits
    known = (here.addons[key], *here.sources.get(key, ()))
    return any(sha256.startswith(wanted.digits.lower()) for sha256 in known)


def _another(what: str, name: str, here: str, wanted: str) -> str:
    return f"{name!r} is another {what} here: its hash is {shortened(here)}, the image's was {shortened(wanted)}"
