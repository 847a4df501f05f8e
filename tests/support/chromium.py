"""A page in headless Chromium, over the DevTools protocol on two pipes: no network, no port, no other package."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HANGS_AFTER_S = 120


def find():
    """The program, or None."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """One tab. What it asks the network for is kept in `requests`, and no name resolves."""

    def __init__(self, program):
        self.profile = tempfile.mkdtemp(prefix="quoit-chromium-")
        read_commands, self.commands = os.pipe()
        self.answers, write_answers = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec 3<&{read_commands} 4>&{write_answers}; exec "$@"', "sh",
             program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", f"--user-data-dir={self.profile}", "about:blank"],
            pass_fds=(read_commands, write_answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(read_commands)
        os.close(write_answers)
        self.number = 0
        self.rest = b""
        self.events = []
        self.requests = []
        targets = self.call("Target.getTargets", session=None)["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", {"targetId": page["targetId"], "flatten": True}, session=None)
        self.session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Network.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError, RuntimeError):
            self.call("Browser.close", session=None)
        os.close(self.commands)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.answers)
        # Its helpers may still be on their way out.
        shutil.rmtree(self.profile, ignore_errors=True)

    def _next(self, end):
        while b"\0" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                raise RuntimeError("chromium does not answer")
            got = os.read(self.answers, 1 << 16)
            if not got:
                raise RuntimeError("chromium has ended")
            self.rest += got
        line, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(line)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    def call(self, method, params=None, session=""):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + HANGS_AFTER_S
        while True:
            answer = self._next(end)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer.get("method"))

    def size(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, path):
        self.events = []
        self.call("Page.navigate", {"url": "file://" + os.path.abspath(path)})
        end = time.monotonic() + HANGS_AFTER_S
        while "Page.loadEventFired" not in self.events:
            self.events.append(self._next(end).get("method"))

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"]["value"]

    def screenshot(self, path, whole=True):
        answer = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        with open(path, "wb") as file:
            file.write(base64.b64decode(answer["data"]))
