"""The list of the report's samples, its filters, order and keys, plots and help, in Chromium."""

import json

import chromium
import pytest
import report_data
import test_pages

from utils.qc import pages

pytestmark = chromium.needed
# 54 have "pieces"; see _data for the samples that differ.
N_SAMPLES = 600
VOLUME = report_data.flag("volume", reason="The liver has 9 ml, expected more.")
# Follows what a click started: the address changes in a task of its own.
_SETTLED = "new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done))))"
_NAMES = "Array.from(document.querySelectorAll('.sample .title'), (one) => one.textContent)"
_ALONE = (
    "QC.views.sample = {title: '', show: (route, main) =>"
    " main.append(QC.el('p', {id: 'alone'}, route.name))}"
)


def _data():
    data = report_data.index_data(N_SAMPLES)
    one, other, failed, scored = (data["samples"][k] for k in (3, 34, 5, 7))
    one |= {"relatives": ["amos_0035"], "small_regions": 1234, "flags": [VOLUME]}
    one["metadata"] |= {"scanner": ""}
    other |= {"relatives": ["amos_0004"], "patient": "amos_0004"}
    failure = report_data.flag("left/right", None, reason="The gzip stream ends early.")
    nothing = dict.fromkeys(("shape", "spacing", "n_labels", "small_regions", "n_changed"))
    failed |= nothing | {"orientation": "", "thumbnail": "", "data": "", "pictures": []}
    failed["flags"] = [failure | {"kind": "failed"}]
    scored["dice"] = 0.5
    data["changes"] = [{"label": "1 spleen", "lost": 1234, "gained": 1, "islands_removed": 2}]
    data["changes"][0] |= {"holes_filled": 3, "small_before": 4, "small_after": 5}
    return data


DATA = _data()


def _plot():
    link = '<a href="../index.html#/amos_0004" target="_top"><rect width="400" height="200"/></a>'
    size = 'width="400pt" height="200pt" viewBox="0 0 400 200"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{link}</svg>'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A report's folder whose name needs quoting in an address."""
    folder = tmp_path_factory.mktemp("a report #1 %20")
    for name in ("pictures", "plots", "samples"):
        (folder / name).mkdir()
    for sample in DATA["samples"]:
        if sample["thumbnail"]:
            (folder / "pictures" / sample["thumbnail"]).write_bytes(report_data.picture())
    (folder / "plots/ages.svg").write_text(_plot())
    (folder / "index.html").write_bytes(pages.document(DATA))
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as started:
        yield started


@pytest.fixture
def view(browser, place):
    """The list without filters; what a sample's own view shows is not looked at here."""
    browser.resize(1400, 900)
    browser.errors.clear()
    browser.open((place / "index.html").as_uri() + "#samples")
    browser.run(_ALONE)
    browser.run("document.activeElement.blur(); window.scrollTo(0, 0); QC.announce('')")
    yield browser
    assert browser.errors == []


def _go(browser, address):
    browser.run(f"location.hash = {json.dumps(address)}")
    browser.run(_SETTLED)


def _click(browser, selector):
    browser.click(selector)
    browser.run(_SETTLED)


def _still(browser, expression):
    """The value once it stays: rows get their height when they come into the window."""
    values = [None, browser.run(expression)]
    while len(values) < 200 and len({*values[-4:]}) > 1:
        browser.run(_SETTLED)
        values.append(browser.run(expression))
    return values[-1]


def _count(browser):
    return browser.run("document.getElementById('count').textContent")


def _names(is_meant):
    return {sample["name"] for sample in DATA["samples"] if is_meant(sample)}


def _has(kind):
    return lambda sample: kind in {flag["kind"] for flag in sample["flags"]}


def _hash(browser):
    return browser.run("location.hash")


def test_600_samples_are_there_the_worst_first(view):
    assert _count(view) == "600 of 600 samples"
    assert set(view.run(_NAMES)) == _names(lambda sample: True)
    worst = view.run("QC.visible().map(({flags}) => flags.map((flag) => flag.severity).join())")
    ranks = {"": 9, "wrong,doubtful": 1, "wrong,unusual": 2, "wrong": 3}
    ranks |= {"doubtful,doubtful": 4, "doubtful,unusual": 5, "doubtful": 6, "unusual": 7}
    assert {*worst} <= {*ranks} and [ranks[one] for one in worst] == sorted(map(ranks.get, worst))
    first = view.run("document.querySelector('.sample').innerText")
    assert first.startswith("✕ wrong left/right: The liver has 9 ml, expected more.")


def test_buttons_of_the_summary_filter_and_a_second_click_takes_it_back(view):
    buttons = "document.querySelectorAll('.summary button')"
    labels = view.run(f"Array.from({buttons}, (button) => button.innerText)")
    volumes, clean = _names(_has("volume")), _names(lambda sample: not sample["flags"])
    assert f"volume {len(volumes)}" in labels and f"✓ no flags {len(clean)}" in labels
    assert "undecided 600" in labels and "failed 1" in labels
    place = labels.index(f"volume {len(volumes)}")
    view.run(f"{buttons}[{place}].id = 'volume'")
    _click(view, "#volume")
    assert _hash(view) == "#samples?flag=volume"
    assert set(view.run(_NAMES)) == volumes
    assert _count(view) == f"{len(volumes)} of 600 samples"
    assert view.run("document.querySelector('#volume').getAttribute('aria-pressed')") == "true"
    assert view.run("document.querySelector('[name=flag]').value") == "=volume"
    _click(view, "#volume")
    assert _hash(view) == "#samples" and _count(view) == "600 of 600 samples"


def test_an_address_shows_its_view_and_back_and_forward_work(view):
    _go(view, "#samples?flag=left%2Fright&sort=-name&sex=M&subset=val")
    expected = _names(_has("left/right")) & _names(
        lambda sample: sample["metadata"]["sex"] == "M" and sample["metadata"]["subset"] == "val"
    )
    assert expected and view.run(_NAMES) == sorted(expected, reverse=True)
    assert view.run("QC.visible().map(({name}) => name)") == sorted(expected, reverse=True)
    _click(view, "#clear")
    assert _hash(view) == "#samples?sort=-name" and _count(view) == "600 of 600 samples"
    view.run("history.back()")
    view.wait(f"document.querySelectorAll('.sample').length === {len(expected)}")
    assert view.run("document.querySelector('[name=sex]').value") == "=M"
    view.run("history.forward()")
    view.wait("document.querySelectorAll('.sample').length === 600")
    view.reload()
    assert view.run(_NAMES)[0] == "amos_0600"


FILTERS = {
    "severity=none": lambda sample: not sample["flags"],
    "severity=any": lambda sample: sample["flags"],
    "severity=unusual": _has("geometry"),
    "severity=doubtful&flag=left%2Fright": lambda sample: False,
    "flag=nonsense": lambda sample: False,
    "scanner=": lambda sample: sample["name"] == "amos_0004",
    "scans=several": lambda sample: sample["relatives"],
    "patient=amos_0004": lambda sample: sample["name"] in ("amos_0004", "amos_0035"),
    "modality=MRI&site=A": lambda sample: sample["name"] > "amos_0500",
    "q=GZIP+early": lambda sample: sample["name"] == "amos_0006",
    "q=0600": lambda sample: sample["name"] == "amos_0600",
    "decision=undecided": lambda sample: True,
    "decision=accept": lambda sample: False,
    "unheard=of": lambda sample: True,
}


def test_filters_of_the_address(view):
    for query, is_meant in FILTERS.items():
        _go(view, f"#samples?{query}")
        assert set(view.run(_NAMES)) == _names(is_meant), query
        isEmpty = view.run("document.body.innerText.includes('No sample is like this.')")
        assert isEmpty == (not _names(is_meant))


SORTS = {
    "flags": lambda sample: sample["name"],
    "small_regions": lambda sample: sample["small_regions"],
    "age": lambda sample: sample["age_years"],
    "scanner": lambda sample: sample["metadata"]["scanner"] or None,
    "dice": lambda sample: sample["dice"],
    "size": lambda sample: sample["shape"] and 80 * 64 * 12,
    "changed": lambda sample: sample["n_changed"],
}


def test_every_column_sorts_both_ways_and_what_is_not_known_stays_last(view):
    keys = view.run("Array.from(document.querySelectorAll('[data-sort]'), (h) => h.dataset.sort)")
    assert (
        keys
        == (
            "flags name subset modality scanner sex age site size spacing orientation labels "
            "small_regions changed dice decision"
        ).split()
    )
    for key, value in list(SORTS.items())[1:]:
        for sign, is_down in (("", False), ("-", True)):
            _go(view, f"#samples?sort={sign}{key}")
            known = [sample for sample in DATA["samples"] if value(sample) is not None]
            unknown = [sample for sample in DATA["samples"] if value(sample) is None]
            expected = [*sorted(known, key=value, reverse=is_down), *unknown]
            assert view.run(_NAMES) == [sample["name"] for sample in expected], (key, sign)


def test_a_click_on_a_heading_sorts_and_the_next_one_turns_the_order(view):
    heading = "[data-sort=small_regions]"
    steps = [("-small_regions", "descending"), ("small_regions", "ascending")]
    for sort, state in steps:
        _click(view, f"{heading} button")
        assert _hash(view) == f"#samples?sort={sort}"
        assert view.run(f"document.querySelector('{heading}').ariaSort") == state
        assert len(view.run("Array.from(document.querySelectorAll('[aria-sort]'))")) == 1
    assert view.run(_NAMES)[-2:] == ["amos_0004", "amos_0006"]  # the most, and not known
    _click(view, "[data-sort=flags] button")
    assert _hash(view) == "#samples"
    _click(view, "[data-sort=flags] button")
    assert _hash(view) == "#samples?sort=flags"


def test_search_as_it_is_typed(view):
    view.press("/")
    assert view.run("document.activeElement.id") == "search"
    view.press(*"endsj")
    assert _hash(view) == "#samples?q=endsj" and _count(view) == "0 of 600 samples"
    view.run("document.activeElement.value = ''")
    view.press(*"EARLY")
    assert view.run(_NAMES) == ["amos_0006"]
    view.press("Escape")
    assert view.run("document.activeElement.tagName") == "BODY"


def test_the_cursor_goes_by_keys_and_enter_opens_its_sample(view):
    names = view.run(_NAMES)
    cursor = "document.querySelector('.cursor .title').textContent"
    view.press("j", "j", "ArrowDown", "k")
    assert view.run(cursor) == names[1] == view.run("QC.cursor()")
    view.press("ArrowUp", "ArrowUp", "ArrowUp")
    assert view.run(cursor) == names[0]
    view.press(*"j" * 40)
    assert view.run(cursor) == names[40] and view.run("document.querySelectorAll('.cursor').length")
    box = "document.querySelector('.cursor').getBoundingClientRect()"
    low = view.run("document.getElementById('top').getBoundingClientRect().bottom")
    assert view.run(f"{box}.bottom <= innerHeight") and view.run(f"{box}.top") >= low
    view.run("document.activeElement.blur()")
    view.press("Enter")
    view.wait("document.getElementById('alone')")
    assert _hash(view) == f"#/{names[40]}"


def test_back_from_a_sample_the_list_is_where_it_was(view):
    _go(view, "#samples?sex=F&sort=name")
    view.run("document.querySelectorAll('.sample')[200].scrollIntoView()")
    look = "document.querySelectorAll('.sample')[202].getBoundingClientRect().top"
    before = _still(view, look)
    name = view.run(_NAMES)[202]
    _go(view, f"#/{name}")
    listed = view.run("QC.visible().map((sample) => sample.name)")
    assert len(listed) == 300 and listed[202] == name and view.run("scrollY") == 0
    assert view.run("document.querySelector('#top a').hash") == "#samples?sex=F&sort=name"
    _click(view, "#top a")
    assert _hash(view) == "#samples?sex=F&sort=name"
    assert abs(_still(view, look) - before) <= 2
    assert view.run("document.activeElement.textContent") == name == view.run("QC.cursor()")
    _go(view, f"#/{listed[250]}")  # so far did one go there
    view.run("history.back()")
    view.wait("document.querySelector('.cursor')")
    place = "document.querySelector('.cursor').getBoundingClientRect()"
    assert _still(view, f"{place}.top > 0 && {place}.bottom <= innerHeight")
    assert view.run("QC.cursor()") == listed[250]


def test_a_flag_leads_to_its_place_and_scans_of_a_patient_to_each_other(view):
    first = "document.querySelector('.sample')"
    _go(view, "#samples?q=0004&patient=amos_0004&sort=name")
    assert view.run(f"{first}.querySelector('.kind').hash") == "#/amos_0004?at=20%2C12%2C5"
    links = view.run(f"Array.from({first}.querySelectorAll('.relatives a'), (a) => a.hash)")
    assert links == ["#/amos_0035", "#samples?patient=amos_0004"]
    text = view.run(f"{first}.innerText")
    for shown in ("1.5 × 1.5 × 5 mm", "80 × 64 × 12", "LAS", "3 labels", "1,234 small regions"):
        assert shown in text
    for shown in ("400 voxels changed", "site A", "024Y", "val", "CT", "undecided"):
        assert shown in text
    _go(view, "#samples?q=amos_0006")
    text = view.run(f"{first}.innerText")
    assert "✕ wrong failed: The gzip stream ends early." in text and "no picture" in text
    assert view.run(f"{first}.querySelector('.kind').hash") == "#/amos_0006"
    _go(view, "#samples?sort=dice")
    assert "Dice 0.500" in view.run(f"{first}.innerText")


def _decide(browser, name, decision, **more):
    made = {"decision": decision, "note": "", "reviewer": "", "isLapsed": False, "isChanged": False}
    browser.run(
        f"made.set({json.dumps(name)}, {json.dumps(made | more)}); QC.tell('decision', {{}})"
    )


def test_decisions_are_shown_counted_and_filtered_as_they_are_made(view):
    view.reload()
    view.run(
        "window.made = new Map(); QC.decisions.of = (name) => made.get(name) || null;"
        "QC.tell('decision', {})"
    )
    names = view.run(_NAMES)
    _go(view, "#samples?decision=undecided")
    view.press("j", "j")
    _decide(view, names[1], "exclude", note="Cut <b>off</b>", reviewer="Ada")
    assert view.run("QC.cursor()") == names[2]  # the one that took its place
    assert view.run("document.activeElement.textContent") == names[2]
    _decide(view, names[4], "accept", isLapsed=True, isChanged=True)
    _decide(view, names[5], "", note="later")
    assert _count(view) == "599 of 600 samples"
    assert "undecided 599" in view.run("document.querySelector('.summary').innerText")
    _go(view, "#samples?sort=decision")
    cells = "Array.from(document.querySelectorAll('.sample > .decision'), (c) => c.innerText)"
    lapsed, excluded, undecided, *_ = view.run(cells)
    assert lapsed == "✓ accept (lapsed)\nThe mask changed since."
    assert excluded == "✕ exclude\nCut <b>off</b>\n(Ada)" and undecided == "undecided"
    for query, expected in {
        "decision=decided": [names[1]],
        "decision=exclude&q=ada": [names[1]],
        "decision=accept": [],
        "decision=lapsed": [names[4]],
        "q=later": [names[5]],
    }.items():
        _go(view, f"#samples?{query}")
        assert view.run(_NAMES) == expected, query
    view.reload()  # no later test has them


def test_help_lists_the_keys_and_closes(view):
    view.press("?")
    text = view.run("document.querySelector('dialog[open]').innerText")
    for part in ("↓ j\nnext row", "Enter\nopen the sample", "/\nsearch", "?\nthis help"):
        assert part in text
    before = view.run("QC.cursor()")
    view.press("j")  # no key of the list behind
    assert view.run("QC.cursor()") == before
    view.press("Escape")
    view.wait("!document.querySelector('dialog')")
    _click(view, "#help")
    _click(view, "dialog button")
    view.wait("!document.querySelector('dialog')")


def test_a_click_in_a_plot_opens_its_sample_without_loading_the_report_anew(view):
    view.run("document.addEventListener('load', () => { window.isDrawn = true; }, true)")
    _click(view, "#top a[data-view=plots]")
    assert view.run("document.title") == "AMOS22: plots"
    assert view.run("document.querySelector('[aria-current]').textContent") == "Plots"
    view.run("window.isSamePage = true")
    view.wait("window.isDrawn")
    assert view.run("document.querySelector('object').offsetHeight") > 100
    view.run(_SETTLED)
    view.click("object")
    view.wait("document.getElementById('alone')")
    assert _hash(view) == "#/amos_0004" and view.run("window.isSamePage")


def test_how_samples_are_judged_and_what_changed(view):
    _click(view, "#top a[data-view=how]")
    text = view.run("document.getElementById('main').innerText")
    assert "A flag means: have a look." in text and "next row" in text
    assert "1 spleen\t1,234\t1\t2\t3\t4\t5" in text


def test_an_address_that_is_none_says_so_and_shows_the_list(view):
    for address in ("#/amos_9999", "#nowhere", "#constructor", "#/%E0%A4%A"):
        _go(view, address)
        shown = view.run("document.getElementById('message').textContent")
        assert shown.startswith("There is no page #") and _count(view) == "600 of 600 samples"
    view.run("QC.MESSAGE_SECONDS = 0.01; QC.announce('Copied.')")
    view.wait("!document.getElementById('message').textContent")
    view.run("QC.MESSAGE_SECONDS = 10")


def test_scripts_beside_the_document_load_and_others_do_not(view, place):
    (place / "samples/a #1.js").write_text("window.isLoaded = true;")
    load = (
        "new Promise((done) => document.head.append(QC.el('script', {src: %s,"
        " onload: () => done('loaded'), onerror: () => done('refused')})))"
    )
    assert view.run(load % "QC.url('samples/a #1.js')") == "loaded" and view.run("isLoaded")
    assert view.run(load % "'https://127.0.0.1:9/a.js'") == "refused"
    assert "Content Security Policy" in view.errors.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_runs_off_the_window_and_all_texts_stand_out(view, scheme):
    view.prefer(scheme)
    items = "Array.from(document.querySelectorAll('.flags li'), (li) => li.getBoundingClientRect())"
    for address in ("#samples?q=amos_000", "#plots", "#how"):
        _go(view, address)
        for width in (1400, 1100, 700, 360):
            view.resize(width, 900)
            assert view.run("document.scrollingElement.scrollWidth") <= width, (address, width)
            assert view.run(f"{items}.every(({{left, right}}) => left >= 0 && right <= {width})")
            assert view.faint() == [], (address, width)
        view.press("?")
        assert view.faint() == []
        assert view.run("document.querySelector('dialog').getBoundingClientRect().right") <= width
        view.press("Escape")


def test_hostile_texts_stay_texts(browser, place):
    texts = [*test_pages.ODD_TEXTS, *test_pages.MORE_ODD_TEXTS]
    made = [test_pages.odd_data(text)["samples"][1] for text in texts]
    data = report_data.index_data(0) | {"samples": made, "notes": texts}
    for sample in made:
        sample |= {"thumbnail": "", "relatives": [sample["name"]], "patient": sample["name"]}
    (place / "odd.html").write_bytes(pages.document(data))
    browser.errors.clear()
    for width in (1400, 360):
        browser.resize(width, 900)
        browser.open(place / "odd.html")
        tags = browser.run(
            "[...new Set(Array.from(document.body.querySelectorAll('*'),"
            " (one) => one.tagName.toLowerCase()))]"
        )
        assert not {"img", "center", "svg", "iframe"} & {*tags}
        assert browser.run("document.querySelectorAll('script').length") == 2
        assert browser.run("document.scrollingElement.scrollWidth") <= width
        shown = browser.run("document.getElementById('main').textContent")
        assert not test_pages.TURNING.search(shown)
        for text in (
            "\\u202etxet\\u2066\\u200f",
            "</script><img src=x onerror=alert(1)>",
            "\\ud800",
        ):
            assert text in shown
        links = browser.run("Array.from(document.querySelectorAll('a'), (a) => a.protocol)")
        assert {*links} == {"file:"}
    _go(browser, "#how")
    assert browser.run("document.querySelectorAll('.notes li').length") == len(texts)
    assert browser.errors == []


def test_names_of_files_that_are_no_utf_8_are_linked_and_found(browser, place):
    name = "a\udcff#?% \u810a"
    data = report_data.index_data(0)
    data["samples"] = [report_data.sample(1, name=name, thumbnail="", paths={})]
    (place / "bytes.html").write_bytes(pages.document(data))
    browser.errors.clear()
    browser.open(place / "bytes.html")
    assert browser.run("QC.url('a/' + QC.samples[0].name)") == "a/a%FF%23%3F%25%20%E8%84%8A"
    browser.run(_ALONE)
    _click(browser, ".title")
    assert browser.run("document.getElementById('alone').textContent") == "a\\udcff#?% \u810a"
    assert browser.run("QC.route.name === QC.samples[0].name") and browser.errors == []


def test_the_cursor_stops_below_the_bar_however_high_that_is(view):
    place = "document.getElementById('decisions-bar').style"
    view.run(f"{place}.cssText = 'display: block; height: 120px'")
    view.run(_SETTLED)
    view.press(*"j" * 30, *"k" * 12)
    cursor = view.run("document.querySelector('.cursor').getBoundingClientRect().top")
    assert cursor >= view.run("document.getElementById('top').offsetHeight") > 120
    view.run(f"{place}.cssText = ''")
