"""A diffusers folder of any age, taken apart into a pipeline's components."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from farm.spec.families import Family, family_of_parts
from farm.weights.files import configbounds
from farm.weights.files.configbounds import TITLES
from farm.weights.files.header import BadWeights
from workers.ingest.components import Component, bare_model, gather
from workers.ingest.configs import Config
from workers.ingest.keys import sift
from workers.ingest.naming.published import TensorLocation, vae_of_today
from workers.ingest.opening.files import read_json
from workers.ingest.opening.tensors import TensorFiles


@dataclass(frozen=True)
class FolderParts:
    """What a folder holds: components, the config of its scheduler, and the index it came with."""

    family: Family
    components: list[Component]
    scheduler: Config
    index: Config


def read_folder(folder: Path, open_weights: Callable[[Path], TensorFiles]) -> FolderParts:
    """Look into the folder; `open_weights` opens a component's. Raises BadWeights."""
    index = read_json(folder / "model_index.json", "is it a diffusers checkpoint folder?")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", "the scheduler's config is needed.")
    family = _family(folder, index, scheduler)
    names = ["unet", "vae", "text_encoder", *(["text_encoder_2"] if family.is_sdxl else [])]
    components = [read_component(name, folder / name, open_weights) for name in names]
    return FolderParts(family, components, scheduler, index)


def _family(folder: Path, index: Config, scheduler: Config) -> Family:
    unet = read_json(folder / "unet" / "config.json", "it has no UNet that is known here.")
    kind = str(unet.get("_class_name", "UNet2DConditionModel"))
    if kind != "UNet2DConditionModel":
        raise BadWeights(f"{folder} holds a {kind[:60]}; this farm renders SD1, SD2 and SDXL.")
    for part, config in (("unet", unet), ("scheduler", scheduler)):
        configbounds.check_config(part, sift(part, config)[0])
    if not (folder / "text_encoder").is_dir() and (folder / "text_encoder_2").is_dir():
        raise BadWeights("It holds SDXL's refiner, which renders nothing by itself; add the base model.")
    is_sdxl = (folder / "text_encoder_2").is_dir()
    family = family_of_parts(unet, scheduler.get("prediction_type"), is_sdxl=is_sdxl)
    if family is None:
        named, channels = str(index.get("_class_name"))[:60], unet.get("in_channels", 4)
        raise BadWeights(
            f"{folder} holds a {named} whose UNet takes {channels} channels; 4 or 9 are rendered here."
        )
    return family


def read_component(name: str, folder: Path, open_weights: Callable[[Path], TensorFiles]) -> Component:
    """The component in a folder of its own, its tensors under the names of today. Raises BadWeights."""
    if not folder.is_dir():
        raise BadWeights(f"{folder.parent} has no folder {folder.name!r}: its {TITLES[name]} is missing.")
    config = read_json(folder / "config.json", f"the {TITLES[name]}'s config is needed.")
    if isinstance(config.get("text_config"), dict):
        # That of the whole CLIP, of which the text encoder is half.
        config = config["text_config"]
    known, unknown = sift(name, config)
    files = open_weights(folder)
    model = bare_model(name, known)
    names = {_of_today(name, own): own for own in files.header.tensors}
    locations = {key: TensorLocation(_of_today(name, key)) for key in model.state_dict()}
    return replace(gather(name, model, locations, files, names), unknown=unknown)


def _of_today(component: str, name: str) -> str:
    return vae_of_today(name) if component == "vae" else name.removeprefix("text_model.")
