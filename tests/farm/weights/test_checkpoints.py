"""The registered checkpoints."""

import json
from pathlib import Path

import pytest

from farm.errors import Conflict, NotFound
from farm.reports import weights
from farm.weights import checkpoints
from farm.weights.blobs import StoredFile
from farm.weights.checkpoints import StoredCheckpoint
from farm.weights.folder import BadCheckpoint, CheckpointFolder, inspect_folder
from tests.factories import Scene, a_checkpoint

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a diffusers checkpoint."""
    folder = tmp_path / "checkpoint"
    for part in PARTS:
        (folder / part).mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    return folder


def named(sha256: str) -> CheckpointFolder:
    return CheckpointFolder(Path("/elsewhere"), "sd15", sha256)


class TestInspectFolder:
    def test_a_checkpoint_folder_is_recognised(self, folder: Path) -> None:
        found = inspect_folder(folder)
        assert (found.path, found.family, len(found.sha256)) == (folder, "sd15", 64)

    def test_a_folder_without_an_index_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadCheckpoint, match=r"has no model_index\.json; is it a diffusers checkpoint folder\?"):
            inspect_folder(tmp_path)

    def test_a_single_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "sd.safetensors").write_bytes(b"weights")
        with pytest.raises(BadCheckpoint, match="is it a diffusers checkpoint folder"):
            inspect_folder(tmp_path / "sd.safetensors")

    @pytest.mark.parametrize("index", ["", "[]", "{}", "\udcff", '{"_class_name": ["x"]}'])
    def test_a_malformed_index_is_refused(self, folder: Path, index: str) -> None:
        (folder / "model_index.json").write_bytes(index.encode(errors="surrogateescape"))
        with pytest.raises(BadCheckpoint):
            inspect_folder(folder)

    def test_a_pipeline_that_the_farm_cannot_render_is_named(self, folder: Path) -> None:
        (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
        with pytest.raises(BadCheckpoint, match="holds a FluxPipeline; known are StableDiffusionPipeline, Stable"):
            inspect_folder(folder)

    @pytest.mark.parametrize("part", PARTS)
    def test_a_missing_part_is_named(self, folder: Path, part: str) -> None:
        (folder / part).rename(folder / "gone")
        with pytest.raises(BadCheckpoint, match=f"has no folder '{part}'"):
            inspect_folder(folder)


class TestFamily:
    @pytest.mark.parametrize(
        ("pipeline", "unet", "prediction", "family"),
        [
            ("StableDiffusionPipeline", {}, "epsilon", "sd15"),
            ("StableDiffusionPipeline", {"in_channels": 9}, "epsilon", "sd15-inpaint"),
            ("StableDiffusionPipeline", {"use_linear_projection": True}, "epsilon", "sd2"),
            ("StableDiffusionPipeline", {"use_linear_projection": True}, "v_prediction", "sd2-v"),
            (
                "StableDiffusionPipeline",
                {"use_linear_projection": True, "in_channels": 9},
                "epsilon",
                "sd2-inpaint",
            ),
            ("StableDiffusionXLPipeline", {"use_linear_projection": True}, "epsilon", "sdxl"),
            ("StableDiffusionXLPipeline", {"in_channels": 9}, "epsilon", "sdxl-inpaint"),
        ],
    )
    def test_the_family_of_a_folder_follows_from_its_configuration(
        self, folder: Path, pipeline: str, unet: dict[str, object], prediction: str, family: str
    ) -> None:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
        (folder / "unet" / "config.json").write_text(json.dumps(unet))
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": prediction}))
        assert inspect_folder(folder).family == family

    def test_a_unet_with_other_inputs_is_refused(self, folder: Path) -> None:
        (folder / "unet" / "config.json").write_text('{"in_channels": 5}')
        with pytest.raises(BadCheckpoint, match="takes 5 channels"):
            inspect_folder(folder)


class TestHash:
    def test_a_copy_has_the_same_hash(self, folder: Path, tmp_path: Path) -> None:
        before = inspect_folder(folder).sha256
        moved = folder.rename(tmp_path / "copy")
        assert inspect_folder(moved).sha256 == before

    def test_other_weights_have_another_hash(self, folder: Path) -> None:
        before = inspect_folder(folder).sha256
        (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
        assert inspect_folder(folder).sha256 != before

    def test_a_renamed_file_changes_the_hash(self, folder: Path) -> None:
        before = inspect_folder(folder).sha256
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.rename(folder / "vae" / weights.name)
        assert inspect_folder(folder).sha256 != before

    def test_a_note_beside_the_weights_does_not_change_the_hash(self, folder: Path) -> None:
        before = inspect_folder(folder).sha256
        (folder / "README.md").write_text("notes")
        assert inspect_folder(folder).sha256 == before


class TestCatalog:
    def test_an_added_checkpoint_is_found_by_its_name(self, scene: Scene) -> None:
        checkpoint_id = a_checkpoint(scene.database, "demo")
        with scene.database.begin() as session:
            assert checkpoints.get(session, "demo").id == checkpoint_id

    def test_checkpoints_are_listed_by_name(self, scene: Scene) -> None:
        for name in "cab":
            a_checkpoint(scene.database, name)
        with scene.database.begin() as session:
            assert list(checkpoints.by_name(session)) == ["a", "b", "c"]

    def test_adding_the_same_checkpoint_again_updates_its_location(self, scene: Scene) -> None:
        checkpoint_id = a_checkpoint(scene.database, "demo", sha256="a" * 64)
        with scene.database.begin() as session:
            assert checkpoints.add(session, "demo", named("a" * 64)).id == checkpoint_id
        assert scene.scalar("SELECT location FROM checkpoints") == "/elsewhere"

    def test_another_checkpoint_under_a_taken_name_is_refused(self, scene: Scene) -> None:
        a_checkpoint(scene.database, "demo", sha256="a" * 64)
        with pytest.raises(Conflict, match="A different checkpoint is registered as 'demo'"):
            a_checkpoint(scene.database, "demo", sha256="b" * 64)
        assert scene.scalar("SELECT sha256 FROM checkpoints") == "a" * 64

    def test_the_same_weights_are_not_of_two_families(self, scene: Scene) -> None:
        a_checkpoint(scene.database, "noise", sha256="a" * 64)
        velocity = StoredCheckpoint("sd2-v", "a" * 64, ())
        with (
            pytest.raises(Conflict, match="registered as 'noise' of family sd15"),
            scene.database.begin() as session,
        ):
            checkpoints.add(session, "velocity", velocity)
        assert scene.scalar("SELECT count(*) FROM checkpoints") == 1

    def test_a_report_shows_size_origin_and_suggestions_of_a_checkpoint(self, scene: Scene) -> None:
        files = [StoredFile("a", "a" * 64, 10), StoredFile("b", "b" * 64, 20), StoredFile("b2", "b" * 64, 20)]
        found = StoredCheckpoint("sd15", "c" * 64, files, "hf:ana/small@1", {"num_inference_steps": 25})
        with scene.database.begin() as session:
            [report] = weights.checkpoint_reports([checkpoints.add(session, "demo", found)])
        assert (report.size_bytes, report.origin) == (30, "hf:ana/small@1")
        assert report.suggestions == {"num_inference_steps": 25}

    def test_a_folder_registered_in_place_has_no_size(self, scene: Scene) -> None:
        a_checkpoint(scene.database)
        with scene.database.begin() as session:
            [report] = weights.checkpoint_reports(checkpoints.by_name(session).values())
        assert (report.size_bytes, report.suggestions) == (None, None)

    def test_a_removed_name_is_free_for_another(self, scene: Scene) -> None:
        first = a_checkpoint(scene.database, "demo", sha256="a" * 64)
        with scene.database.begin() as session:
            checkpoints.remove(session, "demo")
        second = a_checkpoint(scene.database, "demo", sha256="b" * 64)
        assert first != second

    def test_a_removed_checkpoint_still_renders_the_jobs_that_name_it(self, scene: Scene) -> None:
        scene.submit()
        with scene.database.begin() as session:
            checkpoints.remove(session, "demo")
        assert len(scene.claim(scene.worker())) == 1

    def test_an_unregistered_checkpoint_is_not_found(self, scene: Scene) -> None:
        with pytest.raises(NotFound, match="There is no checkpoint 'demo'"), scene.database.begin() as session:
            checkpoints.remove(session, "demo")
