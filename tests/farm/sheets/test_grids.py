"""The labelled pictures of sweeps: what is drawn, when, and where."""

import io
from collections.abc import Sequence

import pytest
from PIL import Image
from sqlalchemy import insert, update

from farm.db.tables.artifacts import Discard
from farm.db.tables.jobs import Job
from farm.errors import StoreOutage, StoreRefused
from farm.queue import steering
from farm.sheets.grids import draw_job
from farm.sheets.layout import Figure, Sheet, TooLarge
from farm.store.keys import GRIDS
from farm.upkeep import retention
from farm.upkeep.cleaner import Cleaner
from farm.upkeep.gridmaker import GridMaker
from tests.factories import Scene
from tests.fakes import FailingStore, MemoryStore

RED, BLUE = (200, 10, 10), (10, 10, 200)


def a_picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


def a_figure(columns: Sequence[str], rows: Sequence[str] = ("",), *, sheets: int = 1, title: str = "") -> Figure:
    return Figure("a fox", [Sheet(title, columns, rows)] * sheets, (64, 64))


def drawn_figure(figure: Figure) -> Image.Image:
    return Image.open(io.BytesIO(figure.png())).convert("RGB")


class TestFigure:
    def test_each_image_lies_in_its_column_and_row(self) -> None:
        figure = a_figure(["Steps: 4", "Steps: 5"], ["Seed: 1"])
        figure.paste(0, (0, 0), a_picture(RED))
        figure.paste(0, (1, 0), a_picture(BLUE))
        grid = drawn_figure(figure)
        colours = [grid.getpixel((x, grid.height - 40)) for x in range(grid.width)]
        assert colours.index(RED) < colours.index(BLUE)
        assert colours.count(RED) == colours.count(BLUE) == 64

    def test_labels_take_room_above_and_beside(self) -> None:
        bare, labelled = a_figure([""]), a_figure(["Steps: 4"], ["CFG scale: 7"], title="Seed: 3")
        assert labelled.size[0] - bare.size[0] >= 150
        assert labelled.size[1] - bare.size[1] >= 40

    def test_images_of_several_sizes_keep_their_proportions(self) -> None:
        figure = a_figure(["a", "b"])
        figure.paste(0, (0, 0), a_picture(RED))
        figure.paste(0, (1, 0), a_picture(BLUE, (32, 64)))
        grid = drawn_figure(figure)
        colours = [grid.getpixel((x, grid.height - 40)) for x in range(grid.width)]
        assert (colours.count(RED), colours.count(BLUE)) == (64, 32)

    def test_the_sheets_of_a_third_axis_lie_beside_or_below_each_other(self) -> None:
        beside, below = a_figure(["a"], ["r"] * 12, sheets=2), a_figure(["a"] * 12, sheets=2)
        assert beside.size[0] > 2 * 64 + 190
        assert below.size[1] > 2 * 64
        for figure in (beside, below):
            figure.paste(0, (0, 0), a_picture(RED))
            figure.paste(1, (0, 0), a_picture(BLUE))
            assert {RED, BLUE} <= {colour for _, colour in drawn_figure(figure).getcolors(2**20) or ()}

    @pytest.mark.parametrize(("across", "sheets"), [(60, 1), (30, 10), (150, 1)])
    def test_a_large_figure_is_scaled_down_as_a_whole(self, across: int, sheets: int) -> None:
        names = [str(number) for number in range(across)]
        figure = Figure("many", [Sheet("", names, names)] * sheets, (512, 512))
        assert figure.size[0] * figure.size[1] <= 41_000_000

    def test_a_grid_too_large_to_be_seen_is_not_drawn(self) -> None:
        names = [str(number) for number in range(1000)]
        with pytest.raises(TooLarge):
            Figure("too many", [Sheet("", names, names)], (512, 512))


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
    """The keys of the job's grids, in order."""
    keys = "SELECT key FROM artifacts a JOIN grids g ON g.artifact_id = a.id WHERE g.job_id = :id ORDER BY g.number"
    return [str(key) for key in scene.column(keys, id=job_id)]


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
    (first, *_) = scene.claim(scene.worker(), limit=1)
    scene.fail(first, "it broke", is_retryable=False)
    render_all(scene, store)
    make_grids(scene, store)
    [before] = drawn(scene, job_id)
    steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
    make_grids(scene, store)
    render_all(scene, store)
    make_grids(scene, store)
    [after] = drawn(scene, job_id)
    assert after != before
    make_grids(scene, store)
    assert [key for key in store.objects if key.startswith(GRIDS)] == [after]


def test_a_sweep_that_is_retried_and_called_off_keeps_its_grid(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    (first, *_) = scene.claim(scene.worker(), limit=1)
    scene.fail(first, "it broke", is_retryable=False)
    render_all(scene, store)
    make_grids(scene, store)
    steering.retry(scene.database, scene.settings, scene.doorbell, job_id)
    steering.cancel(scene.database, job_id)
    for _ in range(3):
        make_grids(scene, store)
        Cleaner(scene.settings, scene.database, store).make_round()
    assert drawn(scene, job_id) == [key for key in store.objects if key.startswith(GRIDS)]


def test_a_deleted_sweep_leaves_no_grid_behind(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, store)
    scene.let_days_pass(40)
    with scene.database.begin() as session:
        assert retention.delete_job(session, job_id, 30)
    make_grids(scene, store)
    assert not any(key.startswith(GRIDS) for key in store.objects)
    assert scene.scalar("SELECT count(*) FROM artifacts") == 0


def test_a_grid_drawn_before_a_crash_is_deleted(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    with pytest.raises(OSError, match="power"):
        draw_job(scene.database, CrashingStore(store), job_id)
    make_grids(scene, store)
    assert drawn(scene, job_id) == [key for key in store.objects if key.startswith(GRIDS)]


def test_one_sweep_that_cannot_be_drawn_holds_up_no_other(scene: Scene, store: MemoryStore) -> None:
    first, second = a_sweep(scene), a_sweep(scene)
    render_all(scene, store)
    failing = FailingStore(failures=1)
    failing.objects = store.objects
    make_grids(scene, failing)
    assert (drawn(scene, first), len(drawn(scene, second))) == ([], 1)


def test_an_image_that_cannot_be_read_now_leaves_no_gap(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, AwayStore(store))
    assert drawn(scene, job_id) == []
    make_grids(scene, store)
    with Image.open(io.BytesIO(store.objects[drawn(scene, job_id)[0]])) as grid:
        assert sum(grid.convert("RGB").getpixel((x, grid.height - 40)) == RED for x in range(grid.width)) == 3 * 64


def test_a_grid_that_the_store_refuses_to_delete_holds_up_no_other(scene: Scene, store: MemoryStore) -> None:
    with scene.database.begin() as session:
        session.execute(insert(Discard).values(key=f"{GRIDS}1/0-held.png"))
    job_id = a_sweep(scene)
    render_all(scene, store)
    make_grids(scene, RefusingStore(store))
    assert len(drawn(scene, job_id)) == 1


def test_sweeps_that_can_never_be_drawn_hold_up_no_other(
    scene: Scene, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.upkeep.gridmaker._MOST_JOBS", 2)
    unreadable = [a_sweep(scene) for _ in range(3)]
    job_id = a_sweep(scene)
    render_all(scene, store)
    with scene.database.begin() as session:
        spoilt = update(Job).where(Job.id.in_(unreadable)).values(request={"prompts": "from another release"})
        session.execute(spoilt)
    maker = GridMaker(scene.settings, scene.database, store)
    for _ in range(2):
        maker.make_round()
    assert len(drawn(scene, job_id)) == 1


class AwayStore(MemoryStore):
    """A store that cannot be read now."""

    def __init__(self, other: MemoryStore) -> None:
        self.objects, self.media_types = other.objects, other.media_types

    def get(self, key: str) -> bytes:
        raise StoreOutage(f"Could not read {key}: InternalError")


class RefusingStore(MemoryStore):
    """A store where nothing may be deleted."""

    def __init__(self, other: MemoryStore) -> None:
        self.objects, self.media_types = other.objects, other.media_types

    def delete(self, key: str) -> None:
        raise StoreRefused(f"Could not delete {key}: AccessDenied")


def test_a_damaged_image_leaves_a_gap(scene: Scene, store: MemoryStore) -> None:
    job_id = a_sweep(scene)
    render_all(scene, store)
    for key in list(store.objects):
        store.objects[key] = b"no picture"
    make_grids(scene, store)
    assert len(drawn(scene, job_id)) == 1


class CrashingStore(MemoryStore):
    """A store whose machine loses its power once an object is kept."""

    def __init__(self, other: MemoryStore) -> None:
        self.objects, self.media_types = other.objects, other.media_types

    def put(self, key: str, content: bytes, media_type: str) -> None:
        super().put(key, content, media_type)
        raise OSError("the power is gone")
