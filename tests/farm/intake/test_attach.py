"""A request's pictures are taken in once each, and not too many of them."""

import base64
from dataclasses import replace

import pytest

from farm.errors import InvalidRequest
from farm.intake.attach import attach_pictures
from farm.intake.request import JobRequest, parse_request
from farm.pictures.uploads import Desk
from tests.factories import Scene
from tests.fakes import MemoryStore
from tests.pictures import a_picture, encoded

UPLOADED = "f" * 64


class CountingStore(MemoryStore):
    """A store that counts what is put."""

    puts = 0

    def put(self, key: str, content: bytes, media_type: str) -> None:
        self.puts += 1
        super().put(key, content, media_type)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def desk(scene: Scene, store: CountingStore) -> Desk:
    return Desk(scene.database, store, scene.settings)


def brought(width: int = 48) -> str:
    return base64.b64encode(encoded(a_picture(width))).decode()


def asking(*images: str, mode: str = "img2img", **fields: str) -> JobRequest:
    """A request with a row for each image."""
    rows = [{"prompt": "a fox", "image": image} for image in images]
    return parse_request({"mode": mode, "prompts": rows, **fields})


def kept(desk: Desk, request: JobRequest) -> JobRequest:
    return attach_pictures(desk, request).request


def refusal(desk: Desk, request: JobRequest) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        attach_pictures(desk, request)
    return [(problem.field, problem.message) for problem in refused.value.problems]


def test_a_picture_in_several_rows_is_taken_in_once(desk: Desk, store: CountingStore) -> None:
    taken = kept(desk, asking(*[brought()] * 100))
    assert store.puts == 1
    assert {f"inputs/{row.image}.png" for row in taken.prompts} == set(store.objects)


def test_a_picture_that_is_its_own_mask_is_kept_as_both(desk: Desk, store: CountingStore) -> None:
    taken = kept(desk, asking(brought(), mode="inpaint", mask=brought()))
    assert store.puts == 2
    assert taken.mask != taken.prompts[0].image


def test_each_row_with_a_bad_picture_is_named(desk: Desk) -> None:
    problems = refusal(desk, asking("aGVsbG8=", UPLOADED, "aGVsbG8="))
    assert [field for field, _ in problems] == ["prompts[0].image", "prompts[2].image"]
    assert all("is not a picture" in message for _, message in problems)


def test_a_request_may_bring_64_pictures_and_no_more(desk: Desk, store: CountingStore) -> None:
    assert len(kept(desk, asking(*(brought(width) for width in range(40, 104)))).prompts) == store.puts == 64
    ((field, message),) = refusal(desk, asking(*(brought(width) for width in range(40, 105))))
    assert (field, message.partition(";")[0]) == ("image", "at most 64 pictures in one request")
    assert "/api/v1/uploads" in message
    assert store.puts == 64


def test_the_pictures_of_a_request_have_a_budget_that_is_checked_before_the_first_is_read(
    desk: Desk, store: CountingStore
) -> None:
    small = replace(desk, settings=desk.settings.model_copy(update={"max_upload_pixels": 10_000}))
    ((field, message),) = refusal(small, asking(*(brought(width) for width in range(290, 295))))
    assert (field, store.puts) == ("image", 0)
    assert "take as long to read as 46,720 pixels or more; 40,000 are allowed" in message


def test_uploads_that_are_named_are_not_counted(desk: Desk) -> None:
    request = asking(*(f"{number:064x}" for number in range(1000)))
    assert kept(desk, request) == request


def test_a_request_may_point_to_8_addresses_and_no_more(desk: Desk) -> None:
    addresses = [f"https://example.com/{number}.png" for number in range(9)]
    assert refusal(desk, asking(*addresses)) == [
        ("image", "at most 8 addresses in one request; send the pictures ahead")
    ]
    assert all("FARM_FETCH_URLS" in message for _, message in refusal(desk, asking(*addresses[:8] * 2)))
