"""A name that stands for weights from an address, and an address that is given with a hash."""

import pytest

from farm.config import Settings
from farm.errors import Conflict
from farm.weights.hub.sources import WebSource
from farm.weights.present import refuse_other_origin

ORIGIN = f"https://host/a.ckpt#sha256={'ab' * 32}"


@pytest.mark.parametrize("sha256", ["ab" * 32, "ab" * 5])
def test_the_same_hash_or_its_first_digits_are_the_same_weights(settings: Settings, sha256: str) -> None:
    assert refuse_other_origin(settings, "'a'", ORIGIN, WebSource("https://mirror/b.ckpt", sha256))


@pytest.mark.parametrize("sha256", ["cd" * 32, "cd" * 5])
def test_another_hash_is_refused_before_anything_is_fetched(settings: Settings, sha256: str) -> None:
    with pytest.raises(Conflict, match="is registered from"):
        refuse_other_origin(settings, "'a'", ORIGIN, WebSource("https://host/a.ckpt", sha256))
