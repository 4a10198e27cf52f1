"""A tenant's bucket: so many at once, then one by one as it fills up again."""

import pytest

from api import quota
from api.problems import QuotaExceeded
from api.quota import Quotas


class Office:
    """Quotas, and a clock that we move."""

    def __init__(self, per_minute: int) -> None:
        self.now = 100.0
        self.quotas = Quotas(per_minute, lambda: self.now)

    def taken(self, tries: int, tenant: str = "a") -> int:
        """Return how many of so many requests are taken."""
        return sum(self._is_taken(tenant) for _ in range(tries))

    def _is_taken(self, tenant: str) -> bool:
        try:
            self.quotas.take(tenant)
        except QuotaExceeded:
            return False
        return True


def test_the_whole_quota_may_be_used_at_once_and_no_more() -> None:
    assert Office(10).taken(25) == 10


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600, 1_000_000])
def test_a_minute_later_all_of_it_is_back_and_no_more(per_minute: int) -> None:
    office = Office(per_minute)
    some = min(per_minute, 1000)
    office.taken(some)
    office.now += 60

    assert office.taken(some + 5) == min(per_minute, some + 5)


def test_it_comes_back_steadily() -> None:
    office = Office(60)
    office.taken(60)
    office.now += 0.5
    assert office.taken(1) == 0
    office.now += 0.5
    assert office.taken(5) == 1
    office.now += 10
    assert office.taken(50) == 10


def test_what_is_refused_costs_nothing() -> None:
    office = Office(60)
    office.taken(1000)
    office.now += 1

    assert office.taken(5) == 1


def test_tenants_do_not_share() -> None:
    office = Office(3)
    office.taken(10)

    assert office.taken(10, "b") == 3


def test_a_refusal_says_when_the_next_one_is_taken() -> None:
    office = Office(6)
    office.taken(6)
    with pytest.raises(QuotaExceeded) as refused:
        office.quotas.take("a")
    office.now += refused.value.retry_after_seconds

    assert refused.value.retry_after_seconds == 10
    assert office.taken(5) == 1


def test_each_answer_tells_the_policy_and_what_is_left_of_it() -> None:
    office = Office(3)
    told = [dict(office.quotas.take("a")) for _ in range(3)]

    assert {one[b"ratelimit-policy"] for one in told} == {b'"tenant";q=3;w=60'}
    assert [one[b"ratelimit"] for one in told] == [
        b'"tenant";r=2;t=20',
        b'"tenant";r=1;t=40',
        b'"tenant";r=0;t=60',
    ]


def test_tenants_who_were_not_seen_for_long_are_forgotten_and_the_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quota, "MOST_REMEMBERED", 5)
    office = Office(1)
    for number in range(4):
        office.taken(1, f"old{number}")
    office.now += 60
    office.taken(1, "new")
    office.taken(1, "newer")

    assert len(office.quotas._full_at) == 2
    assert office.taken(1, "new") == 0
