"""A VAE, as diffusers' config and one safetensors file; a checkpoint's own may be taken out of it."""

from pathlib import Path

from farm.spec.families import FAMILIES, Family
from farm.weights.files.family import Sniffed, sniff
from workers.ingest.components import write_component
from workers.ingest.folder import read_component
from workers.ingest.keys import left_out
from workers.ingest.kinds import expect
from workers.ingest.opening.sources import open_weights
from workers.ingest.request import Outcome, Request
from workers.ingest.singlefile import read_vae

_SDXL_NAME = "xl"


def ingest_vae(request: Request, target: Path, scratch: Path) -> Outcome:
    """Write `config.json` and the weights in diffusers' names. Raises BadWeights."""
    if request.source.is_dir():
        vae = read_component("vae", request.source, lambda folder: open_weights(folder, scratch))
        family = request.family or _family_of_scaling(vae.model.config.scaling_factor)
        write_component(vae, target)
        return Outcome(family.name, warnings=left_out("vae", vae.unknown))
    files = open_weights(request.source, scratch)
    sniffed = expect("vae", sniff(files.header, request.source.name), also="checkpoint")
    family, warnings = _family_of_vae(request, sniffed)
    write_component(read_vae(files, family), target)
    return Outcome(family.name, warnings=warnings)


def _family_of_scaling(factor: float) -> Family:
    return FAMILIES["sdxl" if abs(factor - 0.13025) < 1e-4 else "sd15"]


def _family_of_vae(request: Request, sniffed: Sniffed) -> tuple[Family, tuple[str, ...]]:
    if request.family is not None:
        return request.family, ()
    if sniffed.family is not None:
        return FAMILIES[sniffed.family], ()
    guess = "sdxl" if _SDXL_NAME in request.source.name.lower() else "sd15"
    return FAMILIES[guess], (f"A VAE's file does not say its family: {guess} is taken by its name (--family).",)
