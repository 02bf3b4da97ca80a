"""A real browser for the tests of pages: headless Chromium, driven through its own driver. Downloads nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

#: Git ignores it, and CI keeps it.
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
_PATIENCE = 30.0


@contextlib.contextmanager
def run_chromium(chromium: Path, driver: Path, profile: Path) -> Iterator[Chrome]:
    """A running Chromium without windows."""
    options = ChromeOptions()
    options.binary_location = str(chromium)
    for argument in (
        "--headless=new",
        f"--user-data-dir={profile}",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",  # containers have little of it
        "--disable-gpu",
        "--disable-gpu-rasterization",  # Debian's start script enables it: the CPU would play a graphics card
        # One process for all pages, and none in reserve: they come from this machine.
        "--disable-features=SpareRendererForSitePerProcess,IsolateOrigins,site-per-process",
        "--disable-site-isolation-trials",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to run as root with one
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = Chrome(options=options, service=Service(str(driver)))
    try:
        running.set_page_load_timeout(_PATIENCE)
        running.set_script_timeout(4 * _PATIENCE)  # axe-core looks at each cell of a long table
        yield running
    finally:
        running.quit()


class Browser:
    """One tab. What is set on it (size, colours, no JavaScript) holds until `leave`."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self._scripts: list[str] = []

    def leave(self) -> None:
        """Leave the page, and undo all that was set. Where the tab no longer does that, a new one takes its place."""
        try:
            for script in self._scripts:
                self._tell("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
            self._tell("Emulation.setScriptExecutionDisabled", value=False)
            self._tell("Emulation.setTouchEmulationEnabled", enabled=False)
            self._tell("Emulation.setEmulatedMedia", media="", features=[])
            self._tell("Emulation.clearDeviceMetricsOverride")
            self._tell("Browser.resetPermissions")
            self.driver.get("about:blank")
        except WebDriverException:
            broken = self.driver.current_window_handle
            self.driver.switch_to.new_window("tab")
            new = self.driver.current_window_handle
            self.driver.switch_to.window(broken)
            self.driver.close()
            self.driver.switch_to.window(new)

    def _tell(self, command: str, **arguments: Any) -> Any:
        """One command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def resize(self, width: int, height: int = 900, scale: float = 1) -> None:
        """So many CSS pixels, each `scale` pixels of the screen wide; below 600 it is a phone."""
        phone = width < 600
        self._tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )

    def prefer(self, scheme: str) -> None:
        """`dark` or `light`."""
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def without_javascript(self) -> None:
        """Pages run no script from now on; `run` works all the same."""
        self._tell("Emulation.setScriptExecutionDisabled", value=True)

    def hurry(self, times: float) -> None:
        """Pages opened from now on find that their timers run so many times faster."""
        source = f"const real = setTimeout; window.setTimeout = (act, ms) => real(act, ms / {times});"
        self._scripts.append(self._tell("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"])

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self.driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript expression comes to in the page; `arguments[0]` is the first argument."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def text(self, selector: str = "body") -> str:
        """The text that a person sees of the first element that fits."""
        return str(self.run("document.querySelector(arguments[0]).innerText", selector))

    def wait(self, script: str, patience: float = _PATIENCE) -> Any:
        """Wait until a JavaScript expression is true in the page; its value."""
        return self.until(lambda: self.run(script), script, patience)

    def until(self, holds: Callable[[], Any], what: str = "", patience: float = _PATIENCE) -> Any:
        """Wait until `holds()` is true; its value."""
        end = time.monotonic() + patience
        while not (value := holds()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {patience} s: {what}; the page says:\n{self.text()[:2000]}")
            time.sleep(0.05)
        return value

    def complaints(self) -> list[str]:
        """What the browser's console said since it was last asked: script errors, CSP violations, failed loads."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def overflow(self) -> int:
        """By how many CSS pixels the page is wider than its window."""
        return int(self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def screenshot(self, name: str, *, whole: bool = False) -> Path:
        """Keep a picture of the page, `whole` also of what is below the fold, as `artifacts/NAME.png`."""
        import base64

        ARTIFACTS.mkdir(exist_ok=True)
        picture = self.until(lambda: self._picture(whole=whole), "it was drawn")
        path = ARTIFACTS / f"{name}.png"
        path.write_bytes(base64.b64decode(picture))
        return path

    def _picture(self, *, whole: bool) -> str | None:
        """The page as PNG in base64. None where Chromium, on a busy machine, has loaded it and not shown it yet."""
        try:
            return str(self._tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])
        except WebDriverException as error:
            if any(reason in str(error) for reason in ("with 0 width", "Not attached to an active page")):
                return None
            raise
