"""The labelled pictures of sweeps: what is drawn, when, and where."""

import io
from collections.abc import Sequence

import pytest
from PIL import Image

from farm import jobs, retention
from farm.grids import GridMaker, grids
from farm.gridsheet import Sheet, draw_sheet
from tests.factories import Scene
from tests.fakes import FailingStore, MemoryStore

RED, BLUE = (200, 10, 10), (10, 10, 200)


def a_picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


class TestSheet:
    def test_each_picture_lies_in_its_column_and_row(self) -> None:
        sheet = Sheet("a fox", ["Steps: 4", "Steps: 5"], ["Seed: 1"])
        grid = draw_sheet(sheet, {(0, 0): a_picture(RED), (1, 0): a_picture(BLUE)})
        colours = [grid.getpixel((x, grid.height - 40)) for x in range(grid.width)]
        assert colours.index(RED) < colours.index(BLUE)
        assert colours.count(RED) == colours.count(BLUE) == 64

    def test_labels_are_drawn_above_and_beside(self) -> None:
        bare = draw_sheet(Sheet("", [""], [""]), {(0, 0): a_picture(RED)})
        labelled = draw_sheet(Sheet("Seed: 3", ["Steps: 4"], ["CFG scale: 7"]), {(0, 0): a_picture(RED)})
        assert bare.size == (64 + 32, 64 + 32 + 8)
        assert labelled.width - bare.width >= 150
        assert labelled.height - bare.height >= 40

    def test_a_place_without_a_picture_stays_empty(self) -> None:
        grid = draw_sheet(Sheet("", ["a", "b"], [""]), {(0, 0): a_picture(RED)})
        assert grid.width >= 2 * 64

    def test_pictures_of_several_sizes_keep_their_proportions(self) -> None:
        grid = draw_sheet(Sheet("", ["a", "b"], [""]), {(0, 0): a_picture(RED), (1, 0): a_picture(BLUE, (32, 64))})
        colours = [grid.getpixel((x, grid.height - 40)) for x in range(grid.width)]
        assert (colours.count(RED), colours.count(BLUE)) == (64, 32)

    def test_a_huge_grid_is_scaled_down(self) -> None:
        names = [str(number) for number in range(20)]
        pictures = {(x, y): a_picture(RED, (512, 512)) for x in range(20) for y in range(20)}
        grid = draw_sheet(Sheet("many", names, names), pictures)
        assert grid.width * grid.height < 100_000_000


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def make_grids(scene: Scene, store: MemoryStore) -> None:
    GridMaker(scene.settings, scene.database, store).make_round()


def render_all(scene: Scene, store: MemoryStore) -> None:
    worker_id = scene.worker()
    while leases := scene.claim(worker_id):
        for lease in leases:
            assert scene.publish(lease)
    buffer = io.BytesIO()
    a_picture(RED).save(buffer, "PNG")
    for key in scene.column("SELECT key FROM artifacts WHERE role = 'result'"):
        store.objects[str(key)] = buffer.getvalue()


def drawn(scene: Scene, job_id: int) -> Sequence[str]:
    with scene.database.begin() as session:
        return [grid.artifact.key for grid in grids(session, job_id)]


def a_sweep(scene: Scene, *extra: dict[str, object], **fields: object) -> int:
    axes = [{"field": "num_inference_steps", "values": [4, 5, 6]}, {"field": "guidance_scale", "values": [3, 7]}]
    return scene.submit(axes=[*axes, *extra], width=64, height=64, **fields)


def test_a_finished_sweep_has_its_grid(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    make_grids(scene, store)
    assert drawn(scene, job_id) == []
    render_all(scene, store)
    make_grids(scene, store)
    [key] = drawn(scene, job_id)
    with Image.open(io.BytesIO(store.objects[key])) as grid:
        assert grid.width > 3 * 64
        assert grid.height > 2 * 64


def test_prompts_and_repeats_have_grids_of_their_own_and_a_third_axis_lies_inside(
    scene: Scene, store: MemoryStore
) -> None:
    job_id = a_sweep(scene, {"field": "seed", "values": [1, 5]}, prompts=["a", "b"], images_per_prompt=2)
    render_all(scene, store)
    make_grids(scene, store)
    assert len(drawn(scene, job_id)) == 2 * 2


def test_a_job_without_axes_has_no_grid(scene: Scene, store: MemoryStore) -> None:
    job_id = scene.submit()
    render_all(scene, store)
    make_grids(scene, store)
    assert drawn(scene, job_id) == []


def test_a_grid_that_could_not_be_stored_is_drawn_again(scene: Scene) -> None:
    store = FailingStore(failures=1)
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, store)
    assert drawn(scene, job_id) == []
    make_grids(scene, store)
    assert len(drawn(scene, job_id)) == 1


def test_an_image_that_is_missing_leaves_a_gap_and_no_more(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    store.objects.clear()
    make_grids(scene, store)
    assert len(drawn(scene, job_id)) == 1


def test_a_grid_is_drawn_once(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, store)
    before = drawn(scene, job_id)
    make_grids(scene, store)
    assert drawn(scene, job_id) == before
    assert scene.scalar("SELECT count(*) FROM artifacts WHERE role = 'grid'") == 1


def test_a_retried_sweep_is_drawn_anew(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    worker_id = scene.worker()
    (first, *_) = scene.claim(worker_id, limit=1)
    scene.fail(first, "it broke", is_retryable=False)
    render_all(scene, store)
    make_grids(scene, store)
    [before] = drawn(scene, job_id)
    jobs.retry(scene.database, scene.settings, scene.doorbell, job_id)
    make_grids(scene, store)
    render_all(scene, store)
    make_grids(scene, store)
    [after] = drawn(scene, job_id)
    assert after != before
    assert scene.column("SELECT key FROM discards") == [before]


def test_a_deleted_sweep_leaves_no_grid_behind(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, store)
    [key] = drawn(scene, job_id)
    scene.let_days_pass(40)
    with scene.database.begin() as session:
        assert retention.delete_job(session, job_id, 30)
    assert key in scene.column("SELECT key FROM discards")
    assert scene.scalar("SELECT count(*) FROM artifacts") == 0
