"""The page of fail-points is what the code says."""

from jobs.points import POINTS
from tests.unit.docs.fail_points_page import PAGE, page


def test_the_page_is_the_one_that_the_code_makes() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.unit.docs.fail_points_page"


def test_every_point_has_its_line() -> None:
    for name in POINTS:
        assert page().count(f"| `{name}` | ") == 1 + len(POINTS[name].never)
