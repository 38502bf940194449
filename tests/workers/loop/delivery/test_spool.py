"""Rendered images on disk: whole or not at all, and taken over by the next worker."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm.errors import ConfigError
from farm.queue.claimed import Lease
from farm.spec.modes import read_spec
from tests.factories import a_spec
from workers.loop.delivery import spoolfile
from workers.loop.delivery.spool import Spool, attempts_in, prepare
from workers.loop.delivery.spoolfile import DamagedFile, EncodedFile, FinishedImage

OpenSpool = Callable[..., Spool]


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[OpenSpool]:
    """Open the spools of workers by their id."""
    opened: list[Spool] = []

    def open_one(worker_id: int = 1, *, limit_bytes: int = 2**30, batch: int = 1) -> Spool:
        opened.append(Spool(tmp_path, worker_id, limit_bytes=limit_bytes, batch=batch))
        opened[-1].open()
        return opened[-1]

    yield open_one
    for spool in opened:
        spool.close()


def an_image(task_id: int = 5, attempt: int = 2, size: int = 1000) -> FinishedImage:
    return FinishedImage(
        lease=Lease(task_id, 3, attempt, a_spec(prompt="a fox ü")),
        image=EncodedFile(b"i" * size, "image/png", ".png", 64, 64),
        thumbnail=EncodedFile(b"t" * 10, "image/jpeg", ".jpg", 32, 32),
        gpu_seconds=0.5,
        timings={"render": 0.4},
        provenance={"bucket": 2, "versions": {"torch": "2"}},
        relief=("caches freed",),
    )


def adopt_all(spool: Spool) -> list[Path]:
    with spool.take_abandoned() as paths:
        return [spool.adopt(path) for path in paths]


def test_an_image_that_was_put_is_read_back_the_same(open_spool: OpenSpool) -> None:
    spool = open_spool()
    assert spoolfile.read(spool.put(an_image())) == an_image()


RECORDS = (Path(__file__).parents[3] / "releases" / "0.1.0-spool.jsonl").read_text().splitlines()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: json.loads(record)["lease"]["spec"]["mode"])
def test_an_image_of_every_mode_that_an_earlier_release_spooled_is_read_whole(tmp_path: Path, record: str) -> None:
    """Lines as that release wrote them: an update must not lose what waits."""
    with zipfile.ZipFile(tmp_path / "5-2.image", "w") as archive:
        archive.writestr("record.json", record)
        archive.writestr("image", b"i")
        archive.writestr("thumbnail", b"t")
    finished = spoolfile.read(tmp_path / "5-2.image")
    assert finished.lease.spec.model_dump(mode="json") == json.loads(record)["lease"]["spec"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: json.loads(record)["lease"]["spec"]["mode"])
def test_an_image_of_every_mode_is_spooled_as_an_earlier_release_reads_it(tmp_path: Path, record: str) -> None:
    """A release may be rolled back while images wait."""
    lease = json.loads(record)["lease"]
    finished = replace(an_image(), lease=Lease(**{**lease, "spec": read_spec(lease["spec"])}))
    spoolfile.write(tmp_path / "5-2.image", finished)
    with zipfile.ZipFile(tmp_path / "5-2.image") as archive:
        assert json.loads(archive.read("record.json"))["lease"] == lease


def test_a_spool_knows_whose_images_it_holds(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(worker_id=4)
    spool.put(an_image(5, 2))
    spool.drop(spool.put(an_image(6, 1)))
    assert attempts_in(tmp_path) == {(5, 2)}
    assert attempts_in(tmp_path / "nowhere") == set()


def test_a_file_cut_short_is_recognised_as_damaged(open_spool: OpenSpool) -> None:
    spool = open_spool()
    path = spool.put(an_image())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedFile):
        spoolfile.read(path)


def test_a_file_with_a_changed_byte_is_recognised_as_damaged(open_spool: OpenSpool) -> None:
    spool = open_spool()
    path = spool.put(an_image())
    path.write_bytes(path.read_bytes().replace(b"iii", b"iji", 1))
    with pytest.raises(DamagedFile):
        spoolfile.read(path)


def test_the_images_of_a_worker_that_is_gone_are_adopted(open_spool: OpenSpool, tmp_path: Path) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    heir = open_spool(2)
    [path] = adopt_all(heir)
    assert spoolfile.read(path) == an_image()
    assert not (tmp_path / "1").exists()


def test_a_half_written_image_of_a_worker_that_is_gone_is_dropped(open_spool: OpenSpool, tmp_path: Path) -> None:
    gone = open_spool(1)
    gone.put(an_image()).rename(tmp_path / "1" / "5-2.part")
    gone.close()
    assert adopt_all(open_spool(2)) == []
    assert not (tmp_path / "1").exists()


def test_the_images_of_a_worker_that_lives_are_left_alone(open_spool: OpenSpool, tmp_path: Path) -> None:
    open_spool(1).put(an_image())
    assert adopt_all(open_spool(2)) == []
    assert attempts_in(tmp_path) == {(5, 2)}


def test_abandoned_images_are_offered_to_one_worker_at_a_time(open_spool: OpenSpool) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    first, second = open_spool(2), open_spool(3)
    with first.take_abandoned() as offered, second.take_abandoned() as also_offered:
        assert (len(offered), also_offered) == (1, [])


def test_an_image_that_is_offered_and_not_adopted_stays_for_the_next_worker(
    open_spool: OpenSpool, tmp_path: Path
) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    with open_spool(2).take_abandoned():
        pass
    assert attempts_in(tmp_path) == {(5, 2)}
    assert len(adopt_all(open_spool(3))) == 1


def test_an_image_is_found_after_another_worker_adopted_it(open_spool: OpenSpool, tmp_path: Path) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    adopt_all(open_spool(2))
    assert attempts_in(tmp_path) == {(5, 2)}


def test_a_foreign_file_in_the_spool_is_no_attempt(open_spool: OpenSpool, tmp_path: Path) -> None:
    open_spool(1)
    (tmp_path / "1" / "holiday.image").touch()
    assert attempts_in(tmp_path) == set()


def test_an_image_is_adopted_once(open_spool: OpenSpool) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    first, second = open_spool(2), open_spool(3)
    assert (len(adopt_all(first)), len(adopt_all(second))) == (1, 0)


def test_a_spool_is_full_once_another_batch_might_not_fit(open_spool: OpenSpool) -> None:
    size = (spool := open_spool()).put(an_image()).stat().st_size
    spool.close()
    small = open_spool(2, limit_bytes=4 * size, batch=2)
    fullness = []
    for task_id in range(3):
        small.put(an_image(task_id))
        fullness.append(small.is_full)
    assert fullness == [False, False, True]


def test_a_spool_has_room_again_once_images_are_dropped(open_spool: OpenSpool) -> None:
    spool = open_spool(limit_bytes=2000, batch=1)
    path = spool.put(an_image())
    assert spool.is_full
    spool.drop(path)
    assert not spool.is_full


def test_adopted_images_count_towards_the_limit_of_the_spool(open_spool: OpenSpool) -> None:
    gone = open_spool(1)
    gone.put(an_image())
    gone.close()
    heir = open_spool(2, limit_bytes=1500)
    adopt_all(heir)
    assert heir.is_full


def test_a_closed_spool_that_is_empty_leaves_no_folder(open_spool: OpenSpool, tmp_path: Path) -> None:
    spool = open_spool(1)
    spool.drop(spool.put(an_image()))
    spool.close()
    assert not (tmp_path / "1").exists()


def test_a_folder_that_cannot_be_made_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="FARM_SPOOL_DIR"):
        prepare(tmp_path / "file" / "spool")


def test_room_is_kept_for_images_that_are_not_yet_encoded(open_spool: OpenSpool) -> None:
    spool = open_spool(limit_bytes=5000)
    for task_id in (1, 2):
        spool.expect(an_image(task_id).lease, 2000)
    assert spool.is_full
    spool.put(an_image(1))
    spool.give_up(an_image(2).lease)
    assert not spool.is_full
