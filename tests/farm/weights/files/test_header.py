"""Headers of safetensors files: read, doubted, and told what they are of."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.weights.files.family import Sniffed, sniff
from farm.weights.files.header import BadWeights, Header, Tensor, read

_ENTRY = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}


def _write(path: Path, header: Mapping[str, Any], data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _header(shapes: Mapping[str, tuple[int, ...]], **metadata: str) -> Header:
    return Header({name: Tensor("F16", shape) for name, shape in shapes.items()}, metadata)


_UNET = "model.diffusion_model."
_SD1 = {
    f"{_UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
    f"{_UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
}
_SDXL_TEXT = {
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
}
_SD2_TEXT = {"cond_stage_model.model.ln_final.weight": (1024,)}
_IMAGE_PARTS = {name: shape for name, shape in _SD1.items() if not name.startswith("cond_stage_model")}


def test_a_header_names_its_tensors_and_what_was_noted(tmp_path: Path) -> None:
    file = _write(tmp_path / "a", {"w": _ENTRY, "__metadata__": {"format": "pt"}}, bytes(12))
    assert read(file) == Header({"w": Tensor("F16", (2, 3))}, {"format": "pt"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page, not weights: is a token needed"),
        (b"\n <html></html>", "a web page"),
        (b'{"error":"Invalid credentials"}', "the answer of a server"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"PK\x03\x04 and the rest of a zip file", "a pickle of PyTorch"),
        (b"\x80\x02}q\x00.", "a pickle of PyTorch"),
        (b"GGUF\x03\x00\x00\x00 and more", "is not a safetensors file"),
        (b"\xff" * 8 + b"{}", "is not a safetensors file"),
        (b"\x40" + bytes(7) + b'{"w": ', "58 bytes of its header are missing"),
        (b"\x06" + bytes(7) + b'{"w": ', "is damaged: its header is not JSON"),
        (b"\x02" + bytes(7) + b"[]", "is not a safetensors file"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused_by_what_it_is(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(BadWeights, match=message):
        read(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [2, 4]}, "do not agree"),
        ({"shape": [-2, -3]}, "do not agree"),
        ({"shape": ["2", 3]}, "do not agree"),
        ({"shape": [2**62, 2**62]}, "do not agree"),
        ({"dtype": "Q4"}, "do not agree"),
        ({"data_offsets": [12, 0]}, "do not agree"),
        ({"data_offsets": [-12, 0]}, "do not agree"),
        ({"data_offsets": [4, 16]}, "4 bytes are missing"),
        ({"data_offsets": [2**60, 2**60 + 12]}, "is truncated"),
    ],
)
def test_a_hostile_entry_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = _write(tmp_path / "hostile", {"w": {**_ENTRY, **changes}}, bytes(12))
    with pytest.raises(BadWeights, match=message):
        read(file)


def test_tensors_that_overlap_are_refused(tmp_path: Path) -> None:
    other = {**_ENTRY, "data_offsets": [6, 18]}
    with pytest.raises(BadWeights, match="overlap"):
        read(_write(tmp_path / "overlap", {"w": _ENTRY, "v": other}, bytes(18)))


def test_a_file_cut_short_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="is truncated: 5 bytes are missing"):
        read(_write(tmp_path / "short", {"w": _ENTRY}, bytes(7)))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200), is_json=st.booleans())
def test_a_header_of_any_bytes_is_read_or_refused(junk: bytes, is_json: bool, tmp_path: Path) -> None:
    file = tmp_path / "junk"
    file.write_bytes((len(junk).to_bytes(8, "little") if is_json else b"") + junk)
    with contextlib.suppress(BadWeights):
        assert read(file).tensors.keys() <= {"", *map(str, json.loads(junk))}


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (_SD1, "sd15"),
        ({**_SD1, f"{_UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "sd15-inpaint"),
        ({**_IMAGE_PARTS, **_SD2_TEXT}, "sd2"),
        ({**_IMAGE_PARTS, **_SD2_TEXT, "v_pred": (1,)}, "sd2-v"),
        ({**_IMAGE_PARTS, **_SD2_TEXT, f"{_UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "sd2-inpaint"),
        ({**_IMAGE_PARTS, **_SDXL_TEXT}, "sdxl"),
        ({**_IMAGE_PARTS, **_SDXL_TEXT, f"{_UNET}input_blocks.0.0.weight": (320, 9, 3, 3)}, "sdxl-inpaint"),
    ],
)
def test_the_family_follows_from_the_names_and_shapes_of_tensors(
    shapes: dict[str, tuple[int, ...]], family: str
) -> None:
    assert (sniff(_header(shapes)).kind, sniff(_header(shapes)).family) == ("checkpoint", family)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, Sniffed("vae")),
        ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, Sniffed("vae")),
        ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 1280)}, Sniffed("lora")),
        ({"lora_unet_down_blocks_1_attn2_to_k.lora_down.weight": (4, 768)}, Sniffed("lora", "sd15")),
        ({"unet.down_blocks.1.attn2.to_k.lora_A.weight": (4, 2048)}, Sniffed("lora", "sdxl")),
        ({"lora_te2_text_model_encoder_layers_0.lora_up.weight": (4, 1280)}, Sniffed("lora", "sdxl")),
        ({"emb_params": (3, 768)}, Sniffed("embedding", "sd15")),
        ({"clip_l": (3, 768), "clip_g": (3, 1280)}, Sniffed("embedding", "sdxl")),
        ({"string_to_param.*": (3, 1024)}, Sniffed("embedding", "sd2")),
        ({"<cat-toy>": (768,)}, Sniffed("embedding", "sd15")),
        ({"a": (3,), "b": (4,)}, Sniffed("unknown")),
    ],
)
def test_addons_are_distinguished_from_checkpoints(shapes: dict[str, tuple[int, ...]], expected: Sniffed) -> None:
    assert sniff(_header(shapes)) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux weights; this farm renders SD1, SD2"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux weights"),
        ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", "Stable Diffusion 3 weights"),
        ("model.diffusion_model.blocks.0.weight", "weights of an unknown architecture"),
        ("conditioner.embedders.0.model.ln_final.weight", "SDXL's refiner"),
        ("control_model.input_blocks.0.0.weight", "a ControlNet"),
        ("lora_x.hada_w1_a", "a LyCORIS network"),
    ],
)
def test_weights_of_an_unsupported_architecture_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        sniff(_header({name: (4, 4, 3, 3)}))


@pytest.mark.parametrize(("channels", "message"), [(5, "depth-to-image"), (8, "InstructPix2Pix"), (7, "upscaler")])
def test_a_unet_with_other_input_channels_is_refused_by_name(channels: int, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        sniff(_header({**_SD1, f"{_UNET}input_blocks.0.0.weight": (320, channels, 3, 3)}))


def test_a_vae_of_another_family_is_refused() -> None:
    with pytest.raises(BadWeights, match="16 latent channels"):
        sniff(_header({"decoder.conv_in.weight": (512, 16, 3, 3)}))


def test_missing_parts_are_named() -> None:
    assert sniff(_header({**_IMAGE_PARTS})).lacks == ("text encoder",)
    without_vae = {name: shape for name, shape in _SD1.items() if "first_stage" not in name}
    assert sniff(_header(without_vae)).lacks == ("vae",)
