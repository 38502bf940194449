"""A repeat of a request is known in every release, whichever took the first: its hash never changes."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from farm.intake.fingerprints import fingerprint
from farm.intake.repeats import AcceptedJob
from farm.intake.request import JobRequest, PromptRow, parse_request
from farm.spec.fields import Moment
from tests.factories import Scene, a_checkpoint, a_request, accept

HASHES = Path(__file__).parents[2] / "releases" / "0.1.0-requests.jsonl"


def hashed() -> list[tuple[str, dict[str, Any]]]:
    """The hashes under which release 0.1.0 keeps requests."""
    known = [json.loads(line) for line in HASHES.read_text().splitlines()]
    return [(each["sha256"], each["request"]) for each in known]


@pytest.mark.parametrize(("sha256", "request_"), hashed())
def test_a_request_has_the_hash_that_the_release_before_gave_it(sha256: str, request_: dict[str, Any]) -> None:
    assert parse_request(request_).fingerprint == sha256


def redeclared(model: type[BaseModel], **changed: Any) -> type[BaseModel]:
    """A request of a release to come: the fields stand in the reverse order, and some are others."""
    fields = {name: (known.annotation, known) for name, known in reversed(model.model_fields.items())}
    config = ConfigDict(extra="forbid", populate_by_name=True)
    return create_model(model.__name__, __config__=config, **{**fields, **changed})


@pytest.mark.parametrize(("sha256", "request_"), hashed())
def test_the_order_of_fields_does_not_change_the_hash(sha256: str, request_: dict[str, Any]) -> None:
    written = parse_request(request_).model_dump(exclude_unset=True)
    rows = list[redeclared(PromptRow)]  # type: ignore[misc]
    assert fingerprint(redeclared(JobRequest, prompts=(rows, ...))(**written)) == sha256


@pytest.mark.parametrize(
    "changed",
    [
        {"tone": (str | None, None)},
        {"passes": (int, 1)},
        {"labels": (list[str], Field(default_factory=list))},
        {"priority": (int, 40)},
        {"guidance_scale": (float | None, 5.0)},
        {"seed": (int | None, Field(None, alias="noise"))},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_field_that_is_added_changed_or_given_an_alias_does_not_change_the_hash(changed: dict[str, Any]) -> None:
    written = {"prompts": [{"prompt": "a lighthouse"}], "width": 768, "seed": 7}
    assert fingerprint(redeclared(JobRequest, **changed)(**written)) == parse_request(written).fingerprint


def test_a_value_that_a_release_made_the_default_still_counts() -> None:
    later = redeclared(JobRequest, priority=(int, 40))
    written = {"prompts": [{"prompt": "a lighthouse"}]}
    assert fingerprint(later(**written, priority=40)) != fingerprint(later(**written))


def test_an_added_field_counts_if_it_differs_from_its_default() -> None:
    later = redeclared(JobRequest, passes=(int, 1))
    written = {"prompts": [{"prompt": "a lighthouse"}]}
    assert fingerprint(later(**written, passes=2)) != fingerprint(later(**written))
    assert fingerprint(later(**written, passes=1)) == fingerprint(later(**written))


class Sayings(BaseModel):
    moment: Moment | None = None
    day: date | None = None


def test_equal_moments_have_one_hash_in_every_zone() -> None:
    moments = ("2030-01-31T08:00:00Z", "2030-01-31T09:00:00+01:00", datetime(2030, 1, 31, 8, tzinfo=UTC))
    assert len({fingerprint(Sayings.model_validate({"moment": moment})) for moment in moments}) == 1


def test_a_value_without_a_stable_form_is_never_hashed() -> None:
    with pytest.raises(TypeError, match="must not hold a date"):
        fingerprint(Sayings(day=date(2030, 1, 31)))


def kept_hash(scene: Scene, job_id: int) -> object:
    return scene.scalar(f"SELECT request_sha256 FROM jobs WHERE id = {job_id}")


def submit(scene: Scene, key: str) -> AcceptedJob:
    return accept(scene.database, scene.settings, scene.doorbell, a_request(), key=key)


# Of a_request().
SHA256_IN_0_1_0 = "c2e41821f00c13e1e6b560e213fc4d8c85e3b838b1fa7bb2704121422d116685"


def test_a_repeat_to_a_portal_of_the_release_before_finds_its_hash(scene: Scene) -> None:
    a_checkpoint(scene.database)
    assert kept_hash(scene, submit(scene, "monday").job_id) == SHA256_IN_0_1_0


def test_a_repeat_of_what_the_release_before_accepted_is_known(scene: Scene) -> None:
    a_checkpoint(scene.database)
    first = submit(scene, "monday")
    scene.scalar(f"UPDATE jobs SET request_sha256 = '{SHA256_IN_0_1_0}' WHERE id = {first.job_id} RETURNING id")
    assert submit(scene, "monday").job_id == first.job_id
