"""From a source to registered weights, through all that lies between."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from farm.db.tables.weights import Addon, Checkpoint
from farm.errors import Conflict, InvalidRequest, NotFound, StoreError
from farm.store.protocol import Store
from farm.weights import addons, checkpoints
from farm.weights.add import AddedWeights, WeightsImporter
from farm.weights.addrequest import AddRequest
from farm.weights.blobs import read_files
from farm.weights.files.hashing import hash_file, hash_folder
from farm.weights.files.header import BadWeights
from farm.weights.folder import inspect_folder
from farm.weights.hub.transport import DownloadError
from farm.weights.ingest import ingest
from tests.checkpoints import export_single_file, small_checkpoint
from tests.factories import Scene, a_stored_checkpoint
from tests.fakes import FailingStore
from tests.farm.weights.hub.server import COMMIT, FakeHub, running_hub
from tests.ingesting import ingest_here

COMPONENTS = {"unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"}


@dataclass
class Watched:
    """Remembers what it was told."""

    stages: list[str] = field(default_factory=list)
    counts: list[tuple[int, int | None]] = field(default_factory=list)

    def stage(self, what: str) -> None:
        self.stages.append(what)

    def count(self, done: int, total: int | None) -> None:
        self.counts.append((done, total))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder."""
    return small_checkpoint("sd15", tmp_path_factory.mktemp("small") / "sd15")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    """The same weights in a single file."""
    return export_single_file(folder, folder.with_name("Small.safetensors"))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running_hub() as running:
        yield running


@pytest.fixture
def importer(scene: Scene, store: Store, hub: FakeHub) -> WeightsImporter:
    """An empty farm that knows no hub but ours, which has no vocabulary."""
    settings = scene.settings.model_copy(
        update={"hf_endpoint": hub.url, "civitai_endpoint": hub.url, "clip_repo": "nobody/clip"}
    )
    return WeightsImporter(settings, scene.database, store, Watched(), ingest_here)


def checkpoint(importer: WeightsImporter, name: str) -> Checkpoint:
    with importer.database.begin() as session:
        return checkpoints.get(session, name)


def stored(importer: WeightsImporter, name: str) -> dict[str, bytes]:
    """The files of a registered checkpoint as the store has them, by their paths."""
    files = read_files(checkpoint(importer, name).files)
    assert files is not None
    return {file.path: importer.store.get(file.key) for file in files}


def left(importer: WeightsImporter) -> list[str]:
    """What lies in the store, in the staging folder and in the database."""
    with importer.database.begin() as session:
        rows = [*checkpoints.by_name(session), *addons.by_name(session, "vae"), *addons.by_name(session, "lora")]
    staged = [path.name for path in (importer.settings.data_dir / "ingest").glob("*")]
    return [*importer.store.keys(), *staged, *rows]


class TestCheckpoints:
    def test_a_folder_and_a_file_of_the_same_weights_share_their_components(
        self, importer: WeightsImporter, folder: Path, file: Path
    ) -> None:
        of_folder = importer.add(AddRequest("checkpoint", str(folder), name="of-folder"))
        count = len(list(importer.store.keys()))
        of_file = importer.add(AddRequest("checkpoint", str(file), tokenizer=folder / "tokenizer"))
        assert (of_folder.sha256, of_file.sha256) == (hash_folder(folder), hash_file(file))
        weights = {path: data for path, data in stored(importer, "small").items() if path.endswith(".safetensors")}
        assert weights.items() <= stored(importer, "of-folder").items()
        assert {path.split("/")[0] for path in stored(importer, "of-folder")} == COMPONENTS
        assert len(list(importer.store.keys())) <= count + 3
        assert list((importer.settings.data_dir / "ingest").iterdir()) == []

    def test_adding_the_same_weights_again_changes_nothing_and_is_quick(
        self, importer: WeightsImporter, folder: Path
    ) -> None:
        first = importer.add(AddRequest("checkpoint", str(folder), name="a", note="mine"))
        assert first.is_new
        importer.listener.stages.clear()
        assert importer.add(AddRequest("checkpoint", str(folder), name="a")) == replace(first, is_new=False)
        assert importer.listener.stages == []
        assert checkpoint(importer, "a").note == "mine"

    def test_adding_weights_again_restores_files_that_the_store_lost(
        self, importer: WeightsImporter, folder: Path
    ) -> None:
        importer.add(AddRequest("checkpoint", str(folder), name="a"))
        before = stored(importer, "a")
        for key in list(importer.store.keys())[:3]:
            importer.store.delete(key)
        assert not importer.add(AddRequest("checkpoint", str(folder), name="a")).is_new
        assert stored(importer, "a") == before

    def test_a_folder_that_was_registered_by_its_place_moves_into_the_store(
        self, importer: WeightsImporter, folder: Path
    ) -> None:
        with importer.database.begin() as session:
            checkpoints.add(session, "a", inspect_folder(folder))
        importer.add(AddRequest("checkpoint", str(folder), name="a"))
        assert checkpoint(importer, "a").location == checkpoints.IN_STORE

    def test_other_weights_under_a_taken_name_are_refused_before_any_work(
        self, importer: WeightsImporter, scene: Scene, folder: Path
    ) -> None:
        a_stored_checkpoint(scene.database, importer.store, {"a": b"other"}, "a")
        with pytest.raises(Conflict, match="A different checkpoint is registered as 'a'"):
            importer.add(AddRequest("checkpoint", str(folder), name="a"))
        assert importer.listener.stages == []

    def test_a_checkpoint_with_another_vae_is_another_checkpoint(
        self, importer: WeightsImporter, folder: Path, file: Path
    ) -> None:
        vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
        importer.add(AddRequest("vae", str(vae), name="fine", family="sd15"))
        added = importer.add(AddRequest("checkpoint", str(folder), name="a", vae="fine"))
        assert added.sha256 != hash_folder(folder)
        assert importer.add(AddRequest("checkpoint", str(folder), name="b", vae=str(vae))).sha256 == added.sha256

    def test_an_unknown_vae_is_named(self, importer: WeightsImporter, folder: Path) -> None:
        with pytest.raises(NotFound, match="'nope' is neither a file here nor a registered VAE"):
            importer.add(AddRequest("checkpoint", str(folder), vae="nope"))

    def test_bad_weights_leave_nothing_behind(self, importer: WeightsImporter, tmp_path: Path) -> None:
        (tmp_path / "bad.safetensors").write_bytes(b"<html>who are you?</html>")
        with pytest.raises(BadWeights, match="web page"):
            importer.add(AddRequest("checkpoint", str(tmp_path / "bad.safetensors")))
        assert left(importer) == []

    def test_a_file_without_a_vocabulary_is_refused_with_the_ways_to_get_one(
        self, importer: WeightsImporter, file: Path
    ) -> None:
        with pytest.raises(BadWeights, match="vocabulary"):
            importer.add(AddRequest("checkpoint", str(file)))
        assert left(importer) == []


class TestFailures:
    def test_a_store_that_fails_half_way_keeps_no_files(self, importer: WeightsImporter, folder: Path) -> None:
        store = HalfWayStore()
        with pytest.raises(StoreError, match="The disk is full"):
            replace(importer, store=store).add(AddRequest("checkpoint", str(folder)))
        assert store.objects == {}
        assert left(importer) == []

    def test_weights_whose_adding_failed_can_be_added_again(self, importer: WeightsImporter, folder: Path) -> None:
        store = HalfWayStore()
        failing = replace(importer, store=store)
        with pytest.raises(StoreError):
            failing.add(AddRequest("checkpoint", str(folder), name="a"))
        assert failing.add(AddRequest("checkpoint", str(folder), name="a")).is_new

    def test_two_additions_at_once_under_one_name_make_one_checkpoint(
        self, importer: WeightsImporter, folder: Path, tmp_path: Path
    ) -> None:
        other = shutil.copytree(folder, tmp_path / "other")
        (other / "unet" / "note.json").write_text("{}")
        # transformers loads one checkpoint at a time in a process.
        apart = replace(importer, ingest=ingest)
        start = threading.Barrier(2)

        def add(source: Path) -> AddedWeights | Conflict:
            start.wait()
            try:
                return apart.add(AddRequest("checkpoint", str(source), name="a"))
            except Conflict as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            ended = list(pool.map(add, [folder, other]))
        assert sorted(type(end).__name__ for end in ended) == ["AddedWeights", "Conflict"]
        assert {path.split("/")[0] for path in stored(importer, "a")} == COMPONENTS

    def test_staging_folders_of_killed_processes_are_cleared(
        self, importer: WeightsImporter, tmp_path: Path
    ) -> None:
        take_abandoned = importer.settings.data_dir / "ingest" / "adding-abandoned"
        take_abandoned.mkdir(parents=True)
        (take_abandoned / "weights").write_bytes(b"half")
        with pytest.raises(BadWeights):
            importer.add(AddRequest("lora", str(tmp_path)))
        assert not take_abandoned.exists()

    @pytest.mark.parametrize("name", ["a\nb", "", "x" * 201])
    def test_an_unusable_name_is_refused(self, importer: WeightsImporter, folder: Path, name: str) -> None:
        with pytest.raises(InvalidRequest, match="name: "):
            importer.add(AddRequest("checkpoint", str(folder), name=name or "\x00"))


class HalfWayStore(FailingStore):
    """A store that keeps three files before its disk is full, and has room again afterwards."""

    def __init__(self) -> None:
        super().__init__(failures=1)

    def put(self, key: str, content: bytes, media_type: str) -> None:
        if len(self.objects) < 3 and self.failures_left:
            self.objects[key] = content
            return
        super().put(key, content, media_type)


class TestHubs:
    def offer(self, hub: FakeHub, folder: Path, repo: str = "ana/small") -> None:
        hub.repos[repo] = {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    def test_a_repository_is_added_at_its_commit_and_the_download_put_away(
        self, importer: WeightsImporter, hub: FakeHub, folder: Path
    ) -> None:
        self.offer(hub, folder)
        added = importer.add(AddRequest("checkpoint", "hf:ana/small"))
        assert (added.name, checkpoint(importer, "small").origin) == ("small", f"hf:ana/small@{COMMIT}")
        assert [path for path in importer.settings.download_folder.rglob("*") if path.is_file()] == []

    def test_the_same_revision_is_not_downloaded_again(
        self, importer: WeightsImporter, hub: FakeHub, folder: Path
    ) -> None:
        self.offer(hub, folder)
        importer.add(AddRequest("checkpoint", "hf:ana/small", name="a"))
        hub.seen.clear()
        assert not importer.add(AddRequest("checkpoint", "hf:ana/small", name="a")).is_new
        assert not [request for request in hub.seen if "resolve" in request.path]

    def test_a_name_taken_by_something_else_is_refused_before_the_download(
        self, importer: WeightsImporter, hub: FakeHub, folder: Path
    ) -> None:
        self.offer(hub, folder)
        self.offer(hub, folder, "eve/other")
        importer.add(AddRequest("checkpoint", "hf:ana/small", name="a"))
        hub.seen.clear()
        with pytest.raises(
            Conflict, match=f"'a' is registered from hf:ana/small@{COMMIT}, and this is hf:eve/other"
        ):
            importer.add(AddRequest("checkpoint", "hf:eve/other", name="a"))
        assert not [request for request in hub.seen if "resolve" in request.path]

    def test_a_preset_brings_its_suggestions(
        self, importer: WeightsImporter, hub: FakeHub, file: Path, folder: Path
    ) -> None:
        hub.repos["wavymulder/modelshoot"] = {"modelshoot-1.0.safetensors": file.read_bytes()}
        added = importer.add(AddRequest("checkpoint", "modelshoot", tokenizer=folder / "tokenizer"))
        row = checkpoint(importer, "modelshoot")
        assert (added.sha256, row.origin) == (
            hash_file(file),
            f"hf:wavymulder/modelshoot@{COMMIT}:modelshoot-1.0.safetensors",
        )
        assert row.suggestions is not None
        assert row.suggestions["trigger_words"] == ["modelshoot style"]
        assert (row.suggestions["width"], row.suggestions["height"]) == (512, 768)
        assert row.suggestions["licence"]["name"] == "CreativeML OpenRAIL-M"

    def test_the_vocabulary_is_fetched_from_the_hub_once(
        self, importer: WeightsImporter, hub: FakeHub, file: Path, folder: Path
    ) -> None:
        told = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
        merges = "\n".join(" ".join(pair) for pair in told["merges"])
        hub.repos["openai/clip"] = {
            "vocab.json": json.dumps(told["vocab"]).encode(),
            "merges.txt": f"#version: 0.2\n{merges}".encode(),
        }
        settings = importer.settings.model_copy(update={"clip_repo": "openai/clip"})
        importer = replace(importer, settings=settings)
        importer.add(AddRequest("checkpoint", str(file), name="a"))
        hub.seen.clear()
        importer.add(AddRequest("checkpoint", str(file), name="b"))
        assert hub.seen == []

    def test_a_failed_download_leaves_no_row(self, importer: WeightsImporter) -> None:
        with pytest.raises(DownloadError, match="does not exist"):
            importer.add(AddRequest("checkpoint", "hf:ana/nothing"))
        assert left(importer) == []

    def test_a_preset_of_another_kind_is_refused(self, importer: WeightsImporter) -> None:
        with pytest.raises(Conflict, match="The preset 'vae-ft-mse' is a VAE, not a checkpoint"):
            importer.add(AddRequest("checkpoint", "vae-ft-mse"))


class TestAddons:
    def lora(self, path: Path, width: int = 768) -> Path:
        name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
        save_file(
            {f"{name}.lora_down.weight": torch.ones(4, width), f"{name}.lora_up.weight": torch.ones(320, 4)}, path
        )
        return path

    def addon(self, importer: WeightsImporter, kind: addons.AddonKind, name: str) -> Addon:
        with importer.database.begin() as session:
            return addons.get(session, kind, name)

    def test_a_lora_is_one_file_in_the_store(self, importer: WeightsImporter, tmp_path: Path) -> None:
        added = importer.add(AddRequest("lora", str(self.lora(tmp_path / "detail.safetensors"))))
        row = self.addon(importer, "lora", "detail")
        assert (added.family, row.sha256) == ("sd15", added.sha256)
        assert list(importer.store.keys()) == [f"weights/{added.sha256}"]
        assert row.size_bytes == len(importer.store.get(f"weights/{added.sha256}"))

    def test_the_hashes_by_which_others_know_a_lora_are_kept(
        self, importer: WeightsImporter, tmp_path: Path
    ) -> None:
        source = self.lora(tmp_path / "detail.safetensors").read_bytes()
        importer.add(AddRequest("lora", str(tmp_path / "detail.safetensors")))
        tensors = source[8 + int.from_bytes(source[:8], "little") :]
        assert self.addon(importer, "lora", "detail").source_hashes == [
            hashlib.sha256(source).hexdigest(),
            hashlib.sha256(tensors).hexdigest(),
        ]

    def test_an_addon_of_another_kind_is_refused(self, importer: WeightsImporter, tmp_path: Path) -> None:
        with pytest.raises(BadWeights, match="holds a LoRA, not an embedding"):
            importer.add(AddRequest("embedding", str(self.lora(tmp_path / "detail.safetensors"))))
        assert left(importer) == []

    def test_an_addon_of_unclear_family_needs_its_family_named(
        self, importer: WeightsImporter, tmp_path: Path
    ) -> None:
        source = self.lora(tmp_path / "odd.safetensors", width=100)
        with pytest.raises(BadWeights, match="name it with --family"):
            importer.add(AddRequest("lora", str(source)))
        assert importer.add(AddRequest("lora", str(source), family="sd15")).family == "sd15"

    def test_a_name_that_means_something_in_prompts_is_refused(
        self, importer: WeightsImporter, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidRequest, match="must not contain :, which has a meaning in prompts"):
            importer.add(AddRequest("lora", str(self.lora(tmp_path / "a.safetensors")), name="a:1"))
