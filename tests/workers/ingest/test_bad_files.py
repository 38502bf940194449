"""Weights that cannot be used: each is told why in one message, and leaves nothing behind."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from farm.weights.files.header import BadWeights
from tests.checkpoints import export_single_file
from tests.workers.ingest.conftest import Checkpoints, Ingest
from workers.ingest.opening.pickled import converted, is_pickled, unpickle


class _Hostile:
    """A pickle of this runs `exec` when it is read by whoever trusts it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def _refused(take_in: Ingest, source: Path, match: str, **wishes: object) -> None:
    with pytest.raises(BadWeights, match=match) as caught:
        take_in(source, "refused/taken", **wishes)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def _leaves_nothing(tmp_path: Path) -> Any:
    yield
    assert list(tmp_path.glob("refused/*")) == []


def test_a_file_without_weights_is_refused_before_anything_is_imported_for_it(
    take_in: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingest.run._ingest_of", lambda kind: pytest.fail(f"imported for a {kind}"))
    (tmp_path / "page.safetensors").write_text("<!doctype html>")
    _refused(take_in, tmp_path / "page.safetensors", "page")


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ("first_stage_model.", "holds no VAE"),
        ("cond_stage_model.", "holds no text encoder"),
        ("model.diffusion_model.", "not a checkpoint"),
        (
            "model.diffusion_model.output_blocks.2.0.in_layers.2.weight",
            r"UNet is incomplete: model\.diff.*layers\.2",
        ),
        (
            "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
            "UNet is incomplete: model.diffusion_model.inp",
        ),
        ("first_stage_model.decoder.norm_out.bias", "VAE is incomplete: first_stage_model.decoder.norm_out.bias"),
        ("cond_stage_model.transformer.text_model.encoder.layers.1.layer_norm1", "and 1 more"),
    ],
)
def test_a_file_that_lacks_a_component_is_refused_by_its_name(
    dropped: str, message: str, checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "lacking.safetensors", drop=(dropped,))
    _refused(take_in, file, message, tokenizer=checkpoints("sd15") / "tokenizer")


def test_a_truncated_file_is_refused_with_how_much_is_missing(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "cut.safetensors")
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 1000)
    _refused(take_in, file, "is truncated: 1,000 bytes are missing")


def test_a_tensor_of_another_shape_is_named(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "odd.safetensors")
    key = "model.diffusion_model.time_embed.0.weight"
    save_file({**load_file(file), key: torch.zeros(7, 7)}, file)
    _refused(take_in, file, rf"{key} has the shape \[7, 7\]", tokenizer=checkpoints("sd15") / "tokenizer")


def test_a_request_for_another_family_is_refused(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    file = export_single_file(checkpoints("sdxl"), tmp_path / "xl.safetensors")
    _refused(take_in, file, "holds sdxl weights, not sd15", family="sd15")
    _refused(take_in, checkpoints("sd15"), "holds sd15 weights, not sd15-inpaint", family="sd15-inpaint")


@pytest.mark.parametrize("is_old", [False, True])
def test_a_hostile_pickle_runs_no_code(is_old: bool, take_in: Ingest, tmp_path: Path) -> None:
    mark = tmp_path / "code-ran"
    content = {"state_dict": {"w": torch.ones(3)}, "more": _Hostile(mark)}
    torch.save(content, tmp_path / "hostile.ckpt", _use_new_zipfile_serialization=not is_old)
    _refused(take_in, tmp_path / "hostile.ckpt", r"more than weights \(exec\): refused. Get the .safetensors")
    assert not mark.exists()


def test_a_hostile_pickle_within_a_folder_runs_no_code(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(_Hostile(tmp_path / "code-ran")))
    _refused(take_in, folder, "diffusion_pytorch_model.bin holds more than weights")
    assert not (tmp_path / "code-ran").exists()


def test_a_few_bytes_cannot_claim_to_be_terabytes(take_in: Ingest, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "bomb.ckpt")
    _refused(take_in, tmp_path / "bomb.ckpt", "unfolds to more than its size allows")


def test_a_truncated_pickle_is_refused(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "cut.ckpt", as_ckpt=True)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)
    _refused(take_in, file, "is damaged or truncated")


def test_a_header_whose_length_looks_like_a_pickle_is_not_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(3)}, file, metadata={"note": "x" * 46})
    assert file.read_bytes().startswith(b"\x80\x00")
    assert not is_pickled(file)


def test_numbers_of_numpy_in_a_pickle_do_no_harm(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"w": torch.ones(3)}, "lr": np.float64(0.1), "step": np.int64(7)}, tmp_path / "n.ckpt"
    )
    unpickle(tmp_path / "n.ckpt", tmp_path)
    assert list(load_file(converted(tmp_path / "n.ckpt", tmp_path))) == ["w"]


def test_a_folder_without_a_component_names_it(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder, ignore=shutil.ignore_patterns("vae"))
    _refused(take_in, folder, "has no folder 'vae': its VAE is missing")


def test_a_folder_without_weights_names_what_it_looked_for(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    _refused(take_in, folder, r"unet holds no weights \(diffusion_pytorch_model.safetensors")


def test_an_index_of_shards_reaches_no_other_folder(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"conv_in.weight": "../../elsewhere.safetensors"}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    _refused(take_in, folder, "lacks its part elsewhere.safetensors")


def test_an_unknown_scheduler_is_refused(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder)
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "MyScheduler"}')
    _refused(take_in, folder, "The scheduler MyScheduler is not known here")


def test_a_config_that_asks_for_layers_without_end_is_refused(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder)
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 10**9}))
    _refused(take_in, folder, "asks for num_hidden_layers = 1000000000")


def test_a_folder_of_another_architecture_is_refused(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(checkpoints("sd15"), folder)
    (folder / "unet" / "config.json").write_text('{"_class_name": "SD3Transformer2DModel"}')
    _refused(take_in, folder, "holds a SD3Transformer2DModel; this farm renders")
