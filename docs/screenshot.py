"""Draws docs/tensorboard.png: what TensorBoard shows after `make train`, without a click.

    make screenshot                                        trains the tutorial's job, for the picture alone
    make screenshot ARGS="--trainer.max_epochs 500"        ARGS goes on to `linreg fit`

It opens a real TensorBoard in a real Chromium, and drives it by the Chrome DevTools Protocol over two pipes. Messages
are JSON, each followed by a zero byte (https://chromedevtools.github.io/devtools-protocol/). That needs no library.

Exit codes: 0 drawn, 2 Chromium is not installed.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PICTURE = Path(__file__).with_name("tensorboard.png")
BIN = Path(sys.executable).parent

FIRST = ("convergence/log10_gap", "convergence/log10_train_loss")
"""The curves that TensorBoard shows first."""

WIDTH, HEIGHT = 1400, 690
"""Size of the page, which ends below their charts."""

TIMEOUT = 180

CHROMIUM_FLAGS = (
    *("--headless", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"),
    "--no-sandbox",  # with a sandbox it refuses to start as root, the user of many containers; the page is our own
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-quic",
)


def main(flags: list[str]) -> int:
    """Trains, opens TensorBoard, writes the picture, and returns the exit code."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("screenshot: Chromium is not installed; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        subprocess.run([BIN / "linreg", "fit", *flags], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [report] = Path(folder).glob("lightning_logs/*/report.json")
        steps = json.loads(report.read_text())["global_step"]
        with tensorboard(Path(folder)) as address, browser(chromium, Path(folder) / "profile") as page:
            PICTURE.write_bytes(picture(page, address, steps))
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")
    return 0


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Serves the runs in `folder`, and yields the address once it has read them."""
    command = [str(BIN / "tensorboard"), "--logdir", "lightning_logs", "--host", "127.0.0.1", "--port", "0"]
    read_first = ["--load_fast", "false", "--reload_interval", "0", "--reload_task", "blocking"]
    with subprocess.Popen([*command, *read_first], cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            printed = next(match for line in process.stderr if (match := re.search(r"at (http://\S+)/ ", line)))
            yield printed[1]
        finally:
            process.terminate()


class Page:
    """A page of a browser, driven through two pipes."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb", buffering=0), os.fdopen(answers, "rb")
        self._address: dict[str, str] = {}
        self._sent = 0
        targets = self.send("Target.getTargets")["targetInfos"]
        [target] = [target["targetId"] for target in targets if target["type"] == "page"]
        self._address = {"sessionId": self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def send(self, method: str, **params: Any) -> Any:
        """Calls a method of the protocol, skips the events before its answer, and returns the result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **self._address}
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := json.loads(self._receive())).get("id") != self._sent:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> bytes:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("Chromium has ended")
            message += byte
        return bytes(message)

    def run(self, javascript: str) -> Any:
        """Evaluates an expression in the page."""
        result = self.send("Runtime.evaluate", expression=javascript, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{javascript}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, javascript: str) -> None:
        """Waits until an expression is true."""
        deadline = time.monotonic() + TIMEOUT
        while not self.run(javascript):
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {TIMEOUT} s this is still not true: {javascript}")
            time.sleep(0.1)

    def picture_at_rest(self) -> bytes:
        """Returns a PNG once it no longer changes: menus fade out, and a thread draws the curves."""
        before, now = "", self.send("Page.captureScreenshot", format="png")["data"]
        while now != before:
            time.sleep(0.5)
            before, now = now, self.send("Page.captureScreenshot", format="png")["data"]
        return base64.b64decode(now)


@contextmanager
def browser(chromium: str, profile: Path) -> Iterator[Page]:
    """Starts Chromium, and yields its page."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    # It reads commands from descriptor 3 and answers on 4; bash puts the pipes there.
    numbered = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash"]
    command = [*numbered, chromium, *CHROMIUM_FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(ours_out, ours_in)
        finally:
            process.terminate()


def picture(page: Page, address: str, steps: int) -> bytes:
    """Returns a PNG of the page that TensorBoard opens with."""
    page.send("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
    page.send("Page.enable")
    page.send("Page.navigate", url=address)
    for number, tag in enumerate(FIRST):
        card = f"document.querySelectorAll('card-view')[{number}]"
        page.wait_for(f"{card}?.textContent.includes('{tag}')")
        # Until its points have loaded, a chart's axis ends at 1.
        ticks = f"[...({card}?.querySelectorAll('.x-axis text') ?? [])]"
        page.wait_for(f"{ticks}.some(tick => Number(tick.textContent.replace(',', '')) > {steps / 2})")
    if page.run("document.querySelector('mat-snack-bar-container')?.innerText ?? ''"):
        raise RuntimeError("TensorBoard shows an error")
    return page.picture_at_rest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
