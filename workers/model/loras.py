"""Applies LoRAs to a loaded pipeline, as adapters beside the weights, which they never change."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from farm.spec.image import LoraRef
from workers.model.lorafiles import Factors, read_lora
from workers.model.weights import Weights

_KEPT = 8
_UNET, _TEXT = ("unet",), ("text_encoder", "text_encoder_2")

LoraWeights = tuple[tuple[str, float], ...]
"""LoRAs by their sha256, with their weights."""


class Loras:
    """The LoRAs of one pipeline. The last that were applied stay loaded, without effect."""

    def __init__(self, pipeline: Any) -> None:
        self._components: dict[str, torch.nn.Module] = {
            name: part for name in (*_UNET, *_TEXT) if (part := getattr(pipeline, name, None)) is not None
        }
        self._loaded: OrderedDict[str, int] = OrderedDict()
        self.text_key: LoraWeights = ()

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def nbytes(self) -> int:
        """What all that are loaded take."""
        return sum(self._loaded.values())

    @contextmanager
    def apply(self, refs: Sequence[LoraRef], weights: Weights) -> Iterator[None]:
        """Apply LoRAs to the pipeline for a while. One named twice counts with the sum of its weights.

        Raises CannotRender for one that does not fit the checkpoint, RenderError for one that is not found.
        """
        unet = _sum_weights((ref, ref.weight) for ref in refs)
        text = _sum_weights((ref, ref.weight if ref.text_weight is None else ref.text_weight) for ref in refs)
        if not unet and not text:
            yield
            return
        try:
            self._load([ref for ref in refs if ref.sha256 in unet | text], weights)
            self._activate(unet, text)
            yield
        finally:
            self._activate({}, {})

    def clear(self) -> None:
        """Drop all that are loaded; to be called while none is applied."""
        for sha256 in list(self._loaded):
            del self._loaded[sha256]
            self._drop(sha256)

    def _load(self, refs: Sequence[LoraRef], weights: Weights) -> None:
        wanted = {ref.sha256: ref for ref in refs}
        for sha256, ref in wanted.items():
            if sha256 not in self._loaded:
                self._loaded[sha256] = self._add(sha256, weights.file_of(sha256), ref.name)
            self._loaded.move_to_end(sha256)
        for sha256 in list(self._loaded)[: -max(_KEPT, len(wanted))]:
            del self._loaded[sha256]
            self._drop(sha256)

    def _add(self, sha256: str, path: Path, name: str) -> int:
        """Load one, without effect; return its bytes."""
        layers = read_lora(path, name, self._components)
        try:
            for component, model in self._components.items():
                if layers[component]:
                    _inject(model, _adapter(sha256), layers[component])
        except BaseException:
            self._drop(sha256)
            raise
        return sum(factors.nbytes for component in self._components for factors in layers[component].values())

    def _drop(self, sha256: str) -> None:
        self._activate({}, {})
        for model in self._components.values():
            for layer in _lora_layers(model):
                layer.delete_adapter(_adapter(sha256))

    def _activate(self, unet: Mapping[str, float], text: Mapping[str, float]) -> None:
        for component, model in self._components.items():
            chosen = {_adapter(sha256): weight for sha256, weight in (unet if component in _UNET else text).items()}
            for layer in _lora_layers(model):
                present = [adapter for adapter in chosen if adapter in layer.lora_A]
                layer.set_adapter(present, inference_mode=True)
                for adapter in present:
                    layer.scaling[adapter] = chosen[adapter]
        self.text_key = tuple(text.items())


def _sum_weights(weighted: Iterable[tuple[LoraRef, float]]) -> dict[str, float]:
    """The weight of each LoRA by its hash; those of no weight are left out, so that they have no effect at all."""
    sums: dict[str, float] = {}
    for ref, weight in weighted:
        sums[ref.sha256] = sums.get(ref.sha256, 0.0) + weight
    return {sha256: weight for sha256, weight in sums.items() if weight}


def _inject(model: torch.nn.Module, adapter: str, layers: Mapping[str, Factors]) -> None:
    """Make the adapter's layers with rank 1, then give each its own factors: their ranks differ."""
    config = LoraConfig(r=1, lora_alpha=1, target_modules=list(layers), inference_mode=True)
    try:
        inject_adapter_in_model(config, model, adapter, low_cpu_mem_usage=True)
    finally:
        # What peft notes for itself. Which adapters there are is known here; found again, peft would warn of it.
        vars(model).pop("peft_config", None)
    for name, factors in layers.items():
        layer: Any = model.get_submodule(name)
        layer.r[adapter] = layer.lora_alpha[adapter] = len(factors.down)
        layer.lora_A[adapter].weight = torch.nn.Parameter(factors.down, requires_grad=False)
        layer.lora_B[adapter].weight = torch.nn.Parameter(factors.up, requires_grad=False)


def _lora_layers(model: torch.nn.Module) -> Iterator[Any]:
    return (module for module in model.modules() if isinstance(module, LoraLayer))


def _adapter(sha256: str) -> str:
    return f"lora_{sha256[:16]}"
