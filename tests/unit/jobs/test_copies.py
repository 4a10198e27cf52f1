"""How old a copy is, by where its original was and when."""

import math

from jobs.copies import Trail


def test_of_an_original_that_nobody_has_asked_nothing_is_known() -> None:
    assert Trail(10).age(1000, now=0) == math.inf


def test_a_copy_is_as_old_as_the_last_instant_that_it_has_all_of() -> None:
    trail = Trail(100)
    for at, position in ((1, 10), (2, 20), (3, 30)):
        trail.add(position, at)

    ages = {position: trail.age(position, now=5) for position in (9, 10, 19, 20, 30, 99)}

    assert ages == {9: math.inf, 10: 4, 19: 4, 20: 3, 30: 2, 99: 2}


def test_a_copy_of_an_original_that_stands_still_does_not_grow_old() -> None:
    trail = Trail(10)
    for at in range(100):
        trail.add(10, at)

    assert trail.age(10, now=99) == 0


def test_an_original_that_cannot_be_asked_any_more_makes_its_copies_grow_old() -> None:
    trail = Trail(10)
    trail.add(10, 0)

    assert trail.age(10, now=50) == 50


def test_what_was_known_before_an_original_was_taken_back_is_forgotten() -> None:
    trail = Trail(10)
    trail.add(20, 0)
    trail.add(5, 1)

    assert (trail.age(4, now=2), trail.age(5, now=2), trail.age(20, now=2)) == (math.inf, 1, 1)


def test_only_so_much_is_remembered() -> None:
    trail = Trail(10)
    for at in range(100):
        trail.add(at, at)

    assert (trail.age(80, now=99), trail.age(95, now=99)) == (math.inf, 4)
