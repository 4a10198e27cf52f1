"""Flower on a real stack, seen with a real browser, and asked by who has no password."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.stack.errors import NotInstalled
from deploy.stack.home import ROOT
from tests.acceptance.flower_scene import CANARY, FLOWER_SECONDS, Shown, all_shown, asked, play, watched
from tests.services import plain
from tests.services.browser import Browser, browsing, program
from tests.services.stack import Stack, eventually


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, list[Shown]]]:
    """A stack under a prefix of its own, and a job in each state."""
    home = tmp_path_factory.mktemp("flower") / "home"
    stack = Stack(home, PENSTOCK_FLOWER_PREFIX="see/flower", PENSTOCK_WORKER_CONCURRENCY="4")
    try:
        stack.up()
        watched(stack)
        yield stack, play(stack)
    finally:
        stack.end()


@pytest.fixture(scope="module")
def browser(scene: tuple[Stack, list[Shown]]) -> Iterator[Browser]:
    """A browser whose user has logged in."""
    facts = scene[0].facts
    try:
        with browsing(facts["flower_url"], facts["flower_user"], facts["flower_password"]) as opened:
            opened.enter()
            yield opened
    except NotInstalled as error:
        pytest.fail(str(error))


def test_jobs_stand_under_their_task_and_id_in_their_true_states(
    scene: tuple[Stack, list[Shown]], browser: Browser
) -> None:
    _, wanted = scene

    found = all_shown(browser, wanted)

    assert {one.job_id: found.get(one.job_id) for one in wanted} == {
        one.job_id: (one.task, one.state) for one in wanted
    }
    assert browser.errors() == []


def test_the_page_of_a_worker_shows_its_pool_and_its_queues(scene: tuple[Stack, list[Shown]], browser: Browser) -> None:
    stack, _ = scene
    browser.open("workers")
    eventually(lambda: browser.rows("workers-table"), FLOWER_SECONDS, "the workers are listed")
    name = browser.rows("workers-table")[0][0].replace("\n", "")

    def has_told() -> bool:  # Flower waits a second for a worker's answer, and a busy machine may take longer
        browser.open(f"worker/{name}")
        return "Worker pool options" in browser.source()

    eventually(has_told, FLOWER_SECONDS, "the worker has told Flower of itself")
    assert "Max concurrency 4" in browser.text()
    browser.click("Queues")
    eventually(
        lambda: "critical" in browser.text() and "bulk" in browser.text(), FLOWER_SECONDS, "its queues are listed"
    )
    assert f"{stack.facts['flower_url']}worker/" in browser.driver.current_url


def test_no_page_shows_a_payload_or_a_password(scene: tuple[Stack, list[Shown]], browser: Browser) -> None:
    stack, jobs = scene
    facts = stack.facts
    secrets = [facts[name].split("@")[0].rsplit(":", 1)[1] for name in ("database_url", "broker_url")]
    worker = browser_worker(stack)
    paths = ["", "tasks", "workers", "broker", f"worker/{worker}", *(f"task/{one.job_id}" for one in jobs)]
    texts = {path: asked(stack, path).text for path in (*paths, "metrics", "api/tasks", "api/workers?refresh=1")}
    for path in paths:
        browser.open(path)
        texts[f"{path} in the browser"] = browser.source()

    assert all(one.job_id in texts[f"task/{one.job_id}"] for one in jobs)
    assert [path for path, text in texts.items() if CANARY in text] == []
    assert [path for path, text in texts.items() if any(secret in text for secret in secrets)] == []


def browser_worker(stack: Stack) -> str:
    """Return the name of a worker that Flower knows."""
    return str(next(iter(asked(stack, "api/workers").json())))


def test_everything_that_a_page_asks_for_is_under_the_prefix(browser: Browser) -> None:
    browser.open("tasks")
    eventually(lambda: any("datatable" in one for one in browser.fetched()), FLOWER_SECONDS, "the table is asked for")

    fetched = [httpx.URL(one).path for one in browser.fetched() if one.startswith("http")]

    assert len(fetched) > 5
    assert [path for path in fetched if not path.startswith("/see/flower/")] == []


@pytest.mark.parametrize(
    "path", ["", "tasks", "workers", "broker", "metrics", "api/tasks", "api/workers", "api/task/types"]
)
def test_who_has_no_password_is_told_nothing(scene: tuple[Stack, list[Shown]], path: str) -> None:
    url = f"{scene[0].facts['flower_url']}{path}"

    assert plain.get(url).status_code == 401
    assert plain.get(url, auth=("penstock", "guess")).status_code == 401
    assert asked(scene[0], path).status_code == 200


@pytest.mark.parametrize("path", ["api/task/async-apply/demo.noop", "api/worker/shutdown/worker-1"])
def test_flower_changes_nothing_even_for_those_who_know_the_password(
    scene: tuple[Stack, list[Shown]], path: str
) -> None:
    facts = scene[0].facts

    refused = plain.post(facts["flower_url"] + path, auth=(facts["flower_user"], facts["flower_password"]), json={})

    assert refused.status_code == 403


def test_the_picture_in_the_readme_is_small_enough_to_load_at_once() -> None:
    picture = ROOT / "docs" / "images" / "flower.png"

    assert "docs/images/flower.png" in (ROOT / "README.md").read_text()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert picture.stat().st_size < 300_000


def test_where_there_is_no_browser_the_cure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotInstalled, match="apt-get install --no-install-recommends chromium chromium-driver"):
        program(["chromium"])
