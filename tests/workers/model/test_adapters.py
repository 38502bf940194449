"""LoRAs and VAEs applied for a while: right while they are on, and without a trace after."""

import copy
import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from farm.errors import CannotRender, RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import AddonRef, LoraRef, TextToImageSpec
from tests.checkpoints import small_checkpoint
from tests.loras import merged, random_factors, save, save_kohya, save_old_diffusers, save_peft
from workers.model.adapters import apply_addons
from workers.model.lorafiles import read_lora
from workers.model.pipelines import Pipelines
from workers.model.resident import Resident
from workers.model.weights import PlacedWeights
from workers.sampling.encode_prompts import encode_conditioning

Load = Callable[[str], Resident]
FORMATS = {"kohya": save_kohya, "peft": save_peft}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The resident of a family's small checkpoint, loaded once."""
    loaded: dict[str, Resident] = {}
    parent = tmp_path_factory.mktemp("checkpoints")

    def of(family: str) -> Resident:
        if family not in loaded:
            folder = small_checkpoint(family, parent / family)
            loaded[family] = Pipelines("cpu", "fp32").load(
                ClaimedCheckpoint(1, family, family, family, str(folder))
            )
        return loaded[family]

    return of


@pytest.fixture
def placed() -> dict[str, Path]:
    return {}


@pytest.fixture
def lora(tmp_path: Path, placed: dict[str, Path]) -> Callable[..., LoraRef]:
    """Saves factors in a format and gives the reference to them."""

    def make(factors: Any, write: Callable[..., str] = save_kohya, **weights: float) -> LoraRef:
        path = tmp_path / f"{len(placed)}.safetensors"
        sha256 = write(path, factors)
        placed[sha256] = path
        return LoraRef(name=f"lora-{len(placed)}", sha256=sha256, **weights)

    return make


def spec(*loras: LoraRef, **fields: Any) -> TextToImageSpec:
    return TextToImageSpec(checkpoint="small", prompt="a red fox", seed=1, loras=loras, **fields)


@torch.no_grad()
def predict(resident: Resident, spec: TextToImageSpec, pipeline: Any = None) -> torch.Tensor:
    """What the UNet makes of a fixed latent and the spec's prompt."""
    embeds = encode_conditioning(resident, spec, 4).positive_at(0)[0][1]
    unet = (pipeline or resident.pipeline).unet
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    added = None
    if embeds.pooled is not None:
        added = {"text_embeds": embeds.pooled[None], "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    result: torch.Tensor = unet(latent, 500, embeds.hidden_states[None], added_cond_kwargs=added).sample
    return result


def predict_with(resident: Resident, spec: TextToImageSpec, placed: dict[str, Path]) -> torch.Tensor:
    with apply_addons(resident, spec, PlacedWeights(placed)):
        return predict(resident, spec)


@contextmanager
def by_hand(resident: Resident, *additions: tuple[Any, float, float]) -> Iterator[None]:
    """The factors added into copies of the weights themselves."""
    names = ("unet", "text_encoder", "text_encoder_2")
    own = {name: part for name in names if (part := getattr(resident.pipeline, name, None)) is not None}
    for name, part in own.items():
        setattr(resident.pipeline, name, copy.deepcopy(part))
    for factors, unet, text in additions:
        merged(resident.pipeline, factors, (unet, text))
    try:
        yield
    finally:
        for name, part in own.items():
            setattr(resident.pipeline, name, part)


def merged_output(fresh: Resident, *additions: tuple[Any, float, float]) -> torch.Tensor:
    with by_hand(fresh, *additions):
        fresh.texts.clear()
        result = predict(fresh, spec())
    fresh.texts.clear()
    return result


@pytest.fixture
def fresh(load: Load, tmp_path: Path) -> Callable[[str], Resident]:
    """Another resident of the same weights, which nothing is applied to."""

    def of(family: str) -> Resident:
        checkpoint = load(family).checkpoint
        return Pipelines("cpu", "fp32").load(checkpoint)

    return of


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("family", ["sd15", "sd2", "sdxl"])
def test_a_lora_equals_merged_weights(
    load: Load, fresh: Load, lora: Callable[..., LoraRef], placed: dict[str, Path], family: str, write: Any
) -> None:
    base = predict(load(family), spec())
    factors = random_factors(fresh(family).pipeline, seed=1)
    ref = lora(factors, write, weight=0.7, text_weight=0.3)
    result = predict_with(load(family), spec(ref), placed)
    wanted = merged_output(fresh(family), (factors, 0.7, 0.3))
    assert not torch.allclose(result, base, atol=1e-2)
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_pipeline_is_bitwise_the_base_after_a_lora(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path], family: str
) -> None:
    base = predict(load(family), spec())
    predict_with(load(family), spec(lora(random_factors(load(family).pipeline, seed=2))), placed)
    load(family).texts.clear()
    assert torch.equal(predict(load(family), spec()), base)


def test_a_lora_in_the_names_of_old_diffusers_equals_merged_weights(
    load: Load, fresh: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    factors = random_factors(fresh("sd15").pipeline, seed=1)
    attention = {name: value for name, value in factors["unet"].items() if name.endswith(("to_q", "to_out.0"))}
    result = predict_with(load("sd15"), spec(lora(factors, save_old_diffusers)), placed)
    wanted = merged_output(fresh("sd15"), ({"unet": attention}, 1.0, 1.0))
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-4)


def test_several_loras_add_up(
    load: Load, fresh: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    one, two = (random_factors(fresh("sd15").pipeline, seed=seed) for seed in (1, 2))
    result = predict_with(load("sd15"), spec(lora(one, weight=0.5), lora(two, save_peft, weight=-0.4)), placed)
    wanted = merged_output(fresh("sd15"), (one, 0.5, 0.5), (two, -0.4, -0.4))
    torch.testing.assert_close(result, wanted, rtol=1e-3, atol=1e-4)


def test_a_lora_named_twice_counts_with_the_sum_of_its_weights(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    ref = lora(random_factors(load("sd15").pipeline, seed=1))
    twice = spec(ref.model_copy(update={"weight": 0.25}), ref.model_copy(update={"weight": 0.5}))
    assert torch.equal(
        predict_with(load("sd15"), twice, placed),
        predict_with(load("sd15"), spec(ref.model_copy(update={"weight": 0.75})), placed),
    )


def test_a_lora_of_weight_0_has_no_effect_at_all(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    base = predict(load("sd15"), spec())
    ref = lora(random_factors(load("sd15").pipeline, seed=1), weight=0)
    assert torch.equal(predict_with(load("sd15"), spec(ref), placed), base)


def test_alternating_loras_do_not_mix(load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]) -> None:
    one, two = (spec(lora(random_factors(load("sd15").pipeline, seed=seed))) for seed in (1, 2))
    first = [predict_with(load("sd15"), each, placed) for each in (one, two)]
    again = [predict_with(load("sd15"), each, placed) for each in (one, two)]
    assert not torch.equal(*first)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))


def test_a_lora_has_separate_weights_for_text_and_picture(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    resident = load("sd15")
    ref = lora(random_factors(resident.pipeline, seed=1), weight=0.8, text_weight=0)
    plain = encode_conditioning(resident, spec(), 4).positive_at(0)[0][1].hidden_states
    with apply_addons(resident, spec(ref), PlacedWeights(placed)):
        assert torch.equal(encode_conditioning(resident, spec(ref), 4).positive_at(0)[0][1].hidden_states, plain)


def test_a_lora_of_the_text_encoder_counts_under_clip_skip(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    resident = load("sd15")
    asked = spec(lora(random_factors(resident.pipeline, seed=1)), clip_skip=2)
    plain = encode_conditioning(resident, asked, 4).positive_at(0)[0][1].hidden_states
    with apply_addons(resident, asked, PlacedWeights(placed)):
        assert not torch.equal(encode_conditioning(resident, asked, 4).positive_at(0)[0][1].hidden_states, plain)


def test_an_exception_leaves_no_lora_or_vae_fitted(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    base, vae = predict(load("sd15"), spec()), load("sd15").pipeline.vae
    asked = spec(lora(random_factors(load("sd15").pipeline, seed=1)), vae=other_vae(load("sd15"), placed))
    with pytest.raises(ZeroDivisionError), apply_addons(load("sd15"), asked, PlacedWeights(placed)):
        1 / 0  # noqa: B018 - any error
    assert load("sd15").pipeline.vae is vae
    assert torch.equal(predict(load("sd15"), spec()), base)


@pytest.mark.parametrize(("made_for", "applied_to"), [("sdxl", "sd15"), ("sd15", "sdxl")])
@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_a_lora_of_another_family_is_refused_by_name(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path], made_for: str, applied_to: str, write: Any
) -> None:
    factors = random_factors(load(made_for).pipeline, seed=1)
    base = predict(load(applied_to), spec())
    with pytest.raises(CannotRender, match="LoRA 'lora-1' does not fit this checkpoint"):
        predict_with(load(applied_to), spec(lora(factors, write)), placed)
    assert torch.equal(predict(load(applied_to), spec()), base)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lora_unet_x.hada_w1_a", "is a LoHa"),
        ("lora_unet_x.lokr_w1", "is a LoKr"),
        ("unet.x.dora_scale", "is a DoRA"),
        ("first_stage_model.x", "no part of a LoRA"),
        ("lora_unet_x.lora_down.weight", "no unet x"),
        ("lora_unet_conv_in.lora_down.weight", "is not whole"),
    ],
)
def test_a_file_that_is_no_lora_is_refused_with_the_reason(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path], key: str, message: str
) -> None:
    with pytest.raises(CannotRender, match=message):
        predict_with(load("sd15"), spec(lora({key: torch.zeros(2, 2)}, save)), placed)


def test_a_missing_lora_is_a_failed_attempt(load: Load) -> None:
    with pytest.raises(RenderError, match="does not find the weights"):
        predict_with(load("sd15"), spec(LoraRef(name="away", sha256="0" * 64)), {})


def test_the_alpha_of_diffusers_metadata_counts(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path], tmp_path: Path
) -> None:
    factors = {"mid_block.attentions.0.proj_in": torch.rand(2, 64, 1, 1), "up": torch.rand(64, 2, 1, 1)}
    stem = "unet.mid_block.attentions.0.proj_in"
    tensors = {
        f"{stem}.lora_A.weight": factors["mid_block.attentions.0.proj_in"],
        f"{stem}.lora_B.weight": factors["up"],
    }

    def write(path: Path, named: Any) -> str:
        save_file(named, path, {"lora_adapter_metadata": '{"unet.lora_alpha": 1.0, "unet.r": 2}'})
        return hashlib.sha256(path.read_bytes()).hexdigest()

    halved = predict_with(load("sd15"), spec(lora(tensors, write)), placed)
    plain = predict_with(load("sd15"), spec(lora(tensors, save, weight=0.5)), placed)
    torch.testing.assert_close(halved, plain)


def test_a_convolution_in_three_factors_equals_one_in_two(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    stem = "lora_unet_down_blocks_0_resnets_0_conv1"
    down, mid, up = torch.rand(2, 32, 1, 1), torch.rand(2, 2, 3, 3), torch.rand(32, 2, 1, 1)
    three = {f"{stem}.lora_down.weight": down, f"{stem}.lora_mid.weight": mid, f"{stem}.lora_up.weight": up}
    whole = sum(mid[:, inner, None] * down[inner] for inner in range(2))
    two = {f"{stem}.lora_down.weight": whole, f"{stem}.lora_up.weight": up}
    torch.testing.assert_close(
        predict_with(load("sd15"), spec(lora(three, save)), placed),
        predict_with(load("sd15"), spec(lora(two, save)), placed),
    )


def test_only_the_last_loras_stay_loaded(load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]) -> None:
    resident = load("sd15")
    base = predict(resident, spec())
    refs = [lora(random_factors(resident.pipeline, seed=seed)) for seed in range(1, 11)]
    for ref in refs:
        predict_with(resident, spec(ref), placed)
    assert len(resident.loras) == 8
    assert len(resident.pipeline.unet.mid_block.attentions[0].proj_in.lora_A) == 8
    together = predict_with(resident, spec(*refs), placed)
    assert len(resident.loras) == 10
    predict_with(resident, spec(refs[0]), placed)
    assert len(resident.loras) == 8
    assert torch.equal(predict_with(resident, spec(*refs), placed), together)
    assert torch.equal(predict(resident, spec()), base)


def test_memory_does_not_grow_while_loras_and_vaes_alternate(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    resident = load("sd15")
    vae = other_vae(resident, placed)
    refs = [lora(random_factors(resident.pipeline, seed=seed)) for seed in range(1, 11)]
    for turn in range(30):
        if turn == 15:
            before = live_bytes()
        predict_with(resident, spec(refs[turn % 10], vae=vae), placed)
    resident.texts.clear()
    assert live_bytes() <= before


def live_bytes() -> int:
    """What all tensors of this process take."""
    gc.collect()
    return sum(thing.nbytes for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


def other_vae(resident: Resident, placed: dict[str, Path]) -> AddonRef:
    """Other weights for the resident's VAE."""
    folder = next(iter(placed.values())).parent if placed else Path(resident.checkpoint.location).parent
    tensors = {key: tensor * 1.5 for key, tensor in resident.pipeline.vae.state_dict().items()}
    sha256 = save(folder / "vae.safetensors", tensors)
    placed[sha256] = folder / "vae.safetensors"
    return AddonRef(name="other", sha256=sha256)


def test_the_block_names_of_a_full_sdxl_are_understood(tmp_path: Path) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=2,
            transformer_layers_per_block=(1, 1, 3),
            cross_attention_dim=8,
        )
    block = "transformer_blocks.0"
    names = {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q": f"down_blocks.1.attentions.0.{block}.attn1.to_q",
        "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
        "middle_block_1_transformer_blocks_2_ff_net_2": "mid_block.attentions.0.transformer_blocks.2.ff.net.2",
        "output_blocks_2_1_proj_out": "up_blocks.0.attentions.2.proj_out",
        "output_blocks_3_0_in_layers_2": "up_blocks.1.resnets.0.conv1",
        "time_embed_0": "time_embedding.linear_1",
    }
    tensors = {}
    for written, name in names.items():
        weight = unet.get_submodule(name).weight
        tensors[f"lora_unet_{written}.lora_down.weight"] = torch.zeros(1, *weight.shape[1:])
        tensors[f"lora_unet_{written}.lora_up.weight"] = torch.zeros(len(weight), 1, *[1] * (weight.ndim - 2))
    save(tmp_path / "lora.safetensors", tensors)
    assert set(read_lora(tmp_path / "lora.safetensors", "sdxl", {"unet": unet})["unet"]) == set(names.values())


def decoded(resident: Resident) -> torch.Tensor:
    vae = resident.pipeline.vae
    with torch.no_grad():
        return vae.decode(torch.ones(1, 4, 4, 4)).sample  # type: ignore[no-any-return]


def test_loras_that_were_dropped_are_read_again_when_they_are_asked_for(
    load: Load, lora: Callable[..., LoraRef], placed: dict[str, Path]
) -> None:
    resident = load("sd15")
    asked = spec(lora(random_factors(resident.pipeline, seed=1)))
    first = predict_with(resident, asked, placed)
    resident.shed()
    assert len(resident.loras) == 0
    assert torch.equal(predict_with(resident, asked, placed), first)


def test_another_vae_decodes_differently_and_only_while_it_is_fitted(load: Load, placed: dict[str, Path]) -> None:
    resident = load("sd15")
    base = decoded(resident)
    with apply_addons(resident, spec(vae=other_vae(resident, placed)), PlacedWeights(placed)):
        other = decoded(resident)
    assert not torch.allclose(other, base)
    assert torch.equal(decoded(resident), base)


def test_the_checkpoints_own_weights_as_another_vae_decode_bit_for_bit(
    load: Load, placed: dict[str, Path], tmp_path: Path
) -> None:
    resident = load("sdxl")
    base, path = decoded(resident), tmp_path / "own.safetensors"
    placed[save(path, resident.pipeline.vae.state_dict())] = path
    with apply_addons(resident, spec(vae=AddonRef(name="own", sha256=next(iter(placed)))), PlacedWeights(placed)):
        assert torch.equal(decoded(resident), base)


def test_another_vae_takes_its_own_precision_and_not_that_of_the_checkpoints(
    load: Load, placed: dict[str, Path]
) -> None:
    checkpoint = load("sdxl").checkpoint
    pipelines = Pipelines("cpu", "fp16")
    pipelines.vae_needs.precisions[checkpoint.sha256] = torch.float32
    resident = pipelines.load(checkpoint)
    with apply_addons(resident, spec(vae=other_vae(resident, placed)), PlacedWeights(placed)):
        assert resident.pipeline.vae.dtype == torch.float16
    assert resident.pipeline.vae.dtype == torch.float32


def test_a_kept_vae_that_overflowed_beside_another_checkpoint_is_read_in_full_precision(
    load: Load, placed: dict[str, Path]
) -> None:
    pipelines = Pipelines("cpu", "fp16")
    resident = pipelines.load(load("sdxl").checkpoint)
    asked = spec(vae=other_vae(resident, placed))
    assert asked.vae is not None
    precisions = []
    for _ in range(3):
        with apply_addons(resident, asked, PlacedWeights(placed)):
            precisions.append(resident.pipeline.vae.dtype)
        pipelines.vae_needs.precisions[asked.vae.sha256] = torch.float32
    assert precisions == [torch.float16, torch.float32, torch.float32]
    assert len(resident.vaes) == 1


def test_a_vae_that_does_not_fit_is_refused_with_the_reason(
    load: Load, placed: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "bad.safetensors"
    placed[save(path, {"encoder.conv_in.weight": torch.zeros(1)})] = path
    asked = spec(vae=AddonRef(name="bad", sha256=next(iter(placed))))
    with pytest.raises(CannotRender, match=r"VAE 'bad' does not fit checkpoint 'sd15': \w+"):
        predict_with(load("sd15"), asked, placed)
