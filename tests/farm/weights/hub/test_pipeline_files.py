"""Of a repository, what is rendered with is taken, once."""

import pytest

from farm.weights.hub.pipeline_files import Precision, RepoFile, choose_pipeline_files, choose_single_file
from farm.weights.hub.transport import DownloadError

CONFIGURATION = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
]
ENCODER, UNET, VAE = "text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"
FULL = [f"{ENCODER}.safetensors", f"{UNET}.safetensors", f"{VAE}.safetensors"]
FP16 = [f"{ENCODER}.fp16.safetensors", f"{UNET}.fp16.safetensors", f"{VAE}.fp16.safetensors"]
BIN = ["text_encoder/pytorch_model.bin", f"{UNET}.bin", f"{VAE}.bin"]
OTHERS = [
    "README.md",
    "v1-5-pruned.safetensors",
    "safety_checker/model.safetensors",
    "feature_extractor/preprocessor_config.json",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.onnx",
    "text_encoder/openvino_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "vae_decoder/model.onnx",
]


def files(*paths: str) -> list[RepoFile]:
    return [RepoFile(path, 10**9, None, "0") for path in paths]


def chosen(*paths: str, precision: Precision = "full") -> list[str]:
    """The weights that are chosen among paths and the usual configuration."""
    found = [file.path for file in choose_pipeline_files(files(*CONFIGURATION, *paths), precision)]
    return [path for path in found if path not in CONFIGURATION]


def test_a_pipeline_is_its_parts_with_their_configuration() -> None:
    found = [file.path for file in choose_pipeline_files(files(*OTHERS, *FULL, *CONFIGURATION))]
    assert found == sorted(FULL + CONFIGURATION)


@pytest.mark.parametrize(
    ("offered", "precision", "taken"),
    [
        (FULL + FP16 + BIN, "full", FULL),
        (FULL + FP16 + BIN, "fp16", FP16),
        (FP16, "full", FP16),
        (FULL, "fp16", FULL),
        (FP16 + BIN, "full", FP16),
        (BIN, "full", BIN),
        ([*FP16, FULL[0]], "full", FP16),
        ([*FULL, FP16[0]], "fp16", [FP16[0], *FULL[1:]]),
        ([FULL[0], FP16[1], BIN[2]], "full", [FULL[0], FP16[1], BIN[2]]),
    ],
)
def test_each_part_gives_one_set_of_weights(offered: list[str], precision: Precision, taken: list[str]) -> None:
    assert chosen(*offered, precision=precision) == taken


@pytest.mark.parametrize(
    "shard", ["diffusion_pytorch_model.fp16-0000{}-of-00002", "diffusion_pytorch_model-0000{}-of-00002.fp16"]
)
def test_weights_in_several_files_come_with_their_index(shard: str) -> None:
    index = "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
    shards = [f"unet/{shard.format(i)}.safetensors" for i in (1, 2)]
    assert chosen(FP16[0], FP16[2], index, *shards) == sorted([FP16[0], FP16[2], index, *shards])


def test_a_part_without_weights_is_named() -> None:
    with pytest.raises(DownloadError, match=r"no weights as .safetensors or .bin in: unet\."):
        chosen(FULL[0], FULL[2], "unet/diffusion_flax_model.msgpack")


def test_a_pipeline_without_any_part_is_refused() -> None:
    with pytest.raises(DownloadError, match="no weights"):
        choose_pipeline_files(files("model_index.json"))


def test_the_only_file_of_a_repository_is_chosen() -> None:
    found = choose_single_file("o/r", files("README.md", "images/a.bin", "f222.ckpt", "f222.safetensors"))
    assert found.path == "f222.safetensors"


def test_several_files_are_listed_for_the_user_to_choose_from() -> None:
    with pytest.raises(DownloadError, match=r"hf:o/r:a\.safetensors  \(1\.00 GB\)\n  hf:o/r:b\.ckpt"):
        choose_single_file("o/r", files("a.safetensors", "b.ckpt"))


def test_a_repository_without_weights_is_reported() -> None:
    with pytest.raises(DownloadError, match="hf:o/r holds no weights"):
        choose_single_file("o/r", files("README.md"))
