"""Rendering an existing image again: whether the names in its text stand for the same weights here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from farm.infotext import Infotext
from farm.infotext.result import WeightsHash
from farm.spec.digests import SHOWN_DIGITS, shorten_digest
from farm.spec.names import Names, title_parts
from farm.weights.addons import TITLES


@dataclass(frozen=True)
class RegisteredHashes:
    """The sha256 of registered weights: of checkpoints by name, of addons by kind and name.

    For addons that is the file that the farm stores. `sources` are the hashes of the file it was made of, by which
    other tools identify it: its sha256, and that of the tensors in it. Addons of an early release have none.
    """

    checkpoints: Mapping[str, str]
    addons: Mapping[tuple[str, str], str]
    sources: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


def match_registered(read: Infotext, here: RegisteredHashes) -> Infotext:
    """The request of a text, with its checkpoint renamed to the name that it has here.

    Where its name stands for other weights, and nothing here has its hash, the name stays, with a warning. There is
    also a warning for each VAE, LoRA and embedding whose hash in the text differs here, or that is not here.
    """
    fields, warnings = dict(read.fields), [*read.warnings, *_compare_hashes(read.hashes, here)]
    name, short = _find_checkpoint_name(str(fields.get("checkpoint", "")), here), (read.model_hash or "").lower()
    known = here.checkpoints.get(name, "")
    if len(short) >= SHOWN_DIGITS and not known.startswith(short):
        alike = [other for other, sha256 in here.checkpoints.items() if sha256.startswith(short)]
        fields.update({"checkpoint": alike[0]} if alike else {})
        warnings += [_describe_mismatch("checkpoint", name, known, short)] if known and not alike else []
    return replace(read, fields=fields, warnings=tuple(warnings))


def _find_checkpoint_name(title: str, here: RegisteredHashes) -> str:
    """The name that a request would find under this title; the title where there is none."""
    names = Names(here.checkpoints)
    return next((found for part, _ in title_parts(title) if (found := names.only(part))), title)


def _compare_hashes(hashes: tuple[WeightsHash, ...], here: RegisteredHashes) -> Iterator[str]:
    for wanted in hashes:
        key = (wanted.kind, _find_addon_name(wanted, here))
        if key in here.addons and _has_hash(wanted, key, here):
            continue
        twin = next((other for other in here.addons if other[0] == key[0] and _has_hash(wanted, other, here)), None)
        hint = f"; the one that the image was made with is called {twin[1]!r} here" if twin else ""
        yield _describe_doubt(wanted, key, here) + hint


def _describe_doubt(wanted: WeightsHash, key: tuple[str, str], here: RegisteredHashes) -> str:
    title = TITLES[wanted.kind]
    if key not in here.addons:
        return f"there is no {title} {wanted.name!r} here"
    known = (here.addons[key],) if wanted.is_exact else here.sources.get(key, ())
    if known:
        # For a LoRA the WebUI writes the hash of its tensors alone, which is the last.
        return _describe_mismatch(title, key[1], known[-1 if wanted.kind == "lora" else 0], wanted.digits)
    return (
        f"it is not known whether the {title} {key[1]!r} here is the image's: a release added it that stored no "
        "hash of its file. Remove it and add it again"
    )


def _find_addon_name(wanted: WeightsHash, here: RegisteredHashes) -> str:
    """Other tools name weights by their files: case, spaces, dashes and underscores are ignored."""
    if wanted.is_exact or (wanted.kind, wanted.name) in here.addons:
        return wanted.name
    return Names(name for kind, name in here.addons if kind == wanted.kind).only(wanted.name) or wanted.name


def _has_hash(wanted: WeightsHash, key: tuple[str, str], here: RegisteredHashes) -> bool:
    """Whether the hash in the text is one of these weights."""
    if wanted.is_exact:
        return here.addons[key] == wanted.digits
    known = (here.addons[key], *here.sources.get(key, ()))
    return any(sha256.startswith(wanted.digits.lower()) for sha256 in known)


def _describe_mismatch(what: str, name: str, here: str, wanted: str) -> str:
    own, other = shorten_digest(here), shorten_digest(wanted)
    return f"{name!r} is another {what} here: its hash is {own}, the image's was {other}"
