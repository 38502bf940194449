"""What `farm bench memory` asks of a worker, and what it counts."""

import itertools

from farm.bench.memory import MemoryFigures, choose_order, count_loads


def test_the_order_begins_with_each_checkpoint_and_never_repeats_the_last() -> None:
    order = choose_order(100, 5)
    assert order[:5] == [0, 1, 2, 3, 4]
    assert all(one != other for one, other in itertools.pairwise(order))
    assert order == choose_order(100, 5)
    assert order.count(0) > order.count(4) > 0


def test_one_resident_loads_for_each_job() -> None:
    assert count_loads(choose_order(50, 5), 1) == 50


def test_the_one_that_was_not_used_for_longest_is_loaded_again() -> None:
    assert count_loads([0, 1, 0, 2, 0, 1], 2) == 4
    assert count_loads([0, 1, 2, 0, 1, 2], 2) == 6
    assert count_loads([0, 1, 2, 0, 1, 2], 3) == 3


def test_growth_is_the_last_third_against_the_first_once_each_was_loaded() -> None:
    figures = MemoryFigures([9, 9, 100, 100, 105, 105, 110, 110], 2, 50, loads=5, fewest_loads=4)
    assert figures.growth == 1.1
    assert (figures.loads_avoided, figures.most_bytes) == (3, 110)
