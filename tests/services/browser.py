"""A real browser without a window: Debian's Chromium, driven through its own driver."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from deploy.stack.errors import NotInstalled

PACKAGES: Final = ("chromium", "chromium-driver")
CURE: Final = f"as root: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
DRIVERS: Final = ("chromedriver", "/usr/lib/chromium/chromedriver")
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
PAGE_SECONDS: Final = 60


def program(names: Sequence[str]) -> str:
    """Return the first of these programs that this machine has. Raises `NotInstalled` with the cure."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise NotInstalled(f"No {names[0]} is installed, and Flower's pages are looked at in a real browser; {CURE}.")


class Browser:
    """One window, and who is logged in."""

    def __init__(self, driver: webdriver.Chrome, url: str, user: str, password: str) -> None:
        """Look at the site at `url`, whose login is known."""
        self.driver = driver
        self.url = url
        place = urlsplit(url)
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        self._entrance = place._replace(netloc=f"{login}@{place.netloc}").geturl()

    def enter(self) -> None:
        """Log in at the first page."""
        self.driver.get(self._entrance)

    def open(self, path: str) -> None:
        """Open a page of the site."""
        self.driver.get(self.url + path)

    def click(self, text: str) -> None:
        """Follow the link that reads `text`, whichever way it is hidden behind scripts."""
        self.driver.execute_script("arguments[0].click()", self.driver.find_element(By.PARTIAL_LINK_TEXT, text))

    def text(self) -> str:
        """What a person can read now; nothing while the page changes."""
        try:
            return str(self.driver.find_element(By.TAG_NAME, "body").text)
        except WebDriverException:
            return ""

    def source(self) -> str:
        """All of the page as it is now, what is hidden included."""
        return str(self.driver.page_source)

    def rows(self, table: str) -> list[list[str]]:
        """The cells of the table with this id, a list for each row; nothing while it is drawn anew."""
        cells = "[...row.cells].map(cell => cell.innerText.trim())"
        script = f"return [...document.querySelectorAll(arguments[0])].map(row => {cells})"
        return list(self.driver.execute_script(script, f"#{table} tbody tr"))

    def fetched(self) -> list[str]:
        """The address of everything that the page has asked for."""
        script = "return performance.getEntriesByType('resource').map(one => one.name).concat(location.href)"
        return list(self.driver.execute_script(script))

    def errors(self) -> list[Any]:
        """What scripts and requests of the pages complained about since the last call."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextmanager
def browsing(url: str, user: str, password: str, size: tuple[int, int] = (1280, 900)) -> Iterator[Browser]:
    """Open a browser on the site at `url`, and close it afterwards. Raises `NotInstalled`."""
    driver_program, browser_program = program(DRIVERS), program(BROWSERS)
    options = webdriver.ChromeOptions()
    options.binary_location = browser_program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="penstock-browser-", ignore_cleanup_errors=True) as profile:
        for flag in _flags(Path(profile), size):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_program))
        try:
            driver.set_page_load_timeout(PAGE_SECONDS)
            yield Browser(driver, url, user, password)
        finally:
            driver.quit()


def _flags(profile: Path, size: tuple[int, int]) -> Iterator[str]:
    yield from ("--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    yield "--disable-dev-shm-usage"  # a container's is 64 MB, too small for a page
    yield f"--window-size={size[0]},{size[1]}"
    yield f"--user-data-dir={profile}"
    yield "--no-sandbox"  # root cannot have one, nor most users in a container; the pages are our own
