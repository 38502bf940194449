"""Uploaded pictures as the store keeps them."""

import pytest
from PIL import Image

from farm.errors import CannotRender, RenderError, StoreAway, StoreError, StoreOutage, StoreRefused
from tests.fakes import MemoryStore
from tests.workers.studios import STORE, a_mask, a_picture, as_pixels, upload
from workers.canvas import inputs as inputs_module
from workers.canvas.inputs import NoInputs, StoredInputs


class AwayStore(MemoryStore):
    """A store that gives nothing."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self._error = error

    def get(self, key: str) -> bytes:
        raise self._error


def test_a_picture_is_rgb_and_a_mask_is_grey() -> None:
    inputs = StoredInputs(STORE)
    picture = inputs.picture(upload(a_picture()))
    assert picture.mode == "RGB"
    assert (as_pixels(picture) == as_pixels(a_picture())).all()
    assert inputs.picture(upload(a_mask((64, 64), (0, 0, 9, 9)))).mode == "L"


def test_a_picture_is_read_once_while_it_is_kept() -> None:
    inputs = StoredInputs(STORE)
    name = upload(a_picture())
    assert inputs.picture(name) is inputs.picture(name)


def test_the_oldest_pictures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_module, "_KEPT_PIXELS", 2 * 64 * 64)
    inputs = StoredInputs(STORE)
    names = [upload(a_picture(seed=seed)) for seed in range(3)]
    first, *_, last = [inputs.picture(name) for name in names]
    assert inputs.picture(names[2]) is last
    assert inputs.picture(names[0]) is not first


def test_a_picture_larger_than_what_is_kept_is_still_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_module, "_KEPT_PIXELS", 1)
    assert StoredInputs(STORE).picture(upload(a_picture())).size == (64, 64)


def test_a_missing_picture_is_named_and_not_retried() -> None:
    with pytest.raises(CannotRender, match="d" * 64):
        StoredInputs(MemoryStore()).picture("d" * 64)


@pytest.mark.parametrize("error", [StoreOutage("InternalError"), StoreRefused("AccessDenied")])
def test_an_outage_of_the_store_is_not_taken_for_a_missing_picture(error: StoreError) -> None:
    with pytest.raises(StoreAway, match=f"d cannot be read from the store now. {error}"):
        StoredInputs(AwayStore(error)).picture("d" * 64)


def test_an_error_of_another_kind_is_retried() -> None:
    with pytest.raises(RenderError, match="Is a directory") as caught:
        StoredInputs(AwayStore(StoreError("Is a directory"))).picture("d" * 64)
    assert caught.value.is_retryable
    assert not isinstance(caught.value, StoreAway)


def test_a_picture_that_does_not_decode_is_not_retried() -> None:
    store = MemoryStore()
    store.put("inputs/broken.png", b"no picture", "image/png")
    store.put("inputs/cut.png", STORE.get(f"inputs/{upload(Image.new('RGB', (64, 64)))}.png")[:40], "image/png")
    for name in ("broken", "cut"):
        with pytest.raises(CannotRender, match=f"{name} does not decode"):
            StoredInputs(store).picture(name)


def test_a_renderer_without_uploads_gives_no_picture() -> None:
    with pytest.raises(CannotRender):
        NoInputs().picture("d" * 64)
