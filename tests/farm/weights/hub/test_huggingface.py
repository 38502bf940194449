"""A repository of Hugging Face comes at a fixed commit, with what is needed of it."""

import json
from pathlib import Path

import pytest

from farm.config import Settings
from farm.weights.hub import huggingface
from farm.weights.hub.download import WrongHash
from farm.weights.hub.fetch import fetch
from farm.weights.hub.sources import parse_source
from farm.weights.hub.transport import DownloadError
from tests.farm.weights.hub.server import COMMIT, TOKEN, FakeHub, sha256

WEIGHTS = bytes(range(256)) * 20
PIPELINE = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "scheduler/scheduler_config.json": b"{}",
    "tokenizer/vocab.json": json.dumps({"a": 0}).encode(),
    "tokenizer/merges.txt": b"#version: 0.2\n",
    "text_encoder/model.safetensors": WEIGHTS + b"encoder",
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS + b"unet",
    "unet/diffusion_pytorch_model.fp16.safetensors": WEIGHTS + b"half a unet",
    "vae/diffusion_pytorch_model.safetensors": WEIGHTS + b"vae",
    "safety_checker/model.safetensors": WEIGHTS,
    "pipeline.ckpt": WEIGHTS,
}
NEEDED = set(PIPELINE) - {
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "pipeline.ckpt",
}


@pytest.fixture(autouse=True)
def _repositories(hub: FakeHub) -> None:
    hub.repos["owner/pipe"] = PIPELINE
    hub.repos["owner/single"] = {"README.md": b"hello", "My_Model v2.safetensors": WEIGHTS}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_pipeline_comes_as_a_folder_at_a_commit(hub_settings: Settings, tmp_path: Path) -> None:
    fetched = fetch(parse_source("hf:owner/pipe"), hub_settings, tmp_path)
    assert files_in(fetched.path) == NEEDED
    assert (fetched.is_folder, fetched.kind_hint, fetched.name_hint) == (True, "checkpoint", "pipe")
    assert fetched.origin == f"hf:owner/pipe@{COMMIT}"


def test_every_byte_of_a_pipeline_is_right(hub_settings: Settings, tmp_path: Path) -> None:
    folder = fetch(parse_source("hf:owner/pipe@refs/pr/1"), hub_settings, tmp_path).path
    assert all((folder / name).read_bytes() == PIPELINE[name] for name in NEEDED)


def test_half_precision_is_fetched_only_if_requested(hub_settings: Settings, tmp_path: Path) -> None:
    folder = fetch(parse_source("hf:owner/pipe"), hub_settings, tmp_path, precision="fp16").path
    assert (folder / "unet/diffusion_pytorch_model.fp16.safetensors").exists()
    assert not (folder / "unet/diffusion_pytorch_model.safetensors").exists()


def test_a_cut_download_of_a_pipeline_resumes_where_it_broke(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path
) -> None:
    hub.faults.answers = [(400, {})]
    source = parse_source("hf:owner/pipe")
    with pytest.raises(DownloadError):
        fetch(source, hub_settings, tmp_path)
    fetch(source, hub_settings, tmp_path)
    hub.seen.clear()
    fetch(source, hub_settings, tmp_path)
    assert [request.path for request in hub.seen if "/resolve/" in request.path] == []


def test_the_progress_of_a_pipeline_is_that_of_all_its_files(hub_settings: Settings, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(parse_source("hf:owner/pipe"), hub_settings, tmp_path, lambda *at: seen.append(at))
    total = sum(len(PIPELINE[name]) for name in NEEDED)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_a_repository_of_one_file_is_that_file(hub_settings: Settings, tmp_path: Path) -> None:
    fetched = fetch(parse_source("hf:owner/single@main"), hub_settings, tmp_path)
    assert (fetched.path.read_bytes(), fetched.sha256) == (WEIGHTS, sha256(WEIGHTS))
    assert fetched.origin == f"hf:owner/single@{COMMIT}:My_Model v2.safetensors"
    assert fetched.name_hint == "My_Model v2"


def test_one_file_of_a_pipeline_may_be_requested(hub_settings: Settings, tmp_path: Path) -> None:
    fetched = fetch(parse_source("hf:owner/pipe:pipeline.ckpt"), hub_settings, tmp_path)
    assert (fetched.is_folder, fetched.path.name, fetched.kind_hint) == (False, "pipeline.ckpt", None)


def test_an_origin_fetches_the_same_again(hub_settings: Settings, tmp_path: Path) -> None:
    fetched = fetch(parse_source("hf:owner/single"), hub_settings, tmp_path)
    assert fetch(parse_source(fetched.origin), hub_settings, tmp_path) == fetched


def test_a_missing_file_is_answered_with_the_nearest_name(hub_settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no file .vocab\.json.\. Did you mean tokenizer/vocab\.json\?"):
        fetch(parse_source("hf:owner/pipe:vocab.json"), hub_settings, tmp_path)


@pytest.mark.parametrize("text", ["hf:owner/none", "hf:owner/pipe@no-such-branch"])
def test_an_unknown_repository_or_revision_is_reported(hub_settings: Settings, tmp_path: Path, text: str) -> None:
    with pytest.raises(DownloadError, match="does not exist"):
        fetch(parse_source(text), hub_settings, tmp_path)


def test_a_small_file_that_was_changed_on_the_way_is_refused(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path
) -> None:
    hub.repos["openai/clip-vit-large-patch14"] = {"vocab.json": b"{}", "merges.txt": b"a b"}
    hub.faults.damaged = True
    with pytest.raises(WrongHash):
        huggingface.fetch_vocabulary(hub_settings, tmp_path)
    assert list(tmp_path.glob("*.json")) == []


def test_a_closed_repository_opens_with_the_token(hub: FakeHub, hub_settings: Settings, tmp_path: Path) -> None:
    hub.token = TOKEN
    with pytest.raises(DownloadError, match="Set FARM_HF_TOKEN"):
        fetch(parse_source("hf:owner/pipe"), hub_settings, tmp_path)
    known = Settings(data_dir=tmp_path, hf_endpoint=hub.url, hf_token=TOKEN)
    assert fetch(parse_source("hf:owner/pipe"), known, tmp_path).is_folder


def test_a_server_that_is_no_hub_is_recognised(hub: FakeHub, tmp_path: Path) -> None:
    hub.put("/mirror/api/models/owner/pipe/revision/main", b"<html>no hub</html>")
    settings = Settings(data_dir=tmp_path, hf_endpoint=f"{hub.url}/mirror")
    with pytest.raises(DownloadError, match=r"did not answer with JSON; is it a hub\?"):
        fetch(parse_source("hf:owner/pipe"), settings, tmp_path)


@pytest.mark.parametrize("inside", ["", "tokenizer/"])
def test_the_vocabulary_of_clip_is_two_files(
    hub: FakeHub, hub_settings: Settings, tmp_path: Path, inside: str
) -> None:
    hub.repos["openai/clip-vit-large-patch14"] = {
        f"{inside}vocab.json": b"{}",
        f"{inside}merges.txt": b"a b",
        "pytorch_model.bin": WEIGHTS,
    }
    assert files_in(huggingface.fetch_vocabulary(hub_settings, tmp_path / "clip")) == {"vocab.json", "merges.txt"}
