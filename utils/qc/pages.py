"""The pages of the quality report: plain HTML that opens from disk, without a server or network."""

import html
import math
import os
from dataclasses import dataclass
from pathlib import Path
from urllib import parse

from utils import errors
from utils.qc import judging
from utils.storage import forms, label_map

_HERE = Path(__file__).resolve().parent
# Metadata that can be filtered by; also the headings of their columns.
FILTERS = ("subset", "modality", "scanner", "sex", "site")
_CHANGE_COLUMNS = {
    "lost": "voxels lost",
    "gained": "voxels gained",
    "islands_removed": "islands removed",
    "holes_filled": "holes filled",
    "small_before": "small regions before",
    "small_after": "small regions after",
}


@dataclass(frozen=True)
class Entry:
    """One sample as the pages show it.

    Attributes
    ----------
    name : str
    metadata : dict of str to str
        ``subset``, ``modality``, ``scanner``, ``sex``, ``age``, ``site``.
    record : dict or None
        See `sample_report.render`; None for a sample that failed.
    flags : list of judging.Flag
    label_names : dict of int to str
    """

    name: str
    metadata: dict[str, str]
    record: dict | None
    flags: list[judging.Flag]
    label_names: dict[int, str]

    @property
    def page(self) -> str:
        """Path of its page, from the report's folder."""
        return f"samples/{self.name}.html"


def index(entries: list[Entry], plots: list[str], notes: list[str]) -> bytes:
    """Make the index page; `plots` are file names, `notes` say how samples are judged."""
    n_flagged = sum(bool(entry.flags) for entry in entries)
    changed = [entry.record["changes"] for entry in entries if entry.record]
    per_label = [changes["per_label"] for changes in changed if changes]
    parts = [
        "<h1>Quality report</h1>",
        f"<p>{len(entries)} samples, {n_flagged} with flags. "
        '<a href="#plots">Plots</a> · <a href="#how">How samples are judged</a></p>',
        _filters(entries),
        _table(entries, bool(per_label)),
    ]
    if per_label:
        table = _change_table(per_label, entries[0].label_names)
        parts.append(f"<h2>What denoising changed, all samples</h2>{table}")
    parts.append('<h2 id="plots">Plots</h2>')
    for name in plots:
        alt = _text(Path(name).stem.replace("_", " "))
        source = f"plots/{_link(name)}"
        parts.append(f'<img class="plot" loading="lazy" src="{source}" alt="{alt}">')
    items = "".join(f"<li>{_text(note)}</li>" for note in notes)
    parts.append(f'<h2 id="how">How samples are judged</h2><ul>{items}</ul>')
    return _page("Quality report", parts, f"<script>\n{_asset('pages.js')}</script>\n")


def sample(entry: Entry, before: Entry | None, after: Entry | None) -> bytes:
    """Make the page of one sample, with links to its neighbours in the list."""
    name, record, links = _text(entry.name), entry.record or {}, []
    for other, arrow in ((before, "←"), (after, "→")):
        if other is not None:
            links.append(f' <a href="{_link(other.name)}.html">{arrow} {_text(other.name)}</a>')
    keys = ("modality", "scanner", "sex", "age", "subset", "site")
    about = " · ".join(filter(None, (entry.metadata.get(key, "") for key in keys)))
    nav = f'<nav><a href="../index.html">All samples</a>{"".join(links)}</nav>'
    parts = [f"{nav}<h1>{name}</h1><p>{_text(about)}</p>", _flag_list(entry)]
    for picture in record.get("pictures", ()):
        if not picture.endswith("_small.jpg"):
            anchor, what = "picture", "montage"
            if picture.endswith("_changes.jpg"):
                anchor, what = "changes", "before and after denoising"
            source = f"../pictures/{_link(picture)}"
            parts.append(f'<img class="full" id="{anchor}" src="{source}" alt="{name}: {what}">')
    if record.get("changes"):
        table = _change_table([record["changes"]["per_label"]], entry.label_names)
        parts.append(f"<h2>What denoising changed</h2>{table}")
    if record.get("organs"):
        parts.append(f"<h2>Organs</h2>{_organ_table(record['organs'])}")
    return _page(entry.name, parts)


def _page(title, parts, script=""):
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        # An empty icon of its own: without it browsers ask for favicon.ico.
        f'<link rel="icon" href="data:,"><title>{_text(title)}</title>\n'
        f"<style>\n{_asset('pages.css')}</style></head><body>\n"
    )
    body = "\n".join(parts)
    return f"{head}{body}\n{script}</body></html>\n".encode()


def _asset(name):
    return (_HERE / name).read_text(encoding="utf-8")


def _text(value):
    """Text as text: no markup, no control character, nothing that turns its neighbours round."""
    return html.escape(errors.printable(value))


def _link(name):
    return html.escape(parse.quote(os.fsencode(name)))


def _filters(entries):
    choices = {key: {entry.metadata.get(key, "") for entry in entries} - {""} for key in FILTERS}
    kinds = {flag.kind for entry in entries for flag in entry.flags}
    selects = [_select(key, key, values) for key, values in choices.items()]
    return (
        f'<div class="filters">{"".join(selects)}{_select("flags", "flag", kinds)}'
        '<label>search<input type="search" id="search"></label>'
        '<label class="tick"><input type="checkbox" id="flagged">flagged only</label>'
        '<span id="count" class="quiet"></span></div>'
    )


def _select(key, heading, values):
    texts = map(_text, sorted(values))
    options = "".join(f'<option value="{text}">{text}</option>' for text in texts)
    return (
        f'<label>{_text(heading)}<select data-filter="{key}"><option value="">all</option>'
        f"{options}</select></label>"
    )


def _table(entries, has_changes):
    headings = "subset modality scanner sex age: site size: spacing: orientation labels:".split()
    headings = ["sample", *headings, "small regions:"]
    headings += ["voxels changed:", "flags:"] if has_changes else ["flags:"]
    head = "".join(map(_heading, headings))
    rows = "\n".join(_row(entry, has_changes) for entry in entries)
    return (
        f'<table id="samples"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _heading(text):
    kind = ' class="number"' if text.endswith(":") else ""
    return f'<th{kind}><button type="button">{_text(text.rstrip(":"))}</button></th>'


def _row(entry, has_changes):
    meta, record, page = entry.metadata, entry.record or {}, _link(entry.page)
    attributes = "".join(f' data-{key}="{_text(meta.get(key, ""))}"' for key in FILTERS)
    kinds = "|".join(sorted({flag.kind for flag in entry.flags}))
    picture, age = "", meta.get("age", "")
    if record:
        source = f"pictures/{_link(entry.name)}_small.jpg"
        image = f'<img loading="lazy" width="110" alt="" src="{source}">'
        picture = f'<a href="{page}">{image}</a>'
    cells = [
        _cell(entry.name, f'<a href="{page}">{_text(entry.name)}</a>'),
        *(_cell(meta.get(key, "")) for key in ("subset", "modality", "scanner", "sex")),
        _cell(forms.years(age), _text(age), "number"),
        _cell(meta.get("site", "")),
        *_measured_cells(record, has_changes),
        _cell(len(entry.flags), _flag_list(entry, f"{page}#picture")),
    ]
    return (
        f'<tr id="{_text(entry.name)}"{attributes} data-flags="{_text(kinds)}">'
        f"<td>{picture}</td>{''.join(cells)}</tr>"
    )


def _measured_cells(record, has_changes):
    volume = record.get("volume", {})
    shape, spacing = volume.get("shape", ()), volume.get("spacing", ())
    organs, changed = record.get("organs"), record.get("changes")
    n_voxels = math.prod(shape) if shape else ""
    cells = [
        _cell(n_voxels, " × ".join(map(str, shape)), "number"),
        _cell(max(spacing, default=""), " × ".join(f"{step:.3g}" for step in spacing), "number"),
        _cell(volume.get("orientation_to", "")),
        _cell("" if organs is None else len(organs), kind="number"),
        _cell(record.get("small_regions"), kind="number"),
    ]
    if has_changes:
        cells.append(_cell(changed["n_voxels"] if changed else "", kind="number"))
    return cells


def _cell(key, shown=None, kind=""):
    """A cell of the table: what it is sorted by, what is shown if that is not the same."""
    attribute = f' class="{kind}"' if kind else ""
    key = "" if key is None else _text(key)
    return f'<td{attribute} data-key="{key}">{key if shown is None else shown}</td>'


def _flag_list(entry, target="#picture"):
    """The flags of a sample as a list; each links to the picture."""
    if not entry.flags:
        return ""
    items = "".join(
        f'<li><a class="kind" href="{target}">{_text(flag.kind)}</a>: {_text(flag.reason)}</li>'
        for flag in entry.flags
    )
    return f'<ul class="flags">{items}</ul>'


def _change_table(per_label, label_names):
    """What changed, added up over samples; `per_label` holds such counts of each sample."""
    import pandas as pd

    counted = [
        {"label": int(value), **counts} for labels in per_label for value, counts in labels.items()
    ]
    table = pd.DataFrame(counted, columns=["label", *_CHANGE_COLUMNS])
    rows = []
    for value, counts in table.groupby("label").sum().iterrows():
        name = label_names.get(value, "" if value else "background")
        cells = "".join(f'<td class="number">{count:,}</td>' for count in counts)
        rows.append(f"<tr><td>{value} {_text(label_map.shown(name))}</td>{cells}</tr>")
    head = "".join(f'<th class="number">{text}</th>' for text in _CHANGE_COLUMNS.values())
    return _narrow_table(f"<th>label</th>{head}", rows)


def _organ_table(organs):
    rows = []
    for name, organ in sorted(organs.items(), key=lambda item: item[1]["value"]):
        centre = ", ".join(f"{part:.0f}" for part in organ.get("centre", ()))
        edge = "cut off by the image's edge" if organ["at_edge"] else ""
        rows.append(
            f"<tr><td>{organ['value']} {_text(label_map.shown(name))}</td>"
            f'<td class="number">{organ["volume_ml"]:.1f}</td><td>{centre}</td><td>{edge}</td></tr>'
        )
    head = '<th>organ</th><th class="number">ml</th><th>centre (R, A, S mm)</th><th></th>'
    return _narrow_table(head, rows)


def _narrow_table(head, rows):
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<table class="narrow"><thead><tr>{head}</tr></thead>{body}</table>'
