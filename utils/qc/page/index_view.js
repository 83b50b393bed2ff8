// The list of samples with its summary, filters and order.
"use strict";

(function () {
  const { el, number } = QC;
  const DECISIONS = { accept: "✓ accept", exclude: "✕ exclude", fix: "✎ fix" };
  const SEVERITIES = QC.data.severities;
  const collator = new Intl.Collator("en", { numeric: true });

  // {decision, note, reviewer, isLapsed, isChanged}; a note alone has the decision "".
  const NOTHING = { decision: "", note: "", reviewer: "", isLapsed: false, isChanged: false };
  const decisionOf = (sample) => QC.decisions.of(sample.name) || NOTHING;
  const isDecided = (sample) => QC.decisions.isDecided(sample.name);

  // ---- columns: what they are sorted by ("" and null are not known, and last), what they show

  const metadata = (key) => (sample) => sample.metadata[key] || "";
  const times = (numbers) => (numbers || []).join(" × ");

  function counted(key, one, several) {
    const shown = (count) => `${number(count)} ${count === 1 ? one : several}`;
    return (sample) => (sample[key] === null ? "" : shown(sample[key]));
  }

  // A wrong flag outweighs any number of doubtful ones.
  function badness(sample) {
    const weight = (flag) => 1000 ** (SEVERITIES.length - SEVERITIES.indexOf(flag.severity));
    return sample.flags.reduce((sum, flag) => sum + weight(flag), 0);
  }

  function spacing(sample) {
    const steps = (sample.spacing || []).map((step) => Number(step.toPrecision(3)));
    return steps.length ? `${times(steps)} mm` : "";
  }

  function plain(key) {
    return { key, by: metadata(key), cell: metadata(key) };
  }

  const COLUMNS = [
    { key: "flags", by: badness, cell: flagCell, isDown: true },
    { key: "name", title: "sample", by: (sample) => sample.name, cell: nameCell },
    plain("subset"),
    plain("modality"),
    plain("scanner"),
    plain("sex"),
    { key: "age", by: (sample) => sample.age_years, cell: metadata("age") },
    { ...plain("site"), cell: ({ metadata: { site } }) => (site ? `site ${site}` : "") },
    {
      key: "size",
      by: ({ shape }) => shape && shape.reduce((product, length) => product * length, 1),
      cell: (sample) => times(sample.shape),
    },
    {
      key: "spacing",
      by: (sample) => sample.spacing && Math.max(...sample.spacing),
      cell: spacing,
    },
    {
      key: "orientation",
      by: (sample) => sample.orientation,
      cell: (sample) => sample.orientation,
    },
    {
      key: "labels",
      by: (sample) => sample.n_labels,
      cell: counted("n_labels", "label", "labels"),
    },
    {
      key: "small_regions",
      title: "small regions",
      by: (sample) => sample.small_regions,
      cell: counted("small_regions", "small region", "small regions"),
      isDown: true,
    },
    {
      key: "changed",
      title: "voxels changed",
      by: (sample) => sample.n_changed,
      cell: counted("n_changed", "voxel changed", "voxels changed"),
      isDown: true,
    },
    {
      key: "dice",
      title: "lowest Dice",
      by: (sample) => sample.dice,
      cell: ({ dice }) => (dice === null ? "" : `Dice ${dice.toFixed(3)}`),
    },
    { key: "decision", by: (sample) => decisionOf(sample).decision, cell: decisionCell },
  ];
  const isEmpty = (value) => value === "" || value === null || value === undefined;
  const isUsed = ({ key, by }) => key === "decision" || QC.samples.some((one) => !isEmpty(by(one)));
  const USED = COLUMNS.filter(isUsed);

  // ---- cells

  function badge(severity, ...more) {
    const sign = el("span", { "aria-hidden": "true" }, QC.SIGNS[severity], " ");
    return el("span", { class: `severity ${severity}` }, sign, ...more);
  }

  function flagAddress(sample, flag) {
    return QC.address("sample", sample.name, flag.place ? { at: flag.place.join(",") } : {});
  }

  function flagItem(sample, flag) {
    const kind = el("a", { class: "kind", href: flagAddress(sample, flag) }, flag.kind);
    const reason = QC.reasonOf(flag);
    const severity = badge(flag.severity, flag.severity);
    return el("li", { title: reason }, severity, " ", kind, ": ", reason);
  }

  function flagCell(sample) {
    if (!sample.flags.length) return badge("none", "no flags");
    return el("ul", {}, sample.flags.map((flag) => flagItem(sample, flag)));
  }

  function nameCell(sample) {
    const href = QC.address("sample", sample.name);
    const source = sample.thumbnail && QC.url(`pictures/${sample.thumbnail}`);
    const image = source && el("img", { loading: "lazy", alt: "", src: source });
    if (image) image.onerror = () => image.replaceWith("no picture");
    const picture = image || "no picture";
    return [
      el("a", { class: "thumbnail", href, tabindex: "-1", "aria-hidden": "true" }, picture),
      el("a", { class: "title", href }, sample.name),
      sample.relatives.length ? relatives(sample) : null,
    ];
  }

  function relatives(sample) {
    const link = (name) => [" ", el("a", { href: QC.address("sample", name) }, name)];
    const together = QC.address("samples", "", { patient: sample.patient });
    return el(
      "span",
      { class: "relatives quiet" },
      "same patient:",
      sample.relatives.map(link),
      " ",
      el("a", { href: together, "aria-label": `scans of the patient of ${sample.name}` }, "(list)"),
    );
  }

  function decisionCell(sample) {
    const { decision, note, reviewer, isLapsed, isChanged } = decisionOf(sample);
    const word = el("b", {}, DECISIONS[decision] || decision, isLapsed ? " (lapsed)" : "");
    const lines = [isChanged && "The mask changed since.", note, reviewer && `(${reviewer})`];
    const shownLines = lines.filter(Boolean).map((line) => el("div", { class: "quiet" }, line));
    return [decision ? word : el("span", { class: "quiet" }, "undecided"), ...shownLines];
  }

  // ---- rows, made when first shown and kept

  const rows = new Map();

  function row(sample) {
    if (!rows.has(sample.name)) rows.set(sample.name, newRow(sample));
    return rows.get(sample.name);
  }

  function newRow(sample) {
    const cell = ({ key, cell: shown }) => el("div", { class: key, role: "cell" }, shown(sample));
    const made = el("div", { class: "sample", role: "row" }, USED.map(cell));
    const mark = () => setCursor(sample.name);
    made.addEventListener("click", mark);
    made.addEventListener("focusin", mark);
    return made;
  }

  function renewDecisions() {
    for (const [name, made] of rows) {
      made.querySelector(".decision").replaceChildren(...decisionCell(QC.byName.get(name)));
    }
  }

  // ---- filters: by the name of their parameter in the address

  const METADATA = ["subset", "modality", "scanner", "sex", "site"];
  const hasKind = (kind, severity) => (flag) =>
    flag.kind === kind && (!severity || flag.severity === severity);
  const TESTS = {
    ...Object.fromEntries(
      METADATA.map((key) => [key, (sample, value) => metadata(key)(sample) === value]),
    ),
    severity: (sample, value) => {
      if (value === "any") return sample.flags.length > 0;
      if (value === "none") return !sample.flags.length;
      return sample.flags.some((flag) => flag.severity === value);
    },
    flag: (sample, value, params) => {
      const severity = SEVERITIES.includes(params.get("severity")) && params.get("severity");
      return sample.flags.some(hasKind(value, severity));
    },
    decision: (sample, value) => {
      if (value === "decided") return isDecided(sample);
      if (value === "undecided") return !isDecided(sample);
      if (value === "lapsed") return decisionOf(sample).isLapsed;
      return isDecided(sample) && decisionOf(sample).decision === value;
    },
    scans: (sample) => sample.relatives.length > 0,
    patient: (sample, value) => sample.patient === value,
    q: (sample, value) => words(value).every((word) => textOf(sample).includes(word)),
  };
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  const texts = new Map();

  // What is searched, in small letters; all but the decision stays as it is.
  function textOf(sample) {
    if (!texts.has(sample.name)) {
      const flags = sample.flags.flatMap((flag) => [flag.kind, flag.reason, flag.evidence]);
      const all = [sample.name, sample.patient, ...Object.values(sample.metadata), ...flags];
      texts.set(sample.name, all.join("\n").toLowerCase());
    }
    const { decision, note, reviewer } = decisionOf(sample);
    return [texts.get(sample.name), decision, note, reviewer].join("\n").toLowerCase();
  }

  function chosen(params) {
    const tests = Object.entries(TESTS).filter(([key]) => params.has(key));
    const matches = (sample) => tests.every(([key, test]) => test(sample, params.get(key), params));
    return QC.samples.filter(matches);
  }

  // ---- order: sort=size upwards, sort=-size downwards; worst first without it

  function orderOf(params) {
    const wanted = params.get("sort") || "-flags";
    const isDown = wanted.startsWith("-");
    const column = USED.find(({ key }) => key === wanted.slice(isDown ? 1 : 0));
    return column ? { column, isDown } : { column: COLUMNS[0], isDown: true };
  }

  function sorted(samples, { column, isDown }) {
    const keyed = samples.map((sample) => ({ sample, key: column.by(sample) }));
    const compare = ({ key: a }, { key: b }) => {
      // What is not known stays at the end in both directions.
      if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
      const order = typeof a === "number" ? a - b : collator.compare(a, b);
      return isDown ? -order : order;
    };
    return keyed.sort(compare).map(({ sample }) => sample);
  }

  function sortAgain({ key, isDown: startsDown = false }) {
    const { column, isDown } = orderOf(shown.params);
    const turned = column.key === key ? !isDown : startsDown;
    const sort = `${turned ? "-" : ""}${key}`;
    change("sort", sort === "-flags" ? null : sort);
  }

  // ---- what is shown

  const shown = {
    // Of the list as it was last looked at, also where a sample is loaded anew.
    params: new URLSearchParams((history.state || {}).list),
    samples: null,
    cursor: "",
    lastSeen: "", // the sample that was shown alone
    place: null, // where the list was scrolled to
    panel: null,
    controls: [], // each takes the parameters of the address
  };

  // The samples in the filter and order of the list; they stay while one of them is looked at.
  QC.visible = function () {
    if (!shown.samples) shown.samples = sorted(chosen(shown.params), orderOf(shown.params));
    return shown.samples;
  };

  // Address of the list as it was last looked at, with its filters and order.
  QC.listAddress = () => QC.address("samples", "", shown.params);

  // Name of the sample under the cursor of the list; "" where there is none.
  QC.cursor = () => (QC.visible().some(({ name }) => name === shown.cursor) ? shown.cursor : "");

  // Follow a filter or an order; null takes it away.
  function change(key, value) {
    QC.go("samples", "", changed(key, value));
  }

  function changed(key, value) {
    const params = new URLSearchParams(shown.params);
    if (value === null) params.delete(key);
    else params.set(key, value);
    return params;
  }

  function list(params) {
    const before = shown.samples || [];
    shown.params = new URLSearchParams(params);
    shown.samples = null;
    const samples = QC.visible();
    const isSame = samples.length === before.length && samples.every((one, k) => one === before[k]);
    if (!isSame || !shown.rows.hasChildNodes()) replaceRows(samples);
    shown.controls.forEach((follow) => follow(shown.params));
    QC.tell("list", shown.params);
  }

  function replaceRows(samples) {
    const focused = document.activeElement;
    const fragment = document.createDocumentFragment();
    fragment.append(...samples.map(row));
    shown.rows.replaceChildren(fragment);
    if (focused !== document.activeElement && focused.isConnected) {
      focused.focus({ preventScroll: true });
    }
  }

  // ---- summary

  function toggle(key, value, label) {
    const isPressed = () => shown.params.get(key) === value;
    const press = () => change(key, isPressed() ? null : value);
    const button = el("button", { type: "button", onclick: press }, label);
    shown.controls.push(() => button.setAttribute("aria-pressed", isPressed()));
    return button;
  }

  const withFlag = (isMeant) => QC.samples.filter((sample) => sample.flags.some(isMeant)).length;

  // Kinds of flags by their worst severity: {wrong: ["left/right", "sex"]}.
  function kinds() {
    const worst = new Map();
    const rank = (severity) => SEVERITIES.indexOf(severity);
    for (const { kind, severity } of QC.samples.flatMap((sample) => sample.flags)) {
      if (!worst.has(kind) || rank(severity) < rank(worst.get(kind))) worst.set(kind, severity);
    }
    const all = [...worst.keys()].sort(collator.compare);
    const of = (severity) => all.filter((kind) => worst.get(kind) === severity);
    return Object.fromEntries(SEVERITIES.map((severity) => [severity, of(severity)]));
  }

  function severityLine(severity, names) {
    const count = withFlag((flag) => flag.severity === severity);
    if (!count) return null;
    const button = toggle("severity", severity, badge(severity, `${severity} ${number(count)}`));
    const kind = (name) => toggle("flag", name, `${name} ${number(withFlag(hasKind(name)))}`);
    const label = `flags that are ${severity}`;
    return el("div", { role: "group", "aria-label": label }, button, names.map(kind));
  }

  function summary() {
    const nFlagged = withFlag(() => true);
    const clean = badge("none", `no flags ${number(QC.samples.length - nFlagged)}`);
    const lines = Object.entries(kinds()).map(([severity, names]) => severityLine(severity, names));
    return el(
      "div",
      { class: "summary" },
      lines,
      el("div", {}, toggle("severity", "none", clean), openToggle()),
    );
  }

  // How many have no decision; the bar on top says how many have one.
  function openToggle() {
    const button = toggle("decision", "undecided", "");
    shown.controls.push(() => {
      const nOpen = QC.samples.filter((sample) => !isDecided(sample)).length;
      button.textContent = `undecided ${number(nOpen)}`;
    });
    return button;
  }

  // ---- controls of filters

  // Options hold "=value", so that a value that is empty differs from no filter.
  function select(key, title, options) {
    const follow = ({ target }) => change(key, target.value ? target.value.slice(1) : null);
    const option = ([value, text]) => el("option", { value: `=${value}` }, text);
    const all = el("option", { value: "" }, "all");
    const made = el("select", { name: key, onchange: follow }, all, options.map(option));
    shown.controls.push((params) => {
      const wanted = params.has(key) ? `=${params.get(key)}` : "";
      const isThere = Array.from(made.options).some(({ value }) => value === wanted);
      if (!isThere) made.append(option([wanted.slice(1), wanted.slice(1)]));
      made.value = wanted;
    });
    return el("label", {}, title, made);
  }

  function metadataSelect(key) {
    const values = [...new Set(QC.samples.map(metadata(key)))].sort(collator.compare);
    if (values.length < 2) return null;
    return select(key, key, values.map((value) => [value, value || "not known"]));
  }

  function flagSelects() {
    const names = Object.values(kinds()).flat().sort(collator.compare);
    if (!names.length) return null;
    const severities = SEVERITIES.map((one) => [one, one]);
    severities.push(["any", "any"], ["none", "no flags"]);
    return [
      select("severity", "severity", severities),
      select("flag", "flag", names.map((kind) => [kind, kind])),
    ];
  }

  function patientSelect() {
    const patients = new Set(QC.samples.filter(TESTS.scans).map(({ patient }) => patient));
    if (!patients.size) return null;
    const several = ["several", `with several scans (${number(patients.size)})`];
    return select("scans", "patients", [several]);
  }

  function searchField() {
    const follow = () => {
      const params = changed("q", input.value.trim() ? input.value : null);
      QC.replaceAddress(params);
      list(params);
    };
    const hint = "ID, reason, note";
    const input = el("input", { type: "search", id: "search", placeholder: hint, oninput: follow });
    shown.controls.push((params) => {
      const wanted = params.get("q") || "";
      if (input.value.trim() !== wanted.trim()) input.value = wanted;
    });
    return el("label", { class: "search" }, "search", input);
  }

  function clearButton() {
    const clear = () => {
      const sort = shown.params.get("sort");
      QC.go("samples", "", sort ? { sort } : {});
    };
    const button = el("button", { type: "button", id: "clear", onclick: clear }, "Clear filters");
    shown.controls.push((params) => {
      button.hidden = !Object.keys(TESTS).some((key) => params.has(key));
    });
    return button;
  }

  function filters() {
    const words = ["undecided", "decided", ...Object.keys(DECISIONS), "lapsed"];
    return el(
      "div",
      { class: "filters", role: "search", "aria-label": "filters" },
      searchField(),
      flagSelects(),
      METADATA.map(metadataSelect),
      patientSelect(),
      select("decision", "decision", words.map((word) => [word, word])),
    );
  }

  // ---- the list

  function headings() {
    const heading = (column) => {
      const { key, title = key } = column;
      const button = el("button", { type: "button", onclick: () => sortAgain(column) }, title);
      const made = el("div", { role: "columnheader", "data-sort": key }, button);
      shown.controls.push((params) => {
        const { column: by, isDown } = orderOf(params);
        if (by.key !== key) made.removeAttribute("aria-sort");
        else made.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      });
      return made;
    };
    const strip = el("div", { role: "row" }, USED.map(heading));
    return el("div", { class: "order", role: "rowgroup" }, strip);
  }

  function countLine() {
    const line = el("span", { id: "count", class: "count", role: "status" });
    shown.controls.push(() => {
      const n = QC.visible().length;
      line.textContent = `${number(n)} of ${number(QC.samples.length)} samples`;
      nothing.hidden = n > 0;
    });
    const nothing = el("p", {}, "No sample is like this.");
    return [el("div", { class: "shown" }, line, clearButton()), nothing];
  }

  function panel() {
    shown.rows = el("div", { id: "rows", role: "rowgroup" });
    const table = { role: "table", "aria-label": "samples", id: "list" };
    return el(
      "div",
      {},
      el("h1", {}, `${QC.data.set.name}: quality report`),
      summary(),
      filters(),
      countLine(),
      el("div", table, headings(), shown.rows),
    );
  }

  // ---- cursor and place

  function setCursor(name) {
    const [before, after] = [rows.get(shown.cursor), rows.get(name)];
    shown.cursor = name;
    if (before) before.classList.remove("cursor");
    if (after) after.classList.add("cursor");
  }

  function pointAt(name) {
    const made = rows.get(name);
    if (!made || !made.isConnected) return;
    made.querySelector(".title").focus({ preventScroll: true });
    setCursor(name);
    made.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    const samples = QC.visible();
    if (!samples.length) return;
    const here = samples.findIndex(({ name }) => name === shown.cursor);
    const next = here < 0 ? 0 : Math.min(Math.max(here + step, 0), samples.length - 1);
    pointAt(samples[next].name);
  }

  // Rows keep the height that they had in the window also when they are put back out of it.
  function keepHeights() {
    const all = [...shown.rows.children];
    if (!all.length) return;
    const { paddingTop, paddingBottom } = getComputedStyle(all[0]);
    const padding = parseFloat(paddingTop) + parseFloat(paddingBottom);
    const heights = all.map((made) => made.clientHeight - padding); // all before the first change
    all.forEach((made, k) => (made.style.containIntrinsicHeight = `auto ${heights[k]}px`));
  }

  // Filters may take rows away meanwhile, so the place is told by a row in the window.
  function placeOf() {
    const bar = Math.max(document.getElementById("top").getBoundingClientRect().bottom, 0);
    const isBelow = ({ name }) => rows.get(name).getBoundingClientRect().bottom > bar;
    const first = QC.visible().find(isBelow);
    if (!first) return null;
    const { top } = rows.get(first.name).getBoundingClientRect();
    keepHeights();
    return { name: first.name, top };
  }

  function restore(place) {
    const made = place && rows.get(place.name);
    if (!made || !made.isConnected) return;
    window.scrollBy(0, made.getBoundingClientRect().top - place.top);
  }

  QC.views.samples = {
    title: `${QC.data.set.name}: samples`,
    show(route, main) {
      shown.panel = shown.panel || panel();
      main.append(shown.panel);
      renewDecisions();
      list(route.params);
      restore(shown.place);
      if (shown.lastSeen) pointAt(shown.lastSeen);
      shown.lastSeen = "";
    },
    update(route) {
      list(route.params);
    },
    hide() {
      shown.place = placeOf();
    },
  };

  // A row that the filter takes away gives the cursor to the one that follows.
  QC.on("decision", () => {
    if (QC.shown !== QC.views.samples) return;
    const here = QC.visible().findIndex(({ name }) => name === shown.cursor);
    const place = placeOf();
    renewDecisions();
    list(shown.params);
    restore(place);
    const last = QC.visible().length - 1;
    if (here >= 0 && last >= 0 && !QC.cursor()) pointAt(QC.visible()[Math.min(here, last)].name);
  });

  // ---- keys

  function search() {
    const input = document.getElementById("search");
    input.focus();
    input.select();
  }

  QC.on("route", (route) => {
    if (route.view !== "sample") return;
    shown.lastSeen = route.name;
    history.replaceState({ ...history.state, list: String(shown.params) }, "");
  });
  QC.key("ArrowDown", "next row", () => move(1), "samples");
  QC.key("j", "next row", () => move(1), "samples");
  QC.key("ArrowUp", "previous row", () => move(-1), "samples");
  QC.key("k", "previous row", () => move(-1), "samples");
  const open = () => QC.cursor() && QC.go("sample", QC.cursor());
  QC.key("Enter", "open the sample", open, "samples");
  QC.key("/", "search", search, "samples");
  QC.key("Escape", "leave the search field", () => document.activeElement.blur(), "samples");
})();
