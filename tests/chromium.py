"""Drive a headless Chromium over its debugging pipe: pages from disk, keys, mouse, files."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
needed = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-extensions "
    "--disable-background-networking --disable-component-update --disable-sync --mute-audio "
    "--hide-scrollbars --remote-debugging-pipe"
)
_WAIT_SECONDS = 30
# Keys that are no character -> their code.
_CODES = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
_CODES |= {"ArrowDown": 40, "PageUp": 33, "PageDown": 34, "Home": 36, "End": 35, " ": 32}

# Texts whose colour stands out less than AA asks for: 4.5 : 1.
_FAINT = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (value) => value / 255 <= 0.04045
    ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const colour = rgb(getComputedStyle(one).backgroundColor);
      if (colour.length === 3) return colour;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const one of document.querySelectorAll("body *")) {
    const hasText = Array.from(one.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
    if (!hasText || !one.checkVisibility() || one.tagName === "OPTION") continue;
    const [a, b] = [rgb(getComputedStyle(one).color), ground(one)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.add(`${one.tagName}.${one.className} ${ratio.toFixed(2)}`);
  }
  return [...faint];
})()"""


class _Browser:
    """The one browser that all tests of a process share, at the other end of its pipe."""

    def __init__(self):
        self._number = 0
        self._rest = bytearray()
        self.pages = {}  # session -> the page that notes its events
        profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._to, self._from, self._process = _start(profile.name)
        atexit.register(self._end, profile)

    def _end(self, profile):
        os.close(self._to)  # the browser ends with its pipe
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        profile.cleanup()

    def call(self, method, session=None, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        left = memoryview(json.dumps(message).encode() + b"\0")
        while left:
            left = left[os.write(self._to, left) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            if answer.get("sessionId") in self.pages:
                self.pages[answer["sessionId"]].note(answer["method"], answer["params"])

    def _next(self):
        while (end := self._rest.find(b"\0")) < 0:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser ended"
            self._rest += more
        answer = json.loads(self._rest[:end])
        del self._rest[: end + 1]
        return answer


_browser = functools.cache(_Browser)


class Chromium:
    """A page with a store of its own; a context manager.

    Attributes
    ----------
    errors : list of str
        What the console called an error, and exceptions that nobody caught.
    """

    def __init__(self):
        self.errors = []
        self._context = _browser().call("Target.createBrowserContext")["browserContextId"]
        self._session = self._attach("about:blank")
        self.resize(1400, 900)
        self.prefer("light")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _browser().call("Target.disposeBrowserContext", browserContextId=self._context)

    def _attach(self, address):
        where = {"url": address, "browserContextId": self._context}
        target = _browser().call("Target.createTarget", **where)["targetId"]
        attached = _browser().call("Target.attachToTarget", targetId=target, flatten=True)
        session = attached["sessionId"]
        _browser().pages[session] = self
        for domain in ("Page", "Runtime", "Log"):
            _browser().call(f"{domain}.enable", session)
        return session

    def tab(self, address):
        """Open another tab with the same store."""
        other = object.__new__(Chromium)
        other.errors, other._context = self.errors, self._context
        other._session = other._attach(address)
        return other

    def save_to(self, folder):
        """Put downloads into a new folder from now on."""
        folder.mkdir()
        where = {"downloadPath": str(folder), "browserContextId": self._context}
        _browser().call("Browser.setDownloadBehavior", behavior="allow", **where)

    def saved(self, path):
        """Wait until a file is downloaded, alone in its folder; return the path."""
        end = time.monotonic() + _WAIT_SECONDS
        while os.listdir(path.parent) != [path.name] or not path.stat().st_size:
            assert time.monotonic() < end, os.listdir(path.parent)
            time.sleep(0.02)
        return path

    def call(self, method, **parameters):
        """Send a command of the debugging protocol to the page, and return the answer."""
        return _browser().call(method, self._session, **parameters)

    def note(self, event, found):
        """Take an event of the page."""
        if event == "Runtime.exceptionThrown":
            details = found["exceptionDetails"]
            self.errors.append(details.get("exception", details).get("description", str(details)))
        elif event == "Runtime.consoleAPICalled" and found["type"] in ("error", "assert"):
            self.errors.append(str([argument.get("value") for argument in found["args"]]))
        elif event == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.errors.append(f"{found['entry']['text']} {found['entry'].get('url', '')}")

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme):
        """Have a light or a dark page."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def faint(self):
        """Texts that stand out too little, with their contrast."""
        return self.run(_FAINT)

    def open(self, address):
        """Load a page, a path or a URL, and wait until it is there."""
        url = address if "://" in str(address) else os.fspath(address.absolute().as_uri())
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self):
        self.run("window.isOld = true")
        self.call("Page.reload")
        self.wait("!window.isOld && document.readyState === 'complete'")

    def run(self, script):
        """Evaluate JavaScript, also a promise; return its value as Python's."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, condition):
        """Wait until a condition in JavaScript holds."""
        script = (
            f"new Promise((done) => {{ const end = Date.now() + {_WAIT_SECONDS * 1000};"
            f"const look = () => ({condition}) ? done(true) : Date.now() > end ? done(false)"
            " : setTimeout(look, 20); look(); })"
        )
        try:
            is_so = self.run(script)
        except AssertionError:  # another page was loaded meanwhile
            is_so = self.run(script)
        assert is_so, (condition, self.errors)

    def press(self, *keys):
        """Type keys: characters, or names such as ArrowDown."""
        for key in keys:
            code = {"windowsVirtualKeyCode": _CODES[key]} if key in _CODES else {}
            code |= {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **code)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def place(self, selector):
        """Middle of the first element that a CSS selector finds, in the window, px."""
        return self.run(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = one.getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )

    def click(self, selector):
        x, y = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **where)

    def click_found(self, found):
        """Click the element that an expression in JavaScript gives."""
        self.run(f"{found}.setAttribute('data-wanted', '')")
        self.click("[data-wanted]")
        wanted = "document.querySelector('[data-wanted]')"
        self.run(f"{wanted} && {wanted}.removeAttribute('data-wanted')")

    def wheel(self, selector, notches):
        """Turn the mouse wheel over an element; downwards are positive notches."""
        x, y = self.place(selector)
        turn = {"deltaX": 0, "deltaY": 120 * (1 if notches > 0 else -1)}
        for _ in range(abs(notches)):
            self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, **turn)

    def choose_files(self, selector, *paths):
        """Choose files in an <input type=file>."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
        where = found["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=list(map(str, paths)), objectId=where)


def _start(profile):
    """Ends of pipes to and from a browser, its file descriptors 3 and 4, and the process."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = f'exec 3<&{to_read} 4>&{from_write}; exec "$@"'
    options = [*_OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(
        ["bash", "-c", command, "bash", BROWSER, *options],
        pass_fds=(to_read, from_write),
        stderr=subprocess.DEVNULL,
        **quiet,
    )
    os.close(to_read)
    os.close(from_write)
    return to_write, from_read, process
