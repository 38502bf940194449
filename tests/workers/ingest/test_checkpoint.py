"""Folders and single files of every family become the same bytes."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from farm.spec.families import FAMILIES
from farm.weights.files.header import BadWeights
from farm.weights.ingest import IngestedFile, IngestRequest, ingest
from tests.checkpoints import component_tensors, export_single_file
from tests.workers.ingest.conftest import Checkpoints, Ingest


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_becomes_the_same_bytes_as_the_folder_it_was_made_of(
    family: str, checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = checkpoints(family)
    file = export_single_file(folder, tmp_path / "single.safetensors")

    of_folder = take_in(folder, "of-folder")
    of_file = take_in(file, "of-file", family=family, tokenizer=folder / "tokenizer")

    assert of_file["files"] == of_folder["files"]
    assert of_file["family"] == of_folder["family"] == family


@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_diffusers_own_reader_finds_the_same_weights_in_the_single_file(
    family: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = checkpoints(family)
    file = export_single_file(folder, tmp_path / "single.safetensors")
    pipeline_class = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline

    read = pipeline_class.from_single_file(str(file), config=str(folder), local_files_only=True)

    for component in ("unet", "vae", "text_encoder", *(["text_encoder_2"] if family == "sdxl" else [])):
        expected = component_tensors(folder / component)
        weights = getattr(read, component).state_dict()
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items()), component


def test_a_file_in_half_precision_stays_in_half_precision(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sdxl"), tmp_path / "half.safetensors", half=True)
    taken = take_in(file, tokenizer=checkpoints("sdxl") / "tokenizer")
    for component in ("unet", "vae", "text_encoder", "text_encoder_2"):
        weights = component_tensors(Path(str(taken["folder"])) / component)
        assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


@pytest.mark.parametrize("form", [{"old_vae_names": True}, {"old_text_names": True}, {"as_ckpt": True}])
def test_older_names_and_pickles_become_the_same_bytes(
    form: dict[str, bool], checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = checkpoints("sd15")
    file = export_single_file(folder, tmp_path / "old.ckpt", **form)  # type: ignore[arg-type] # a table of switches
    taken = take_in(file, tokenizer=folder / "tokenizer")
    assert taken["files"] == take_in(folder, "of-folder")["files"]


def test_the_hash_of_a_file_is_the_one_the_webui_shows(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sd15"), tmp_path / "single.safetensors")
    taken = take_in(file, tokenizer=checkpoints("sd15") / "tokenizer")
    assert taken["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_training_of_sd2_is_taken_from_metadata_then_name_then_request(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = checkpoints("sd2-v")
    plain = export_single_file(folder, tmp_path / "plain.safetensors")
    named = export_single_file(folder, tmp_path / "768-ema.safetensors")
    told = export_single_file(folder, tmp_path / "told.safetensors", metadata={"modelspec.prediction_type": "v"})
    tokenizer = folder / "tokenizer"

    assert take_in(told, "told", tokenizer=tokenizer)["family"] == "sd2-v"
    assert take_in(named, "named", tokenizer=tokenizer)["family"] == "sd2-v"
    assert take_in(plain, "wished", tokenizer=tokenizer, family="sd2-v")["prediction_type"] == "v_prediction"
    guessed = take_in(plain, "guessed", tokenizer=tokenizer)
    assert (guessed["family"], "sd2-v" in str(guessed["warnings"])) == ("sd2", True)


def test_a_velocity_model_of_sdxl_keeps_its_training(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    file = export_single_file(checkpoints("sdxl"), tmp_path / "noob.safetensors")
    save_file({**load_file(file), "v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}, file)
    taken = take_in(file, tokenizer=checkpoints("sdxl") / "tokenizer")
    scheduler = json.loads((Path(str(taken["folder"])) / "scheduler" / "scheduler_config.json").read_text())
    assert (taken["family"], taken["prediction_type"]) == ("sdxl", "v_prediction")
    assert (scheduler["prediction_type"], scheduler["rescale_betas_zero_snr"]) == ("v_prediction", True)


@pytest.mark.parametrize("naming", ["diffusers", "published", "folder"])
def test_a_file_without_a_vae_takes_the_one_given(
    naming: str, checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = checkpoints("sd15")
    file = export_single_file(folder, tmp_path / "bare.safetensors", drop=("first_stage_model.",))
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    if naming == "published":
        vae = export_single_file(folder, tmp_path / "vae.safetensors", drop=("model.", "cond_", "alphas"))
    taken = take_in(file, vae=folder / "vae" if naming == "folder" else vae, tokenizer=folder / "tokenizer")
    assert taken["files"] == take_in(folder, "of-folder")["files"]


def _emulate_2022(folder: Path, target: Path) -> Path:
    """A repository of 2022: pickles, a safety checker that is named and not there, older names in the VAE."""
    shutil.copytree(folder, target)
    for component, stem in (("unet", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        weights = component_tensors(target / component)
        next((target / component).glob("*.safetensors")).unlink()
        prefix = "text_model." if component == "text_encoder" else ""
        torch.save({prefix + name: tensor for name, tensor in weights.items()}, target / component / f"{stem}.bin")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = component_tensors(target / "vae")
    for today, then in old.items():
        vae = {name.replace(f"attentions.0.{today}.", f"attentions.0.{then}."): t for name, t in vae.items()}
    save_file(vae, target / "vae" / "diffusion_pytorch_model.safetensors")
    index = json.loads((target / "model_index.json").read_text())
    index |= {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    }
    (target / "model_index.json").write_text(json.dumps(index))
    return target


def test_a_repository_of_2022_becomes_the_same_bytes(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    old = _emulate_2022(checkpoints("sd15"), tmp_path / "old")
    assert take_in(old)["files"] == take_in(checkpoints("sd15"), "of-today")["files"]


def test_a_folder_with_the_half_variant_alone_is_read(
    checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    StableDiffusionPipeline.from_pretrained(checkpoints("sd15"), dtype=torch.float16).save_pretrained(
        folder, variant="fp16"
    )
    taken = take_in(folder)
    weights = component_tensors(Path(str(taken["folder"])) / "unet")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_a_folder_in_shards_becomes_one_file(checkpoints: Checkpoints, take_in: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoints("sd15"))
    pipeline.save_pretrained(folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    pipeline.unet.save_pretrained(folder / "unet", max_shard_size="1MB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert take_in(folder)["files"] == take_in(checkpoints("sd15"), "whole")["files"]


def test_the_farm_takes_weights_in_by_a_process_of_their_own(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = checkpoints("sd15")
    request = IngestRequest("checkpoint", folder, tmp_path / "store" / "taken")
    report = ingest(request)
    index = (request.target / "model_index.json").read_bytes()
    assert (report.kind, report.family, report.prediction_type) == ("checkpoint", "sd15", "epsilon")
    assert report.files["model_index.json"] == IngestedFile(hashlib.sha256(index).hexdigest(), len(index))
    assert sorted(tmp_path.joinpath("store").iterdir()) == [request.target]


def test_the_farm_learns_why_weights_were_not_taken_in(tmp_path: Path) -> None:
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html><title>Sign in</title>")
    request = IngestRequest("checkpoint", tmp_path / "page.safetensors", tmp_path / "taken")
    with pytest.raises(BadWeights, match="is a web page, not weights: is a token needed"):
        ingest(request)
    assert not request.target.exists()
