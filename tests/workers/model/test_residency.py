"""Several checkpoints on one device: which of them stay, and that each renders as if it were alone."""

import hashlib
import itertools
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from farm.errors import RenderError
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import AddonRef, LoraRef
from tests.checkpoints import small_checkpoint, small_pipeline
from tests.loras import random_factors, save, save_kohya
from tests.workers.studios import STORE, a_spec_of
from workers.canvas.inputs import StoredInputs
from workers.compute.budget import ONE_RESIDENT, Budget, FixedBudget
from workers.diffusion import DiffusionRenderer
from workers.model import pipelines as module
from workers.model.pipelinefolder import estimate_bytes, list_weights
from workers.model.pipelines import Pipelines, count_to_drop
from workers.model.provenance import Machine
from workers.model.weights import Hold, PlacedWeights

FAMILIES = ("sd15", "sd2", "sdxl")
PLENTY = FixedBudget(2**40)

IN_A_FRESH_PROCESS = """
import json, sys, torch
from tests.workers.model.test_residency import digests_alone
torch.set_num_threads(1)
print(json.dumps(digests_alone(*sys.argv[1:])))
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("residency")
    for family in FAMILIES:
        small_checkpoint(family, folder / family)
    small_pipeline("sd15", seed=7).save_pretrained(folder / "twin", safe_serialization=True)
    return folder


def a_checkpoint(parent: Path, name: str) -> ClaimedCheckpoint:
    number = (*FAMILIES, "twin").index(name) + 1
    family = "sd15" if name == "twin" else name
    return ClaimedCheckpoint(number, name, family, hashlib.sha256(name.encode()).hexdigest(), str(parent / name))


@pytest.fixture
def checkpoints(parent: Path) -> dict[str, ClaimedCheckpoint]:
    return {name: a_checkpoint(parent, name) for name in (*FAMILIES, "twin")}


def a_renderer(budget: Budget, **placed: Path) -> DiffusionRenderer:
    pipelines = Pipelines("cpu", "fp32", PlacedWeights(placed), budget)
    return DiffusionRenderer(pipelines, Machine("a processor", "fp32", 1), StoredInputs(STORE))


def digest(renderer: DiffusionRenderer, checkpoint: ClaimedCheckpoint, **fields: Any) -> str:
    """The sha256 of the pixels of two images that are rendered together."""
    specs = [a_spec_of("txt2img", seed=seed, **fields) for seed in (1, 2)]
    pictures = renderer.render(checkpoint, specs, lambda *_: None)
    return hashlib.sha256(b"".join(picture.pixels.tobytes() for picture in pictures)).hexdigest()


def digests_alone(folder: str, *names: str) -> dict[str, str]:
    """Of each checkpoint on a renderer that has loaded no other."""
    return {name: digest(a_renderer(ONE_RESIDENT), a_checkpoint(Path(folder), name)) for name in names}


@pytest.fixture(scope="module")
def alone(parent: Path) -> dict[str, str]:
    """What each checkpoint renders in a process that has rendered with no other."""
    commands = [[sys.executable, "-c", IN_A_FRESH_PROCESS, str(parent), name] for name in FAMILIES]
    done = [subprocess.run(command, capture_output=True, text=True, check=True) for command in commands]
    return {name: found for one in done for name, found in json.loads(one.stdout.splitlines()[-1]).items()}


def pipelines_of(budget: Budget) -> Pipelines:
    return Pipelines("cpu", "fp32", None, budget)


def sizes_of(checkpoints: dict[str, ClaimedCheckpoint]) -> dict[str, int]:
    return {name: pipelines_of(ONE_RESIDENT).load(one).nbytes for name, one in checkpoints.items()}


class TestPixels:
    @pytest.mark.parametrize("order", list(itertools.permutations(FAMILIES)), ids="-".join)
    def test_three_residents_render_what_fresh_processes_do_in_any_order(
        self, order: Sequence[str], checkpoints: dict[str, ClaimedCheckpoint], alone: dict[str, str]
    ) -> None:
        renderer = a_renderer(PLENTY)
        found = [digest(renderer, checkpoints[name]) for name in (*order, *order[1:], order[0])]
        assert found == [alone[name] for name in (*order, *order[1:], order[0])]
        assert sorted(renderer.resident_ids) == [1, 2, 3]

    def test_checkpoints_that_push_each_other_out_render_what_fresh_processes_do(
        self, checkpoints: dict[str, ClaimedCheckpoint], alone: dict[str, str]
    ) -> None:
        sizes = sizes_of({name: checkpoints[name] for name in FAMILIES})
        renderer = a_renderer(FixedBudget(sum(sizes.values()) - 1))
        order = [*FAMILIES, "sd15", "sdxl", "sd2", "sd15"]
        assert [digest(renderer, checkpoints[name]) for name in order] == [alone[name] for name in order]
        assert len(renderer.resident_ids) == 2

    def test_a_lora_of_one_resident_is_not_heard_in_another(
        self, checkpoints: dict[str, ClaimedCheckpoint], tmp_path: Path
    ) -> None:
        factors = random_factors(pipelines_of(ONE_RESIDENT).load(checkpoints["sd15"]).pipeline, seed=1)
        sha256 = save_kohya(tmp_path / "lora.safetensors", factors)
        lora = LoraRef(name="lora", sha256=sha256, weight=1.0)
        placed = {sha256: tmp_path / "lora.safetensors"}
        wanted = [
            digest(a_renderer(ONE_RESIDENT, **placed), checkpoints[name], loras=loras)
            for name, loras in (("sd15", [lora]), ("twin", []), ("sd15", []), ("twin", [lora]))
        ]
        renderer = a_renderer(PLENTY, **placed)
        for _ in range(2):
            assert wanted == [
                digest(renderer, checkpoints[name], loras=loras)
                for name, loras in (("sd15", [lora]), ("twin", []), ("sd15", []), ("twin", [lora]))
            ]
        assert len(set(wanted)) == 4

    def test_the_same_weights_as_another_family_are_another_resident(
        self, checkpoints: dict[str, ClaimedCheckpoint]
    ) -> None:
        plain, other = checkpoints["sd15"], replace(checkpoints["sd15"], id=9, family="sd2")
        # Which layer a clip skip means is the family's.
        wanted = [digest(a_renderer(ONE_RESIDENT), one, clip_skip=2) for one in (plain, other)]
        renderer = a_renderer(PLENTY)
        found = [digest(renderer, one, clip_skip=2) for one in (plain, other, plain, other)]
        assert found == [*wanted, *wanted]
        assert wanted[0] != wanted[1]
        assert renderer.resident_ids == (9, 1)


class TestWhichStay:
    def test_those_that_fit_the_budget_stay(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        pipelines = pipelines_of(FixedBudget(sum(sizes_of(checkpoints).values())))
        first = [pipelines.load(one) for one in checkpoints.values()]
        assert [pipelines.load(one) for one in checkpoints.values()] == first

    def test_the_least_recently_used_goes_first(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        sizes = sizes_of(checkpoints)
        pipelines = pipelines_of(FixedBudget(sizes["sd15"] + sizes["twin"] + sizes["sd2"]))
        for name in ("sd15", "twin", "sd15", "sd2", "sd2"):
            pipelines.load(checkpoints[name])
        assert pipelines.resident_ids == (2, 1, 4)
        pipelines.load(checkpoints["sdxl"])
        assert pipelines.resident_ids[0] == 3
        assert 4 not in pipelines.resident_ids

    def test_one_that_is_larger_than_the_budget_is_alone(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        sizes = sizes_of(checkpoints)
        pipelines = pipelines_of(FixedBudget(sizes["sdxl"] - 1))
        pipelines.load(checkpoints["sd15"])
        pipelines.load(checkpoints["sdxl"])
        assert pipelines.resident_ids == (3,)

    def test_residents_give_way_when_the_budget_shrinks(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        budget = ShrinkingBudget(2**40)
        pipelines = pipelines_of(budget)
        for one in checkpoints.values():
            pipelines.load(one)
        budget.limit = 0
        pipelines.load(checkpoints["sd2"])
        assert pipelines.resident_ids == (2,)

    def test_room_is_made_before_the_weights_are_read(
        self, checkpoints: dict[str, ClaimedCheckpoint], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipelines = pipelines_of(FixedBudget(sizes_of(checkpoints)["sd15"]))
        former = weakref.ref(pipelines.load(checkpoints["sd15"]).pipeline.unet)

        def read(*_args: Any, **_kwargs: Any) -> Any:
            raise OSError(f"while {former()} was there")

        monkeypatch.setattr(module, "read_pipeline", read)
        with pytest.raises(RenderError, match="while None was there"):
            pipelines.load(checkpoints["twin"])

    def test_a_failed_load_leaves_those_that_had_room(
        self, checkpoints: dict[str, ClaimedCheckpoint], tmp_path: Path
    ) -> None:
        pipelines = pipelines_of(PLENTY)
        pipelines.load(checkpoints["sd15"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(RenderError, match="does not load"):
            pipelines.load(replace(checkpoints["sd2"], location=str(tmp_path / "empty")))
        assert pipelines.resident_ids == (1,)

    def test_weights_registered_twice_are_resident_under_both_ids(
        self, checkpoints: dict[str, ClaimedCheckpoint]
    ) -> None:
        pipelines = pipelines_of(PLENTY)
        first = pipelines.load(checkpoints["sd15"])
        pipelines.load(checkpoints["sd2"])
        assert pipelines.load(replace(checkpoints["sd15"], id=7, name="again")) is first
        assert pipelines.resident_ids == (1, 7, 2)

    def test_the_weights_of_a_dropped_resident_are_freed_at_once(
        self, checkpoints: dict[str, ClaimedCheckpoint]
    ) -> None:
        renderer = a_renderer(ONE_RESIDENT)
        digest(renderer, checkpoints["sd15"])
        resident = renderer._pipelines.resident
        assert resident is not None
        gone = weakref.ref(resident.pipeline.unet)
        del resident
        digest(renderer, checkpoints["twin"])
        assert gone() is None

    @pytest.mark.parametrize(
        ("sizes", "room", "dropped"),
        [([], 0, 0), ([5, 5, 5], 15, 0), ([5, 5, 5], 14, 1), ([5, 5, 5], 5, 2), ([5], 4, 1), ([5, 1], -1, 2)],
    )
    def test_no_more_are_dropped_than_must_be(self, sizes: list[int], room: int, dropped: int) -> None:
        assert count_to_drop(sizes, room) == dropped


@dataclass
class ShrinkingBudget:
    """A budget that the test changes, and that notes what was dropped."""

    limit: int
    dropped: int = 0

    def weight_bytes(self, family: str, *, coming_bytes: int = 0) -> int:
        return self.limit

    def watch(self, family: str) -> Any:
        return FixedBudget(0).watch(family)

    def note_dropped(self, weight_bytes: int) -> None:
        self.dropped += weight_bytes


class TestBytes:
    def test_the_bytes_of_a_resident_are_those_of_its_weights(
        self, checkpoints: dict[str, ClaimedCheckpoint]
    ) -> None:
        resident = pipelines_of(ONE_RESIDENT).load(checkpoints["sdxl"])
        parts = (resident.pipeline.unet, resident.pipeline.vae, *resident.text_encoders)
        numbers = sum(tensor.numel() for part in parts for tensor in part.state_dict().values())
        assert 4 * numbers <= resident.nbytes <= 4 * numbers + 10_000

    def test_weights_that_two_modules_share_count_once(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        resident = pipelines_of(ONE_RESIDENT).load(checkpoints["sd15"])
        before = resident.nbytes
        resident.vaes.take("a", lambda: resident.pipeline.vae)
        resident.vaes.take("b", lambda: resident.pipeline.vae)
        own = sum(tensor.nbytes for tensor in resident.pipeline.vae.state_dict().values())
        assert resident.nbytes == before + own

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    @pytest.mark.parametrize("name", FAMILIES)
    def test_the_bytes_are_known_before_they_are_read(
        self, checkpoints: dict[str, ClaimedCheckpoint], name: str, dtype: torch.dtype
    ) -> None:
        precision = "fp32" if dtype == torch.float32 else "fp16"
        measured = Pipelines("cpu", precision).load(checkpoints[name]).nbytes
        estimated = estimate_bytes(Path(checkpoints[name].location), dtype)
        assert abs(measured - estimated) < 0.01 * measured

    def test_weights_of_a_variant_are_not_counted(self, checkpoints: dict[str, ClaimedCheckpoint]) -> None:
        folder = Path(checkpoints["twin"].location)
        before = estimate_bytes(folder, torch.float32)
        variant = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
        variant.write_bytes((folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes())
        assert estimate_bytes(folder, torch.float32) == before
        assert variant not in list_weights(folder)
        variant.unlink()

    @pytest.mark.parametrize("content", [b"", b"garbage of some length", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64])
    def test_a_broken_file_counts_nothing(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "w.safetensors").write_bytes(content)
        assert estimate_bytes(tmp_path, torch.float32) == 0

    def test_loras_vaes_and_texts_count_too(
        self, checkpoints: dict[str, ClaimedCheckpoint], tmp_path: Path
    ) -> None:
        own = pipelines_of(ONE_RESIDENT).load(checkpoints["sd15"])
        lora = save_kohya(tmp_path / "lora.safetensors", random_factors(own.pipeline, seed=1))
        vae = save(tmp_path / "vae.safetensors", own.pipeline.vae.state_dict())
        renderer = a_renderer(
            ONE_RESIDENT, **{lora: tmp_path / "lora.safetensors", vae: tmp_path / "vae.safetensors"}
        )
        loras = [LoraRef(name="lora", sha256=lora, weight=1.0)]
        digest(renderer, checkpoints["sd15"], loras=loras, vae=AddonRef(name="vae", sha256=vae))
        resident = renderer._pipelines.resident
        assert resident is not None
        vae_bytes = sum(tensor.nbytes for tensor in own.pipeline.vae.state_dict().values())
        lora_bytes = sum(
            parameter.nbytes
            for part in (resident.pipeline.unet, resident.pipeline.text_encoder)
            for name, parameter in part.named_parameters()
            if ".lora_" in name
        )
        texts = sum(chunk.hidden_states.nbytes for chunk in resident.texts.values())
        assert texts > 0
        assert resident.nbytes == own.nbytes + lora_bytes + vae_bytes + texts


@dataclass
class WatchedWeights:
    """Placed weights that note which checkpoints are held."""

    held: list[str] = field(default_factory=list)

    def folder_of(self, checkpoint: ClaimedCheckpoint) -> Path:
        return Path(checkpoint.location)

    def file_of(self, sha256: str) -> Path:
        raise AssertionError("Nothing is added.")

    def has(self, checkpoint: ClaimedCheckpoint) -> bool:
        return True

    def hold(self, checkpoint: ClaimedCheckpoint) -> Hold:
        self.held.append(checkpoint.name)
        return closing_with(lambda: self.held.remove(checkpoint.name))


def closing_with(action: Callable[[], None]) -> Hold:
    stack = ExitStack()
    stack.callback(action)
    return stack


def test_the_files_of_residents_are_held_and_no_others(checkpoints: dict[str, ClaimedCheckpoint]) -> None:
    weights, sizes = WatchedWeights(), sizes_of(checkpoints)
    pipelines = Pipelines("cpu", "fp32", weights, FixedBudget(sizes["sd15"] + sizes["twin"]))
    for name in ("sd15", "twin", "sd15"):
        pipelines.load(checkpoints[name])
    assert weights.held == ["sd15", "twin"]
    pipelines.load(checkpoints["sd2"])
    assert "twin" not in weights.held
    pipelines.unload()
    assert weights.held == []


def test_a_renderer_reports_what_it_holds_and_what_it_is(checkpoints: dict[str, ClaimedCheckpoint]) -> None:
    renderer = a_renderer(PLENTY)
    assert (renderer.resident_ids, renderer.resident_id) == ((), None)
    for name in ("sd15", "sd2"):
        renderer.load(checkpoints[name])
    gone = replace(checkpoints["sdxl"], location="/nowhere")
    assert (renderer.resident_ids, renderer.resident_id) == ((2, 1), 2)
    assert renderer.cached_ids([gone, checkpoints["twin"], checkpoints["sd2"]]) == [4, 2]
    assert renderer.device_class == renderer.device_name == "a processor"
    assert renderer.memory_bytes > 2**28
