"""A real browser, Chromium, where there is one: pages as a person has them."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_PATIENCE = 60.0  # seconds: of a busy machine
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """One window."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def resize(self, width: int, height: int) -> None:
        """Give the window the size of a screen or of a phone."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def open(self, url: str, **state: object) -> None:
        """Go to a page whose address holds a state behind #, anew."""
        parts = "&".join(f"{name}={quote(str(value))}" for name, value in state.items())
        self.driver.get("about:blank")
        self.driver.get(f"{url}/#{parts}")

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """What comes of a function as soon as it is true; elements may come and go meanwhile."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.driver, _PATIENCE, 0.05, [StaleElementReferenceException, IndexError]
        )
        return waiting.until(lambda _: holds(), f"waited for {what}; the page: {self.text()}")

    def all(self, css: str) -> list[Any]:
        """The elements that can be seen."""
        found = self.driver.find_elements("css selector", css)
        return [one for one in found if one.is_displayed()]

    def one(self, css: str, text: str = "") -> Any:
        """The first element that can be seen and has this text, as soon as there is one."""
        holds = lambda: [one for one in self.all(css) if text in one.text][0]  # noqa: E731, RUF015
        return self.until(holds, f"{css} with {text!r}")

    def press(self, css: str, text: str = "") -> None:
        """Click on it."""
        self.one(css, text).click()

    def type(self, label: str, text: str) -> None:
        """Replace what stands in the field with this label."""
        field = self.field(label)
        field.clear()
        field.send_keys(text)

    def choose(self, label: str, option: str) -> None:
        """Choose an option of the field with this label."""
        from selenium.webdriver.support.ui import Select

        Select(self.field(label)).select_by_visible_text(option)

    def field(self, label: str) -> Any:
        """The field with this label, as a person finds it."""
        marked = self.one("label", label)
        return self.driver.find_element("id", marked.get_attribute("for"))

    def texts(self, css: str) -> list[str]:
        """The texts of elements that can be seen."""
        return [one.text for one in self.all(css)]

    def text(self) -> str:
        """All that can be read."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *values)

    def hover(self, element: Any) -> None:
        """Point at an element."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element(element).perform()

    def keys(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def log(self) -> list[str]:
        """What the browser has complained of since it was last asked."""
        return [json.dumps(entry) for entry in self.driver.get_log("browser")]


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("there is no chromium with chromedriver on this machine")
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
