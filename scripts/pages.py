"""Opens the pages of runs in a browser without a screen, and says what they do there.

For each page: its size, what it asks the network for, dialogs, what axe-core finds, and whether it
is wider than its window. With ``--shots`` it is also pictured at three widths, dark, and printed.

    apt-get install chromium; npm install axe-core
    python scripts/pages.py --axe node_modules/axe-core/axe.min.js --shots shots runs/*/report.html
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

WIDTHS = (360, 768, 1280)
NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-extensions", "--remote-debugging-pipe"),
)
SERIOUS = ("serious", "critical")
DARK = [{"name": "prefers-color-scheme", "value": "dark"}]


class Opened(NamedTuple):
    """What a page does in a browser.

    Attributes:
        size: its bytes.
        requests: addresses that it asks for, beside its own and ``data:``.
        dialogs: texts of dialogs that it opens.
        overflows: widths at which it is wider than its window.
        serious: what axe-core finds that is serious or critical, a line each.
        other: number of what else it finds; None if axe-core was not asked.
    """

    size: int
    requests: list[str]
    dialogs: list[str]
    overflows: list[int]
    serious: list[str]
    other: int | None

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.requests or self.dialogs or self.overflows or self.serious)


def find() -> str | None:
    """The path of a chromium; None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A chromium that is spoken to through a pipe, by the DevTools protocol."""

    def __init__(self, path: str) -> None:
        # its helpers end after it, and may still write
        self.home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_read, self.out = os.pipe()
        self.into, to_write = os.pipe()
        command = [path, *OPTIONS, f"--user-data-dir={self.home.name}", "about:blank"]
        line = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", line, "_", *command],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self.numbers, self.rest, self.session = itertools.count(1), b"", ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser, and what helps it."""
        self.process.terminate()
        self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        os.close(self.into)
        os.close(self.out)
        self.home.cleanup()

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command. Returns what it answers; events on the way are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": arguments}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return dict(found["result"])
            self._keep(found)

    def until(self, method: str) -> None:
        """Waits for an event."""
        while not any(event["method"] == method for event in self.events):
            self._keep(self._next())

    def _keep(self, found: dict[str, Any]) -> None:
        if "method" in found:
            self.events.append(found)
            if found["method"] == "Page.javascriptDialogOpening":
                self.ask("Page.handleJavaScriptDialog", accept=False)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            data = os.read(self.into, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(line))

    def value(self, expression: str) -> Any:
        """The value of an expression in the page, which may be a promise."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"].get("exception", found)))
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until an expression holds in the page.

        Raises:
            RuntimeError: it did not within a minute.
        """
        self.value(
            f"new Promise((done, fail) => {{ const look = () => ({condition}) && done(true);"
            " const all = {subtree: true, childList: true, attributes: true, characterData: true};"
            " new MutationObserver(look).observe(document, all); look();"
            " setTimeout(() => fail('it did not come'), 60000) })"
        )

    def open(self, path: Path, width: int) -> None:
        """Opens a file in a window of some width."""
        self.visit(path.resolve().as_uri(), width)

    def visit(self, address: str, width: int) -> None:
        """Opens an address in a window of some width."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.events = [e for e in self.events if e["method"] != "Page.loadEventFired"]
        self.ask("Page.navigate", url=address)
        self.until("Page.loadEventFired")

    def shoot(self, path: Path) -> None:
        """Writes a picture of the whole page."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def addresses(self) -> list[str]:
        """Addresses that were asked for, but for those of data within a page."""
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        urls = [str(event["params"]["request"]["url"]) for event in sent]
        return [url for url in urls if not url.startswith("data:")]

    def requests(self, page: Path) -> list[str]:
        """Those beside a page's own."""
        own = page.resolve().as_uri()
        return [url for url in self.addresses() if url.split("#")[0] != own]

    def dialogs(self) -> list[str]:
        """Texts of the dialogs that were opened."""
        found = [e for e in self.events if e["method"] == "Page.javascriptDialogOpening"]
        return [str(event["params"]["message"]) for event in found]


def look(browser: Browser, page: Path, axe: str = "", shots: Path | None = None) -> Opened:
    """Opens a page at each width.

    Args:
        browser: the browser.
        page: the page.
        axe: source of axe-core; empty for none.
        shots: folder for pictures.
    """
    browser.events.clear()
    overflows, serious, other = list[int](), list[str](), None
    for width in WIDTHS:
        browser.open(page, width)
        if browser.value("document.documentElement.scrollWidth > innerWidth"):
            overflows.append(width)
        if shots is not None:
            browser.shoot(shots / f"{page.parent.name}-{page.stem}-{width}.png")
    requests, dialogs = browser.requests(page), browser.dialogs()
    if axe:
        browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
        serious, other = audit(browser, axe)
        browser.ask("Emulation.setEmulatedMedia", features=DARK)
        dark, _ = audit(browser, axe)
        serious += [f"dark: {line}" for line in dark]
    if shots is not None:
        browser.ask("Emulation.setEmulatedMedia", features=DARK)
        browser.open(page, WIDTHS[-1])
        browser.shoot(shots / f"{page.parent.name}-{page.stem}-dark.png")
        pdf = browser.ask("Page.printToPDF", printBackground=True)
        (shots / f"{page.parent.name}-{page.stem}.pdf").write_bytes(base64.b64decode(pdf["data"]))
    browser.ask("Emulation.setEmulatedMedia", features=[])
    return Opened(page.stat().st_size, requests, dialogs, overflows, serious, other)


def audit(browser: Browser, axe: str) -> tuple[list[str], int]:
    """What axe-core finds: lines of what is serious, and the number of all else."""
    browser.value(f"{axe};undefined")
    found = browser.value("axe.run(document).then(r => r.violations)") or []
    lines = [
        f"{v['id']}: {len(v['nodes'])} x {v['nodes'][0]['html'][:120]}"
        f" {v['nodes'][0].get('failureSummary', '')[:200]}"
        for v in found
        if v["impact"] in SERIOUS
    ]
    return lines, len(found) - len(lines)


def main() -> int:
    """Prints a line for each page. Returns 1 if anything is wrong with one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js")
    parser.add_argument("--shots", type=Path, help="folder for pictures")
    given = parser.parse_args()
    path = find()
    if path is None:
        print("no chromium: apt-get install chromium", file=sys.stderr)
        return 2
    axe = given.axe.read_text(encoding="utf-8") if given.axe else ""
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    browser, is_good = Browser(path), True
    try:
        for page in given.pages:
            found = look(browser, page, axe, given.shots)
            is_good &= found.is_good
            other = "" if found.other is None else f", axe: {len(found.serious)} serious"
            other += f", {found.other} other" if found.other else ""
            print(
                f"{page}: {found.size / 1000:,.0f} kB, {len(found.requests)} requests,"
                f" {len(found.dialogs)} dialogs{other}"
            )
            for line in [*found.requests, *found.dialogs, *found.serious]:
                print(f"  {line}")
            if found.overflows:
                print(f"  wider than its window at {found.overflows}")
    finally:
        browser.close()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
