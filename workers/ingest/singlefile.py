"""A single file in the names of CompVis and Stability, taken apart into a pipeline's components."""

from collections.abc import Mapping
from dataclasses import replace

from farm.spec.families import Family
from farm.weights.files.configbounds import TITLES
from farm.weights.files.header import BadWeights
from workers.ingest import configs
from workers.ingest.components import Component, bare_model, gather
from workers.ingest.naming.older import published_names, published_vae_names
from workers.ingest.naming.published import SECTIONS, ComponentSection, clip
from workers.ingest.opening.tensors import TensorFiles

# More blocks or layers than any known model has: such a file is made to exhaust the process that builds its config.
_MAX_NUMBER = 200


class _Shapes(dict[str, tuple[int, ...]]):
    """Shapes by name; to ask for one that is not there is to miss a tensor."""

    def __init__(self, component: str, prefix: str, files: TensorFiles, names: Mapping[str, str]) -> None:
        held = {key: files.header.tensors[own].shape for key, own in names.items() if key.startswith(prefix)}
        super().__init__({key.removeprefix(prefix): shape for key, shape in held.items()})
        self._title, self._prefix = TITLES[component], prefix

    def __missing__(self, key: str) -> tuple[int, ...]:
        raise BadWeights(f"The {self._title} is incomplete: {self._prefix}{key} is missing.")


def read_components(files: TensorFiles, family: Family, *, vae: TensorFiles | None = None) -> list[Component]:
    """The components of the file; with `vae` its VAE is taken from there. Raises BadWeights."""
    names = published_names(files.header.tensors)
    sections = SECTIONS[family.base]
    encoders = [name for name in sections if name.startswith("text_encoder")]
    return [
        _read("unet", sections["unet"], family, files, names),
        read_vae(vae or files, family),
        *(_read(name, sections[name], family, files, names) for name in encoders),
    ]


def read_vae(files: TensorFiles, family: Family) -> Component:
    """The VAE of a file that may hold more, under any of its names. Raises BadWeights."""
    names = published_vae_names(files.header.tensors)
    return _read("vae", SECTIONS[family.base]["vae"], family, files, names)


def _read(
    component: str, section: ComponentSection, family: Family, files: TensorFiles, names: Mapping[str, str]
) -> Component:
    shapes = _Shapes(component, section.prefix, files, names)
    if not shapes:
        raise BadWeights(f"The file holds no {TITLES[component]}: {section.prefix}* is missing.")
    _refuse_absurd_numbers(shapes)
    try:
        config = _config(component, section, family, shapes)
    except IndexError as error:
        raise BadWeights(f"The shapes of the {TITLES[component]} are not those of {family.name}.") from error
    model = bare_model(component, config)
    locations = section.scheme(model.state_dict())
    prefixed = {name: replace(place, key=section.prefix + place.key) for name, place in locations.items()}
    return gather(component, model, prefixed, files, names)


def _config(component: str, section: ComponentSection, family: Family, shapes: configs.Shapes) -> configs.Config:
    if component == "unet":
        return configs.unet_config(family, shapes)
    if component == "vae":
        return configs.vae_config(family.base, shapes)
    if section.scheme is clip:
        return configs.clip_config(family.base, shapes)
    return configs.open_clip_config(family.base, component, shapes)


def _refuse_absurd_numbers(shapes: configs.Shapes) -> None:
    for name in shapes:
        if any(part.isdigit() and (len(part) > 3 or int(part) > _MAX_NUMBER) for part in name.split(".")):
            raise BadWeights(f"The tensor {name} is of no model known here.")
