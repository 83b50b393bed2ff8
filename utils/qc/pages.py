"""The report's one document: it opens from disk, without a server or network."""

import html
import json
from pathlib import Path

from utils import errors

_SOURCES = Path(__file__).resolve().parent / "page"
_STYLES = ("page.css", "viewer.css", "decisions.css")
# In the order in which they run; each adds to the one global QC.
_SCRIPTS = (
    *("core.js", "index_view.js", "other_views.js"),
    *("slices.js", "plane.js", "viewer.js", "sample_view.js"),
    *("csv.js", "review_file.js", "decisions.js", "decisions_view.js"),
)
# Nothing from elsewhere: what is inline, and files beside the document.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'self' file:; style-src 'unsafe-inline'; "
    "img-src 'self' file: data: blob:; object-src 'self' file:; frame-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
_DOCUMENT = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{title}</title>
<style>
{style}</style></head><body>
<header id="top"><nav aria-label="Views">
<a href="#samples" data-view="samples">Samples</a>
<a href="#plots" data-view="plots">Plots</a>
<a href="#how" data-view="how">How samples are judged</a>
<button type="button" id="help">Keys <kbd>?</kbd></button></nav>
<div id="decisions-bar"></div></header>
<div id="message" role="status" aria-live="polite"></div>
<main id="main"></main>
<noscript><p>This report needs JavaScript, which is switched off in this browser.</p></noscript>
<script type="application/json" id="data">{data}</script>
<script>
{script}QC.start();
</script>
</body></html>
"""


def document(data: dict) -> bytes:
    """Put index.html together; `data` is what the scripts find as QC.data."""
    name = html.escape(errors.printable(data["set"]["name"]))
    filled = _DOCUMENT.format(
        policy=_POLICY,
        title=f"{name}: quality report",
        style=_joined(_STYLES),
        # Numbers that JSON does not know would leave the page without any data.
        data=without_markup(json.dumps(data, allow_nan=False, separators=(",", ":"))),
        script=_joined(_SCRIPTS),
    )
    return filled.encode()


def without_markup(text: str) -> str:
    """Escape in JSON what could end the element that holds it; JSON writes all else in ASCII."""
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _joined(names):
    return "".join((_SOURCES / name).read_text(encoding="utf-8") for name in names)
