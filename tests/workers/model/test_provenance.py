"""What is recorded with each image."""

from importlib.metadata import version
from typing import Any

from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import AddonRef, LoraRef
from tests.factories import a_spec
from workers.model.provenance import Machine

CHECKPOINT = ClaimedCheckpoint(1, "demo", "sd15", "a" * 64, "/somewhere/private")
GPU = Machine("a card", "fp16", None)


def recorded(machine: Machine = GPU, **fields: Any) -> dict[str, Any]:
    return machine.provenance(CHECKPOINT, a_spec(**fields), bucket=4, vae_precision="fp32")


def test_checkpoint_device_and_precision_are_recorded() -> None:
    found = recorded()
    assert (found["checkpoint"], found["checkpoint_sha256"], found["family"]) == ("demo", "a" * 64, "sd15")
    assert (found["device"], found["precision"], found["bucket"]) == ("a card", "fp16", 4)


def test_vae_loras_and_embeddings_are_recorded_with_their_hashes() -> None:
    found = recorded(
        vae=AddonRef(name="clear", sha256="b" * 64),
        loras=(
            LoraRef(name="ink", sha256="c" * 64, weight=0.5, text_weight=0.25),
            LoraRef(name="gold", sha256="d" * 64),
        ),
        embeddings=(AddonRef(name="bad-hands", sha256="e" * 64),),
    )
    assert found["vae"] == {"name": "clear", "sha256": "b" * 64}
    assert found["loras"] == [
        {"name": "ink", "sha256": "c" * 64, "weight": 0.5, "text_weight": 0.25},
        {"name": "gold", "sha256": "d" * 64, "weight": 1},
    ]
    assert found["embeddings"] == [{"name": "bad-hands", "sha256": "e" * 64}]


def test_no_addons_are_recorded_of_an_image_without_any() -> None:
    assert not {"vae", "loras", "embeddings", "relief"} & recorded().keys()


def test_the_software_is_recorded_with_its_versions() -> None:
    assert GPU.versions["torch"] == version("torch")
    assert GPU.versions.keys() >= {
        "diffusion-farm",
        "torch",
        "diffusers",
        "transformers",
        "safetensors",
        "torchsde",
    }


def test_the_number_of_threads_is_recorded_where_it_affects_the_pixels() -> None:
    assert recorded(Machine("a device", "fp32", 2))["threads"] == 2
    assert "threads" not in recorded()


def test_no_path_on_the_workers_disk_is_recorded() -> None:
    assert "/somewhere" not in str(recorded())
