"""The price of a commit is learnt from those before it."""

import pytest

from api.pace import Pace

LARGEST = 200


class Commits:
    """A pace, and a clock that we move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pace = Pace(LARGEST, lambda: self.now)

    def commit(self, count: int, seconds: float) -> None:
        """Have a commit of so many take so long."""
        self.pace.begin(count)
        self.now += seconds
        self.pace.end()

    def commits(self, sizes: list[int], *, fixed: float, each: float, rounds: int = 20) -> None:
        """Have many commits that cost exactly this."""
        for _ in range(rounds):
            for count in sizes:
                self.commit(count, fixed + each * count)


@pytest.fixture
def commits() -> Commits:
    return Commits()


def test_who_is_alone_waits_for_nobody(commits: Commits) -> None:
    assert commits.pace.wait(0) == 0

    commits.commits([1], fixed=0.5, each=0.0)

    assert commits.pace.wait(0) == 0


@pytest.mark.parametrize(("fixed", "each"), [(0.1, 0.0), (0.1, 0.001), (0.002, 0.0002), (0.0, 0.004)])
def test_the_parts_of_the_price_are_told_apart(commits: Commits, fixed: float, each: float) -> None:
    commits.commits([1, 80, 200, 30], fixed=fixed, each=each)

    assert commits.pace.wait(100) == pytest.approx(100 * each, abs=0.01)
    assert commits.pace.wait(LARGEST) == pytest.approx(fixed + LARGEST * each, rel=0.05)
    assert commits.pace.wait(3 * LARGEST + 50) == pytest.approx(3 * fixed + (3 * LARGEST + 50) * each, rel=0.05)


def test_where_all_groups_are_alike_their_time_is_foreseen_all_the_same(commits: Commits) -> None:
    commits.commits([LARGEST], fixed=0.05, each=0.0005)

    assert commits.pace.wait(LARGEST) == pytest.approx(0.15, rel=0.05)
    assert commits.pace.wait(4 * LARGEST) == pytest.approx(0.6, rel=0.05)


def test_an_idle_house_lets_a_crowd_in(commits: Commits) -> None:
    commits.commits([1], fixed=0.005, each=0.0)

    assert commits.pace.wait(300) < 0.2


def test_a_database_that_becomes_slow_is_noticed_within_twenty_commits(commits: Commits) -> None:
    commits.commits([10, 100], fixed=0.003, each=0.0002)
    commits.commits([10, 100], fixed=0.2, each=0.002, rounds=10)

    assert commits.pace.wait(LARGEST) == pytest.approx(0.6, rel=0.3)


def test_a_commit_under_way_is_waited_for(commits: Commits) -> None:
    commits.commits([1, 100], fixed=0.1, each=0.001)
    commits.pace.begin(100)

    assert commits.pace.wait(0) == pytest.approx(0.2, rel=0.1)
    commits.now += 0.15
    assert commits.pace.wait(0) == pytest.approx(0.05, abs=0.02)
    assert commits.pace.overdue() == 0


def test_a_commit_that_takes_longer_than_it_should_is_overdue(commits: Commits) -> None:
    commits.commits([1, 10], fixed=0.01, each=0.0)
    commits.pace.begin(1)
    commits.now += 5.0

    assert commits.pace.wait(0) == 0
    assert commits.pace.overdue() == pytest.approx(5.0, rel=0.01)
    commits.pace.end()
    assert commits.pace.overdue() == 0


def test_a_commit_that_failed_says_nothing_of_the_next(commits: Commits) -> None:
    commits.commits([1, 10], fixed=0.01, each=0.0)
    before = commits.pace.wait(LARGEST)
    commits.pace.begin(5)
    commits.now += 60.0
    commits.pace.fail()

    assert commits.pace.wait(0) == 0
    assert commits.pace.wait(LARGEST) == before


def test_no_price_is_ever_negative(commits: Commits) -> None:
    for count, seconds in [(200, 0.001), (1, 3.0), (100, 0.0), (1, 1.0), (200, 0.0)] * 5:
        commits.commit(count, seconds)

        assert all(commits.pace.wait(ahead) >= 0 for ahead in (0, 1, 50, 199, 200, 1000))
