"""Takes the picture of Flower that the README shows: `python -m tests.acceptance.flower_picture`."""

import tempfile
from pathlib import Path

from deploy.stack.home import ROOT
from tests.acceptance.flower_scene import all_shown, play, watched
from tests.services.browser import browsing
from tests.services.stack import Stack

PICTURE = ROOT / "docs" / "images" / "flower.png"


def main() -> None:
    """Start a stack, play the scene, and write what the page of tasks looks like."""
    with tempfile.TemporaryDirectory(prefix="penstock-picture-") as folder:
        stack = Stack(Path(folder) / "home", PENSTOCK_WORKER_CONCURRENCY="4")
        try:
            stack.up()
            facts = stack.facts
            watched(stack)
            wanted = play(stack)
            with browsing(facts["flower_url"], facts["flower_user"], facts["flower_password"], (1240, 760)) as browser:
                browser.enter()
                found = all_shown(browser, wanted)
                assert all(found.get(one.job_id) == (one.task, one.state) for one in wanted), found
                PICTURE.parent.mkdir(exist_ok=True)
                browser.driver.save_screenshot(str(PICTURE))
        finally:
            stack.end()


if __name__ == "__main__":
    main()
