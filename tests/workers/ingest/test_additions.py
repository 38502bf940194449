"""VAEs, embeddings and LoRAs in the forms in which they are published."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from farm.weights.files.header import BadWeights, read
from tests.checkpoints import component_tensors, export_single_file
from tests.workers.ingest.conftest import Checkpoints, Ingest

_VECTORS = torch.arange(6.0).reshape(2, 3)


def _folder(taken: dict[str, object]) -> Path:
    return Path(str(taken["folder"]))


@pytest.mark.parametrize("form", ["published", "diffusers", "folder", "checkpoint", "pickle"])
def test_a_vae_of_any_form_becomes_the_same(
    form: str, checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = checkpoints("sd15")
    alone = ("model.", "cond_stage_model.", "alphas_cumprod")
    sources = {
        "published": lambda: export_single_file(
            folder, tmp_path / "a.vae.safetensors", drop=alone, old_vae_names=True
        ),
        "pickle": lambda: export_single_file(folder, tmp_path / "a.vae.pt", drop=alone, as_ckpt=True),
        "checkpoint": lambda: export_single_file(folder, tmp_path / "whole.safetensors"),
        "diffusers": lambda: folder / "vae" / "diffusion_pytorch_model.safetensors",
        "folder": lambda: folder / "vae",
    }
    taken = take_in(sources[form](), kind="vae", family=None if form in ("checkpoint", "folder") else "sd15")
    weights = AutoencoderKL.from_pretrained(_folder(taken)).state_dict()
    assert taken["family"] == "sd15"
    assert all(torch.equal(weights[name], tensor) for name, tensor in component_tensors(folder / "vae").items())


def test_the_family_of_an_ambiguous_vae_is_guessed_with_a_warning(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    source = tmp_path / "sdxl_vae.safetensors"
    save_file(component_tensors(checkpoints("sdxl") / "vae"), source)
    taken = take_in(source, kind="vae")
    assert (taken["family"], "--family" in str(taken["warnings"])) == ("sdxl", True)


@pytest.mark.parametrize(
    "content",
    [
        {"string_to_param": {"*": torch.nn.Parameter(_VECTORS)}, "string_to_token": {"*": 265}, "name": "cat"},
        {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(_VECTORS)}), "step": 500},
        {"<cat-toy>": _VECTORS},
    ],
    ids=["webui", "textual-inversion", "diffusers"],
)
def test_an_embedding_in_a_pickle_becomes_rows(content: Any, take_in: Ingest, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "cat.pt")
    taken = take_in(tmp_path / "cat.pt", kind="embedding", family="sd15")
    assert torch.equal(load_file(_folder(taken) / "embedding.safetensors")["clip_l"], _VECTORS)


@pytest.mark.parametrize(
    ("tensors", "family", "shapes"),
    [
        ({"emb_params": torch.ones(2, 768)}, "sd15", {"clip_l": (2, 768)}),
        ({"emb_params": torch.ones(1024)}, "sd2", {"clip_l": (1, 1024)}),
        ({"<cat>": torch.ones(768)}, "sd15", {"clip_l": (1, 768)}),
        (
            {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)},
            "sdxl",
            {"clip_l": (2, 768), "clip_g": (2, 1280)},
        ),
    ],
)
def test_an_embedding_in_safetensors_becomes_rows(
    tensors: dict[str, torch.Tensor], family: str, shapes: dict[str, Any], take_in: Ingest, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "cat.safetensors")
    taken = take_in(tmp_path / "cat.safetensors", kind="embedding")
    held = load_file(_folder(taken) / "embedding.safetensors")
    assert (taken["family"], {name: tuple(tensor.shape) for name, tensor in held.items()}) == (family, shapes)


@pytest.mark.parametrize(
    "name",
    ["lora_unet_down_blocks_0_attentions_0_attn2_to_k.lora_down.weight", "unet.mid_block.attn2.to_k.lora_A.weight"],
)
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_lora_keeps_its_names(name: str, ending: str, take_in: Ingest, tmp_path: Path) -> None:
    up = name.replace("down", "up").replace("A", "B")
    tensors = {name: torch.ones(4, 768), up: torch.ones(320, 4), "x.alpha": torch.tensor(4.0)}
    source = tmp_path / f"style.{ending}"
    if ending == "pt":
        torch.save(tensors, source)
    else:
        save_file(tensors, source)
    taken = take_in(source, kind="lora")
    assert taken["family"] == "sd15"
    assert load_file(_folder(taken) / "lora.safetensors").keys() == tensors.keys()


@pytest.mark.parametrize(
    ("kind", "message"),
    [("lora", "holds a checkpoint, not a LoRA"), ("embedding", "holds a checkpoint, not an embedding")],
)
def test_a_file_of_another_kind_is_refused_by_its_kind(
    kind: str, message: str, checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "single.safetensors")
    with pytest.raises(BadWeights, match=message):
        take_in(file, kind=kind)
    assert not (tmp_path / "taken").exists()


def test_a_lora_of_another_family_than_requested_is_refused(take_in: Ingest, tmp_path: Path) -> None:
    save_file({"unet.mid_block.attn2.to_k.lora_A.weight": torch.ones(4, 2048)}, tmp_path / "xl.safetensors")
    with pytest.raises(BadWeights, match="made for sdxl, not for sd15"):
        take_in(tmp_path / "xl.safetensors", kind="lora", family="sd15")


def test_a_lora_keeps_its_metadata(take_in: Ingest, tmp_path: Path) -> None:
    source = tmp_path / "style.safetensors"
    save_file({"unet.x.lora_A.weight": torch.ones(4, 768)}, source, metadata={"lora_adapter_metadata": "{}"})
    taken = take_in(source, kind="lora", family="sd15")
    assert read(_folder(taken) / "lora.safetensors").metadata == {"lora_adapter_metadata": "{}"}
