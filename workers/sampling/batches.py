"""Batch buckets: the fixed sizes that pipeline calls have, since the size of a batch enters its pixels."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from farm.config import BATCH_SIZES

Item = TypeVar("Item")


def bucket_of(images: int) -> int:
    """The smallest bucket that holds so many images."""
    return next(bucket for bucket in BATCH_SIZES if bucket >= images)


def pad(specs: Sequence[Item]) -> list[Item]:
    """Fill the batch up to its bucket by repeating its last spec; what comes of the filling is dropped."""
    return [*specs, *[specs[-1]] * (bucket_of(len(specs)) - len(specs))]


def group_alike(specs: Sequence[Item], shape_of: Callable[[Item], Hashable], most: int) -> list[list[int]]:
    """The indices of specs that can be rendered in one call: of one shape, and at most `most` of them."""
    groups: dict[Hashable, list[int]] = {}
    for index, spec in enumerate(specs):
        groups.setdefault(shape_of(spec), []).append(index)
    return [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]
