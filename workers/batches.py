"""Batch buckets: the fixed sizes that pipeline calls have, since the size of a batch enters its pixels."""

from collections.abc import Sequence

from farm.config import BATCH_SIZES
from farm.specs import ImageSpec


def bucket_of(images: int) -> int:
    """The smallest bucket that holds so many images."""
    return next(bucket for bucket in BATCH_SIZES if bucket >= images)


def pad(specs: Sequence[ImageSpec]) -> list[ImageSpec]:
    """Fill the batch up to its bucket by repeating its last spec; what comes of the filling is dropped."""
    return [*specs, *[specs[-1]] * (bucket_of(len(specs)) - len(specs))]
