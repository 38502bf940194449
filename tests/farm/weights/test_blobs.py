"""Weights in the store: who puts them, and who may delete them when."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from farm.db.connection import Database, Role
from farm.errors import Conflict, FarmError, StoreError
from farm.store.protocol import Store
from farm.weights import addons, checkpoints
from farm.weights.blobs import StoredFile, announce, as_column, hold_add_lock, prune, put_missing, read_files, tidy
from farm.weights.checkpoints import StoredCheckpoint
from tests.factories import (
    Scene,
    a_request,
    a_stored_checkpoint,
    a_worker,
    accept,
    an_addon,
    claim,
    stored_files,
)
from tests.fakes import FailingStore, MemoryStore
from tests.waiting import wait_until

UNET, VAE = {"unet/a.safetensors": b"a unet"}, {"vae/a.safetensors": b"a vae"}


@pytest.fixture
def others(scene: Scene) -> Iterator[Database]:
    """The database as another process reaches it."""
    database = Database.of(scene.settings, Role.TOOL)
    yield database
    database.close()


def kept(store: Store) -> list[bytes]:
    return sorted(store.get(key) for key in store.keys("weights/"))


def remove(scene: Scene, name: str) -> None:
    with scene.database.begin() as session:
        checkpoints.remove(session, name)


def submit(scene: Scene) -> None:
    """Submit a job to the checkpoint that is registered."""
    accept(scene.database, scene.settings, scene.doorbell, a_request())


def let_specs_name(scene: Scene, job_id: int, sha256: str) -> None:
    """The images of a job take this LoRA."""
    loras = json.dumps([{"name": "a", "sha256": sha256}])
    scene.scalar(
        "UPDATE tasks SET spec = jsonb_set(spec, '{loras}', CAST(:loras AS jsonb)) WHERE job_id = :id RETURNING 1",
        loras=loras,
        id=job_id,
    )


class TestPutting:
    def folder(self, tmp_path: Path, *names: str) -> tuple[StoredFile, ...]:
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return stored_files(MemoryStore(), {name: name.encode() for name in names})

    def test_each_file_is_kept_under_its_hash(self, store: Store, tmp_path: Path) -> None:
        files = self.folder(tmp_path, "a", "b")
        put_missing(store, files, tmp_path, lambda _: None)
        assert [store.get(file.key) for file in files] == [b"a", b"b"]

    def test_a_file_that_the_store_has_is_not_put_again(self, tmp_path: Path) -> None:
        files = self.folder(tmp_path, "a")
        full = FailingStore(failures=0)
        put_missing(full, files, tmp_path, lambda _: None)
        full.failures_left = 1
        put_missing(full, files, tmp_path, lambda _: None)
        assert full.failures_left == 1

    def test_a_failed_put_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError):
            put_missing(FailingStore(failures=1), self.folder(tmp_path, "a"), tmp_path, lambda _: None)


class TestFiles:
    def test_a_row_holds_the_files(self) -> None:
        files = (StoredFile("a/b", "a" * 64, 3), StoredFile("c", "b" * 64, 4))
        assert read_files(as_column(files)) == files

    def test_a_folder_registered_in_place_has_no_stored_files(self) -> None:
        assert read_files(None) is None

    @pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "", "a\0b"])
    def test_a_path_that_leaves_the_folder_is_refused(self, path: str) -> None:
        with pytest.raises(FarmError, match="outside its folder"):
            read_files({path: {"sha256": "a" * 64, "size": 1}})

    def test_a_claim_names_the_files(self, scene: Scene, store: Store) -> None:
        checkpoint = a_stored_checkpoint(scene.database, store, UNET | VAE)
        submit(scene)
        batch = claim(scene.database, a_worker(scene.database))
        assert batch is not None
        assert batch.checkpoint == checkpoint
        assert [file.path for file in batch.checkpoint.files or ()] == ["unet/a.safetensors", "vae/a.safetensors"]


class TestTidying:
    def test_an_announced_file_that_no_row_names_is_deleted(self, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, UNET)
        with hold_add_lock(scene.database) as connection:
            announce(connection, stored_files(store, VAE))
        assert tidy(scene.database, store) == 1
        assert kept(store) == [b"a unet"]

    def test_an_announced_file_that_a_row_names_is_kept(self, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, UNET)
        with hold_add_lock(scene.database) as connection:
            announce(connection, stored_files(store, UNET))
        assert tidy(scene.database, store) == 0
        assert kept(store) == [b"a unet"]
        assert scene.scalar("SELECT count(*) FROM discards") == 0

    def test_weights_that_this_farm_never_announced_are_left_alone(self, scene: Scene, store: Store) -> None:
        stored_files(store, VAE)
        assert tidy(scene.database, store) == prune(scene.database, store) == 0
        assert kept(store) == [b"a vae"]

    def test_objects_that_are_no_weights_are_kept(self, scene: Scene, store: Store) -> None:
        store.put("results/1/1-1.png", b"an image", "image/png")
        assert tidy(scene.database, store) == 0
        assert list(store.keys()) == ["results/1/1-1.png"]

    def test_files_that_removed_rows_name_are_kept(self, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, UNET)
        an_addon(scene.database, store, "lora", "detail", b"a lora")
        remove(scene, "demo")
        with scene.database.begin() as session:
            addons.remove(session, "lora", "detail")
        assert tidy(scene.database, store) == 0
        assert kept(store) == [b"a lora", b"a unet"]

    def test_a_folder_registered_in_place_is_no_obstacle_to_tidying(self, scene: Scene, store: Store) -> None:
        scene.submit()
        assert tidy(scene.database, store) == 0

    def test_files_are_not_deleted_while_another_process_adds(
        self, scene: Scene, others: Database, store: Store
    ) -> None:
        with hold_add_lock(others) as connection:
            announce(connection, stored_files(store, UNET))
            assert tidy(scene.database, store) == 0
        assert tidy(scene.database, store) == 1

    def test_several_processes_may_add_at_once(self, scene: Scene, others: Database) -> None:
        with hold_add_lock(others), hold_add_lock(scene.database):
            pass

    def test_the_last_process_to_add_deletes_the_files_of_one_that_failed(
        self, scene: Scene, others: Database, store: Store
    ) -> None:
        with hold_add_lock(others):
            with hold_add_lock(scene.database) as connection:
                announce(connection, stored_files(store, UNET))
            assert tidy(scene.database, store) == 0
        assert tidy(others, store) == 1

    def test_files_of_a_killed_process_are_deleted(self, scene: Scene, store: Store) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", _ADD_FOR_EVER, scene.database.url, str(scene.settings.store_url)],
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            assert tidy(scene.database, store) == 0
            os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: tidy(scene.database, store) == 1, seconds=10)
        assert kept(store) == []

    def test_a_process_that_lost_the_lock_registers_nothing(self, scene: Scene, store: Store) -> None:
        with hold_add_lock(scene.database) as connection:
            files = stored_files(store, UNET)
            scene.end_other_sessions()
            with pytest.raises(DBAPIError), Session(connection) as session, session.begin():
                checkpoints.add(session, "demo", StoredCheckpoint("sd15", "a" * 64, files))
        assert scene.scalar("SELECT count(*) FROM checkpoints") == 0


_ADD_FOR_EVER = """
import sys, time
from farm.db.connection import Database, Role
from farm.store.disk import DiskStore
from farm.store.links import LinkSigner
from farm.weights.blobs import StoredFile, announce, hold_add_lock
with hold_add_lock(Database(sys.argv[1], Role.TOOL)) as connection:
    announce(connection, [StoredFile("c", "c" * 64, 1)])
    DiskStore(sys.argv[2].removeprefix("file://"), LinkSigner("k" * 16)).put("weights/" + "c" * 64, b"c", "x/y")
    print("put", flush=True)
    time.sleep(600)
"""


class TestPruning:
    def test_files_that_no_registered_name_uses_are_pruned(self, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, UNET | VAE, "old")
        a_stored_checkpoint(scene.database, store, VAE, "new")
        remove(scene, "old")
        assert prune(scene.database, store) == 1
        assert kept(store) == [b"a vae"]

    def test_weights_that_images_wait_for_are_kept_until_those_are_done(self, scene: Scene, store: Store) -> None:
        a_stored_checkpoint(scene.database, store, UNET)
        submit(scene)
        remove(scene, "demo")
        assert prune(scene.database, store) == 0
        batch = claim(scene.database, a_worker(scene.database))
        assert batch is not None
        assert prune(scene.database, store) == 0
        for lease in batch.leases:
            scene.publish(lease)
        assert prune(scene.database, store) == 1

    def test_an_addon_that_an_image_waits_for_is_kept(self, scene: Scene, store: Store) -> None:
        job_id = scene.submit()
        wanted = an_addon(scene.database, store, "lora", "wanted", b"wanted")
        an_addon(scene.database, store, "lora", "unwanted", b"unwanted")
        let_specs_name(scene, job_id, wanted)
        with scene.database.begin() as session:
            for name in ("wanted", "unwanted"):
                addons.remove(session, "lora", name)
        assert prune(scene.database, store) == 1
        assert kept(store) == [b"wanted"]

    def test_pruning_is_refused_while_weights_are_added(
        self, scene: Scene, others: Database, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("farm.weights.blobs._PATIENCE_SECONDS", 0)
        with hold_add_lock(others), pytest.raises(Conflict, match="are being added now"):
            prune(scene.database, store)

    def test_pruning_waits_for_a_job_that_is_being_accepted(
        self, scene: Scene, others: Database, store: Store
    ) -> None:
        with others.begin() as session:
            checkpoints.by_name(session)
            with pytest.raises(Conflict, match="Another transaction uses the table checkpoints"):
                prune(scene.database, store)
