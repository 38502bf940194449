"""The commands that add, list and remove weights, on a farm that nobody runs: they need no portal."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file

from farm.cli.adding import ProgressBars, ProgressLines, format_size
from farm.config import Settings
from farm.store.protocol import Store
from farm.weights.files.hashing import hash_file
from farm.weights.presets import PRESETS
from tests.checkpoints import export_single_file, small_checkpoint
from tests.cli.conftest import type_farm
from tests.factories import Scene, a_stored_checkpoint, an_addon
from tests.farm.weights.hub.server import FakeHub, running_hub

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def farm(scene: Scene, settings: Settings, hub: FakeHub) -> Command:
    """Type a command, with the parts of the test's farm in the environment."""
    environment = {
        "FARM_DATA_DIR": str(settings.data_dir),
        "FARM_DATABASE_URL": settings.required_database_url,
        "FARM_REDIS_URL": settings.required_redis_url,
        "FARM_STORE_URL": settings.required_store_url,
        "FARM_SECRET_KEY": str(settings.secret_key),
        "FARM_HF_ENDPOINT": hub.url,
        "FARM_CLIP_REPO": "nobody/clip",
    }
    return lambda *arguments: type_farm(environment, *map(str, arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint("sd15", tmp_path_factory.mktemp("small") / "sd15")


def a_lora(path: Path) -> Path:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file({f"{name}.lora_down.weight": torch.ones(4, 768), f"{name}.lora_up.weight": torch.ones(320, 4)}, path)
    return path


def listed(farm: Command, *command: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(farm(*command, "--json").stdout)
    return found


class TestCheckpoints:
    def test_a_preset_is_added_by_its_name_alone(
        self, farm: Command, hub: FakeHub, folder: Path, tmp_path: Path
    ) -> None:
        file = export_single_file(folder, tmp_path / "a.safetensors")
        hub.repos["SG161222/Realistic_Vision_V2.0"] = {"Realistic_Vision_V2.0.safetensors": file.read_bytes()}
        said = farm("checkpoints", "add", "realistic-vision-v2", "--tokenizer", folder / "tokenizer")
        assert said.exit_code == 0, said.stderr
        assert said.stdout == (
            f"Added checkpoint realistic-vision-v2: sd15, hash {hash_file(file)[:10]}\n"
            "The VAE vae-ft-mse suits it: `farm vaes add vae-ft-mse`\n"
        )
        assert "Fetching realistic-vision-v2 ...\n" in said.stderr
        [row] = listed(farm, "checkpoints", "list")
        assert (row["sha256"], row["family"]) == (hash_file(file), "sd15")
        assert row["suggestions"]["sampler"] == "DPM++ 2M"  # type: ignore[index]

    def test_a_folder_can_be_registered_in_place(self, farm: Command, folder: Path) -> None:
        assert "Added checkpoint sd15: sd15, hash " in farm("checkpoints", "add", folder, "--in-place").stdout
        heading, row = farm("checkpoints", "list").stdout.splitlines()
        assert heading.split("\t") == ["NAME", "FAMILY", "HASH", "SIZE", "ORIGIN", "ADDED", "NOTE"]
        assert row.split("\t")[:2] == ["sd15", "sd15"]

    def test_a_folder_registered_in_place_takes_no_option_that_changes_it(
        self, farm: Command, folder: Path
    ) -> None:
        said = farm("checkpoints", "add", folder, "--in-place", "--vae", "fine")
        assert (said.exit_code, "takes no option but --name and --note" in said.stderr) == (2, True)

    def test_an_unknown_source_is_answered_with_the_known_forms(self, farm: Command) -> None:
        said = farm("checkpoints", "add", "nothing-like-it")
        assert said.exit_code == 1
        assert "hf:owner/repo[@revision]" in said.stderr

    def test_a_bad_file_is_refused_in_one_message(self, farm: Command, store: Store, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        said = farm("checkpoints", "add", tmp_path / "a.safetensors")
        assert said.exit_code == 1
        assert "git-lfs pointer" in said.stderr
        assert (list(store.keys()), listed(farm, "checkpoints", "list")) == ([], [])

    def test_the_presets_are_listed(self, farm: Command) -> None:
        assert [preset["name"] for preset in listed(farm, "checkpoints", "presets")] == list(PRESETS)
        assert "\nanything-v3\tcheckpoint\tsd15\t" in farm("checkpoints", "presets").stdout

    def test_pruning_deletes_the_files_of_removed_weights(self, farm: Command, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, {"a": b"a", "b": b"b"}, "old")
        assert farm("checkpoints", "prune").stdout == "Deleted 0 files.\n"
        assert farm("checkpoints", "remove", "old").stdout == "Removed old.\n"
        assert farm("checkpoints", "prune").stdout == "Deleted 2 files.\n"
        assert list(store.keys()) == []


class TestAddons:
    def test_a_lora_is_added_listed_and_removed(self, farm: Command, tmp_path: Path) -> None:
        said = farm("loras", "add", a_lora(tmp_path / "Add Detail.safetensors"), "--note", "sharper")
        assert said.stdout.startswith("Added LoRA Add Detail: sd15, hash "), said.stderr
        [lora] = listed(farm, "loras", "list")
        assert (lora["name"], lora["note"], lora["kind"]) == ("Add Detail", "sharper", "lora")
        assert farm("loras", "remove", "add-detail").stdout == "Removed add-detail.\n"
        assert listed(farm, "loras", "list") == []

    @pytest.mark.parametrize(("command", "kind"), [("vaes", "vae"), ("embeddings", "embedding"), ("loras", "lora")])
    def test_each_kind_is_listed_by_itself(
        self, farm: Command, scene: Scene, store: Store, command: str, kind: str
    ) -> None:
        for other in ("vae", "embedding", "lora"):
            an_addon(scene.database, store, other, f"my-{other}", other.encode())  # type: ignore[arg-type]
        assert [addon["name"] for addon in listed(farm, command, "list")] == [f"my-{kind}"]
        assert farm(command, "list").stdout.splitlines()[1].startswith(f"my-{kind}\tsd15\t")

    def test_an_unknown_name_cannot_be_removed(self, farm: Command) -> None:
        said = farm("vaes", "remove", "nope")
        assert (said.exit_code, said.stderr) == (1, "farm: There is no VAE 'nope'.\n")


class TestProgress:
    def test_a_terminal_shows_a_bar_for_each_stage(self) -> None:
        screen = io.StringIO()
        with Progress(console=Console(file=screen, force_terminal=True, width=80)) as progress:
            bars = ProgressBars(progress)
            for stage in ("Fetching [a]", "Storing"):
                bars.stage(stage)
                bars.count(1, 2)
        assert "Fetching [a]" in screen.getvalue()
        assert "50%" in screen.getvalue()

    def test_a_pipe_gets_a_line_for_each_tenth(self, capsys: pytest.CaptureFixture[str]) -> None:
        lines = ProgressLines()
        lines.stage("Fetching a")
        for done in range(0, 1001, 20):
            lines.count(done * 1000, 1_000_000)
        said = capsys.readouterr().err.splitlines()
        assert (said[0], said[1], said[-1]) == ("Fetching a ...", "  100 kB of 1 MB", "  1 MB of 1 MB")
        assert len(said) == 11

    @pytest.mark.parametrize(
        ("count", "text"), [(None, ""), (12, "12 B"), (4_265_146_304, "4.27 GB"), (335_000_000, "335 MB")]
    )
    def test_sizes_are_shown_in_decimal_units(self, count: int | None, text: str) -> None:
        assert format_size(count) == text
