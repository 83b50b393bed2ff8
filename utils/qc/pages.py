"""The pages of the quality report: plain HTML that opens from disk, without a server or network."""

import html
from dataclasses import dataclass
from pathlib import Path
from urllib import parse

from utils.storage import label_map

_HERE = Path(__file__).resolve().parent
# Attribute that can be filtered by -> heading of its column.
FILTERS = {
    "subset": "subset",
    "modality": "modality",
    "scanner": "scanner",
    "sex": "sex",
    "site": "site",
}
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
    metadata: dict
    record: dict | None
    flags: list
    label_names: dict

    @property
    def page(self) -> str:
        """Path of its page, from the report's folder."""
        return f"samples/{self.name}.html"


def index(entries: list[Entry], plots: list[str], notes: list[str]) -> bytes:
    """Make the index page.

    Parameters
    ----------
    entries : list of Entry
    plots : list of str
        File names below ``plots/``.
    notes : list of str
        Sentences that say how it was judged.

    Returns
    -------
    bytes
    """
    n_flagged = sum(bool(entry.flags) for entry in entries)
    has_changes = any(entry.record and entry.record["changes"] for entry in entries)
    parts = [
        "<h1>Quality report</h1>",
        f"<p>{len(entries)} samples, {n_flagged} with flags. "
        '<a href="#plots">Plots</a> · <a href="#how">How samples are judged</a></p>',
        _filters(entries),
        _table(entries, has_changes),
    ]
    if has_changes:
        parts.append(
            "<h2>What denoising changed, all samples</h2>"
            + _change_table(_total(entries), entries[0].label_names)
        )
    parts.append('<h2 id="plots">Plots</h2>')
    parts += [
        f'<img class="plot" loading="lazy" src="plots/{_link(name)}" '
        f'alt="{_text(Path(name).stem.replace("_", " "))}">'
        for name in plots
    ]
    parts.append(
        '<h2 id="how">How samples are judged</h2><ul>'
        + "".join(f"<li>{_text(note)}</li>" for note in notes)
        + "</ul>"
    )
    return _page("Quality report", "\n".join(parts), _asset("pages.js"))


def sample(entry: Entry, before: Entry | None, after: Entry | None) -> bytes:
    """Make the page of one sample, with links to its neighbours in the list.

    Returns
    -------
    bytes
    """
    links = ['<a href="../index.html">All samples</a>']
    links += [
        f'<a href="{_link(other.name)}.html">{arrow} {_text(other.name)}</a>'
        for other, arrow in ((before, "←"), (after, "→"))
        if other is not None
    ]
    told = " · ".join(
        filter(
            None,
            (
                entry.metadata.get(key, "")
                for key in ("modality", "scanner", "sex", "age", "subset", "site")
            ),
        )
    )
    parts = [
        f"<nav>{' '.join(links)}</nav><h1>{_text(entry.name)}</h1><p>{_text(told)}</p>",
        _flag_list(entry),
    ]
    for picture in entry.record["pictures"] if entry.record else ():
        if not picture.endswith("_small.png"):
            what = "before and after denoising" if picture.endswith("_changes.png") else "montage"
            anchor = "changes" if picture.endswith("_changes.png") else "picture"
            parts.append(
                f'<img class="full" id="{anchor}" src="../pictures/{_link(picture)}" '
                f'alt="{_text(entry.name)}: {what}">'
            )
    if entry.record and entry.record["changes"]:
        parts.append(
            "<h2>What denoising changed</h2>"
            + _change_table(entry.record["changes"]["per_label"], entry.label_names)
        )
    if entry.record and entry.record["organs"]:
        parts.append("<h2>Organs</h2>" + _organ_table(entry.record["organs"]))
    return _page(entry.name, "\n".join(parts))


def _page(title, body, script=""):
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        # An empty icon of its own: without it browsers ask for favicon.ico.
        f'<link rel="icon" href="data:,"><title>{_text(title)}</title>',
        f"<style>\n{_asset('pages.css')}</style></head><body>",
        body,
    ]
    if script:
        parts.append(f"<script>\n{script}</script>")
    return "\n".join([*parts, "</body></html>\n"]).encode()


def _asset(name):
    return (_HERE / name).read_text(encoding="utf-8")


def _text(value):
    return html.escape(str(value))


def _link(name):
    return html.escape(parse.quote(name))


def _filters(entries):
    parts = []
    for key, heading in FILTERS.items():
        values = sorted({entry.metadata.get(key, "") for entry in entries} - {""})
        parts.append(_select(key, heading, values))
    kinds = sorted({flag.kind for entry in entries for flag in entry.flags})
    parts.append(_select("flags", "flag", kinds))
    return (
        '<div class="filters">'
        + "".join(parts)
        + '<label>search<input type="search" id="search"></label>'
        '<label class="tick"><input type="checkbox" id="flagged">flagged only</label>'
        '<span id="count" class="quiet"></span></div>'
    )


def _select(key, heading, values):
    options = "".join(f'<option value="{_text(value)}">{_text(value)}</option>' for value in values)
    return (
        f'<label>{_text(heading)}<select data-filter="{key}"><option value="">all</option>'
        f"{options}</select></label>"
    )


def _table(entries, has_changes):
    headings = [
        "sample",
        "subset",
        "modality",
        "scanner",
        "sex",
        "age:",
        "site",
        "size:",
        "spacing:",
        "orientation",
        "labels:",
        "small regions:",
    ]
    headings += ["voxels changed:"] if has_changes else []
    cells = "".join(_heading(heading) for heading in (*headings, "flags:"))
    rows = "\n".join(_row(entry, has_changes) for entry in entries)
    return (
        f'<table id="samples"><thead><tr><th></th>{cells}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table>"
    )


def _heading(text):
    kind = ' class="number"' if text.endswith(":") else ""
    return f'<th{kind}><button type="button">{_text(text.rstrip(":"))}</button></th>'


def _row(entry, has_changes):
    meta, record = entry.metadata, entry.record
    attributes = "".join(f' data-{key}="{_text(meta.get(key, ""))}"' for key in FILTERS)
    kinds = "|".join(sorted({flag.kind for flag in entry.flags}))
    picture = ""
    if record:
        picture = (
            f'<a href="{_link(entry.page)}"><img loading="lazy" width="110" alt="" '
            f'src="pictures/{_link(entry.name)}_small.png"></a>'
        )
    cells = [_cell(entry.name, f'<a href="{_link(entry.page)}">{_text(entry.name)}</a>')]
    cells += [_cell(meta.get(key, "")) for key in ("subset", "modality", "scanner", "sex")]
    age = meta.get("age", "")
    cells += [_cell(age_years(age), _text(age), "number"), _cell(meta.get("site", ""))]
    cells += _measured_cells(record or {}, has_changes)
    cells.append(_cell(len(entry.flags), _flag_list(entry, f"{_link(entry.page)}#picture")))
    return (
        f'<tr id="{_text(entry.name)}"{attributes} data-flags="{_text(kinds)}">'
        f"<td>{picture}</td>{''.join(cells)}</tr>"
    )


def _measured_cells(record, has_changes):
    volume = record.get("volume", {})
    shape, spacing = volume.get("shape", ()), volume.get("spacing", ())
    n_voxels = shape[0] * shape[1] * shape[2] if shape else ""
    organs, changed = record.get("organs"), record.get("changes")
    small = record.get("small_regions")
    cells = [
        _cell(n_voxels, " × ".join(map(str, shape)), "number"),
        _cell(max(spacing, default=""), " × ".join(f"{step:.3g}" for step in spacing), "number"),
        _cell(volume.get("orientation_to", "")),
        _cell("" if organs is None else len(organs), kind="number"),
        _cell("" if small is None else small, kind="number"),
    ]
    if has_changes:
        cells.append(_cell(changed["n_voxels"] if changed else "", kind="number"))
    return cells


def _cell(key, shown=None, kind=""):
    attribute = f' class="{kind}"' if kind else ""
    return (
        f'<td{attribute} data-key="{_text("" if key is None else key)}">'
        f"{_text(key) if shown is None else shown}</td>"
    )


def age_years(age: str) -> int | None:
    """Read an age such as ``062Y``; None for one that is no number of years."""
    digits = age.removesuffix("Y")
    return int(digits) if digits.isascii() and digits.isdigit() else None


def _flag_list(entry, target="#picture"):
    """The flags of a sample as a list; each links to the picture."""
    if not entry.flags:
        return ""
    items = "".join(
        f'<li><a class="kind" href="{target}">{_text(flag.kind)}</a>: {_text(flag.reason)}</li>'
        for flag in entry.flags
    )
    return f'<ul class="flags">{items}</ul>'


def _total(entries):
    """Changes per label, added up over all samples."""
    total = {}
    for entry in entries:
        changed = entry.record and entry.record["changes"]
        for value, counts in (changed or {"per_label": {}})["per_label"].items():
            of_label = total.setdefault(value, dict.fromkeys(_CHANGE_COLUMNS, 0))
            for key, count in counts.items():
                of_label[key] += count
    return total


def _change_table(per_label, label_names):
    head = "".join(f'<th class="number">{text}</th>' for text in _CHANGE_COLUMNS.values())
    rows = []
    for value in sorted(per_label, key=int):
        name = label_names.get(int(value), "background" if value == "0" else "")
        cells = "".join(
            f'<td class="number">{per_label[value][key]:,}</td>' for key in _CHANGE_COLUMNS
        )
        rows.append(f"<tr><td>{value} {_text(label_map.shown(name))}</td>{cells}</tr>")
    return (
        f'<table class="narrow"><thead><tr><th>label</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _organ_table(organs):
    rows = []
    for name, organ in sorted(organs.items(), key=lambda item: item[1]["value"]):
        centre = ", ".join(f"{part:.0f}" for part in organ.get("centre", ()))
        edge = "cut off by the image's edge" if organ["at_edge"] else ""
        rows.append(
            f"<tr><td>{organ['value']} {_text(label_map.shown(name))}</td>"
            f'<td class="number">{organ["volume_ml"]:.1f}</td><td>{centre}</td>'
            f"<td>{edge}</td></tr>"
        )
    return (
        '<table class="narrow"><thead><tr><th>organ</th><th class="number">ml</th>'
        "<th>centre (R, A, S mm)</th><th></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
