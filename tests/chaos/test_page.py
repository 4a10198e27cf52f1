"""The checker's page is what the code says."""

from tests.chaos.invariant import OF_A_JOB, OF_THE_RUN
from tests.chaos.page import PAGE, PLANTED, page


def test_the_page_is_the_one_that_the_code_makes() -> None:
    text = PAGE.read_text()

    assert text == page(text), "write it anew: python -m tests.chaos.page"


def test_every_invariant_and_every_bug_is_on_the_page() -> None:
    text = PAGE.read_text()
    names = [one.name for one in (*OF_A_JOB, *OF_THE_RUN)] + [patch.stem for patch in PLANTED.glob("*.patch")]

    assert [name for name in names if f"| `{name}` |" not in text] == []
