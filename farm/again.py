"""An image that is to be rendered again here: whether its names stand for the weights that made it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from farm.addons import TITLES
from farm.infotext import Infotext
from farm.infotext.keys import Addons

# Shorter ones are of the WebUI's first year, and hash something else.
_SHORTEST_HASH = 10


@dataclass(frozen=True)
class Registered:
    """The sha256 of what may be named here: of checkpoints by name, of addons by kind and name."""

    checkpoints: Mapping[str, str]
    addons: Mapping[tuple[str, str], str]


def recognised(read: Infotext, here: Registered) -> Infotext:
    """What a text asks for, with its checkpoint by the name that it has here.

    Where its name stands for other weights, and nothing here has its hash, the name stays. That is said, and
    so is each VAE, LoRA and embedding of the farm's own texts that is another one here, or not here at all.
    """
    fields, warnings = dict(read.fields), [*read.warnings, *_doubts(read.addons, here)]
    name, short = str(fields.get("checkpoint", "")), (read.model_hash or "").lower()
    known = here.checkpoints.get(name, "")
    if len(short) >= _SHORTEST_HASH and not known.startswith(short):
        alike = [other for other, sha256 in here.checkpoints.items() if sha256.startswith(short)]
        fields.update({"checkpoint": alike[0]} if alike else {})
        warnings += [_another("checkpoint", name, known, short)] if known and not alike else []
    return replace(read, fields=fields, warnings=tuple(warnings))


def _doubts(addons: Addons, here: Registered) -> Iterator[str]:
    for kind, name, sha256 in _each(addons):
        found = here.addons.get((kind, name))
        if found == sha256:
            continue
        twin = next((other[1] for other, known in here.addons.items() if (other[0], known) == (kind, sha256)), None)
        hint = f"; what the image was made with is called {twin!r} here" if twin else ""
        if found is None:
            yield f"there is no {TITLES[kind]} {name!r} here{hint}"
        else:
            yield _another(TITLES[kind], name, found, sha256) + hint


def _each(addons: Addons) -> Iterator[tuple[str, str, str]]:
    """The kind, the name and the sha256 of each."""
    if addons.vae:
        yield "vae", addons.vae.name, addons.vae.sha256
    for lora in addons.loras:
        yield "lora", lora.name, lora.sha256
    for embedding in addons.embeddings:
        yield "embedding", embedding.name, embedding.sha256


def _another(what: str, name: str, here: str, wanted: str) -> str:
    return f"{name!r} is another {what} here: its hash is {here[:10]}, the image's was {wanted[:10]}"
