import hashlib

import pytest

from farm.spec.digests import is_digest, shorten_digest

SHA256 = hashlib.sha256(b"a picture").hexdigest()


def test_a_sha256_in_full_is_a_digest() -> None:
    assert is_digest(SHA256)


@pytest.mark.parametrize("text", ["", SHA256[:-1], f"{SHA256}0", f"{SHA256}\n", SHA256.upper(), "g" * 64, "٣" * 64])
def test_a_text_that_is_no_sha256_in_full_is_no_digest(text: str) -> None:
    assert not is_digest(text)


def test_a_digest_is_shortened_to_the_ten_digits_that_the_webui_shows() -> None:
    assert shorten_digest("e1441589a6f3c5a53f5f54d0975a18a7") == "e1441589a6"
