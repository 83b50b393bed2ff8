// The page of one sample: flags, viewer, pictures, tables, and what opens it elsewhere.
"use strict";

{
  const { el } = QC;
  const KEPT = 3; // decoded samples: the one shown, the next and the one before
  const ADDRESS_MS = 300; // browsers refuse an address that changes too often
  const PAGE_SLICES = 10;
  const METADATA = ["modality", "scanner", "sex", "age", "subset", "site"];
  const NOT_KNOWN = "–";

  // ---- loading

  const waiting = new Map(); // name -> what takes the data when its script has run
  const loaded = new Map(); // name -> promise of the decoded sample, the latest one last

  QC.receive = function (name, data) {
    const take = waiting.get(name);
    if (take) take(data);
  };

  // Promise of a decoded sample. What failed is tried again the next time.
  QC.load = function (sample) {
    const { name } = sample;
    const found = loaded.get(name) || runScript(sample).then(QC.decode);
    loaded.delete(name);
    loaded.set(name, found);
    found.catch(() => loaded.get(name) === found && loaded.delete(name));
    const [oldest] = loaded.keys();
    if (loaded.size > KEPT) loaded.delete(oldest);
    return found;
  };

  function runScript({ name, data }) {
    return new Promise((resolve, reject) => {
      const fail = (what) => reject(new Error(`${data} ${what}. Draw the report again.`));
      const script = el("script", { src: QC.url(data) });
      const end = (act) => () => {
        waiting.delete(name);
        script.remove();
        act();
      };
      waiting.set(name, resolve);
      // Where the data came, the promise is kept already, and this says nothing.
      script.onload = end(() => fail("holds no data of this sample"));
      script.onerror = end(() => fail("beside this page could not be read"));
      document.head.append(script);
    });
  }

  // ---- commands

  const isWindows = (path) => path.includes("\\") && !path.startsWith("/");

  // One word of a command line, for a POSIX shell or for Windows.
  QC.quoted = function (text, forWindows) {
    if (/^[\w@%+=:,./-]+$/.test(text) || (forWindows && /^[\w:.\\/-]+$/.test(text))) return text;
    return forWindows ? `"${text}"` : `'${text.replaceAll("'", "'\\''")}'`;
  };

  // A text of Python, in the quotation marks that the shell around it leaves alone.
  function pythonText(text, forWindows) {
    if (!forWindows) return JSON.stringify(text);
    return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  }

  // Commands that open a sample's files, absolute paths, with the labels' names and colours.
  QC.commands = function ({ volume, mask }, tables) {
    const forWindows = isWindows(volume);
    const words = [forWindows ? "ITK-SNAP" : "itksnap", "-g", volume];
    if (mask) words.push("-s", mask, "-l", tables.itksnap);
    const text = (path) => pythonText(path, forWindows);
    const key = text("colorNodeID");
    const lines = [`slicer.util.loadVolume(${text(volume)})`];
    if (mask) {
      lines.push(`colors = slicer.util.loadColorTable(${text(tables.slicer)})`);
      lines.push(`slicer.util.loadSegmentation(${text(mask)}, {${key}: colors.GetID()})`);
    }
    const line = (parts) => parts.map((part) => QC.quoted(part, forWindows)).join(" ");
    const slicer = ["Slicer", "--python-code", lines.join("; ")];
    return { "ITK-SNAP": line(words), "3D Slicer": line(slicer) };
  };

  async function copy(text, shown) {
    try {
      await navigator.clipboard.writeText(text);
      QC.announce("Copied.");
    } catch {
      getSelection().selectAllChildren(shown);
      const isCopied = document.execCommand("copy");
      QC.announce(isCopied ? "Copied." : "Not copied: the text is marked, copy it by hand.");
    }
  }

  function copyLine(what, text) {
    const shown = el("code", {}, text);
    const act = () => copy(text, shown);
    const attributes = { type: "button", "aria-label": `Copy: ${what}`, onclick: act };
    const button = el("button", attributes, "Copy");
    return [el("dt", {}, what), el("dd", {}, button, shown)];
  }

  function filesSection(sample) {
    const paths = Object.entries(sample.paths).map(([what, path]) => [what, QC.pathOf(path)]);
    const members = Object.entries(sample.members || {}).map(([what, path]) =>
      copyLine(`${what}, in a zip`, path),
    );
    if (!paths.length && !members.length) return null;
    const tables = {
      itksnap: QC.pathOf("itksnap_labels.txt"),
      slicer: QC.pathOf("slicer_labels.ctbl"),
    };
    const found = Object.fromEntries(paths);
    const isOnDisk = location.protocol === "file:" && found.volume;
    const commands = isOnDisk ? Object.entries(QC.commands(found, tables)) : [];
    const lines = [...paths, ...commands].map(([what, text]) => copyLine(what, text));
    const list = el("dl", { class: "copies" }, lines, members);
    return el("section", { id: "files" }, el("h2", {}, "Files"), list);
  }

  // ---- neighbours

  const isFlagged = (sample) => sample.flags.length > 0;
  const isUndecided = (sample) => !QC.decisions.isDecided(sample.name);

  // The next sample of the list that is wanted, from the present one on, once around; or null.
  function nextOf(name, step, isWanted = () => true) {
    const samples = QC.visible();
    const here = samples.findIndex((one) => one.name === name);
    const start = here < 0 && step < 0 ? samples.length : here;
    for (let k = 1; k <= samples.length; k++) {
      const place = (start + step * k + samples.length * 2) % samples.length;
      if (samples[place].name !== name && isWanted(samples[place])) return samples[place];
    }
    return null;
  }

  function go(step, isWanted, what) {
    const found = nextOf(QC.route.name, step, isWanted);
    if (found) QC.go("sample", found.name);
    else QC.announce(`There is no other ${what} in the list.`);
  }

  // ---- parts of the page

  function heading(sample) {
    const samples = QC.visible();
    const place = samples.findIndex((one) => one.name === sample.name) + 1;
    const link = (step, arrow, key) => {
      const found = nextOf(sample.name, step);
      if (!found) return null;
      return el("a", { href: QC.address("sample", found.name), title: key }, arrow);
    };
    const nav = el(
      "nav",
      { "aria-label": "samples" },
      el("a", { href: QC.listAddress(), title: "Esc" }, "all samples"),
      link(-1, "← previous", "ArrowLeft"),
      el("span", { class: "quiet" }, place ? `${place} of ${samples.length}` : "not in the list"),
      link(1, "next →", "ArrowRight"),
    );
    const about = METADATA.map((key) => sample.metadata[key]).filter(Boolean).join(" · ");
    const grid = el("span", { class: "quiet" }, gridText(sample));
    const lines = [el("p", { class: "about" }, el("span", {}, about), grid), relatives(sample)];
    return el("header", {}, el("div", { class: "name" }, el("h1", {}, sample.name), nav), lines);
  }

  function gridText({ shape, spacing, orientation }) {
    const steps = (spacing || []).map((mm) => Number(mm.toPrecision(4))).join(" × ");
    const parts = [shape && `${shape.join(" × ")} voxels`, steps && `${steps} mm`, orientation];
    return parts.filter(Boolean).join(" · ");
  }

  function relatives({ relatives: names }) {
    if (!names.length) return null;
    const link = (name) => el("a", { href: QC.address("sample", name) }, name);
    const links = names.flatMap((name, k) => [k ? ", " : "", link(name)]);
    return el("p", {}, "The same patient: ", links);
  }

  function findings(sample) {
    if (!sample.flags.length) return el("p", { class: "quiet" }, "No flags.");
    const items = sample.flags.map((flag) => finding(sample, flag));
    return el("ul", { class: "findings", "aria-label": "flags" }, items);
  }

  function finding(sample, flag) {
    const badge = `${QC.SIGNS[flag.severity]} ${flag.severity}`;
    const text = [
      el("span", { class: `severity ${flag.severity}` }, badge),
      " ",
      el("strong", {}, flag.kind),
      ` ${QC.reasonOf(flag)}`,
    ];
    const hasPicture = sample.pictures.length > 0;
    if (!(sample.data && flag.place) && !hasPicture) return el("li", { class: "plain" }, text);
    const where = sample.data && flag.place ? "Show the place" : "Show the picture";
    const act = () => followFlag(flag);
    return el("li", {}, el("button", { type: "button", title: where, onclick: act }, text));
  }

  function pictures(sample) {
    if (!sample.pictures.length) return null;
    const image = (name) => {
      const what = /_changes\.[a-z]+$/.test(name) ? "before and after denoising" : "slices";
      const src = QC.url(`pictures/${name}`);
      const made = el("img", { src, alt: `${sample.name}: ${what}`, loading: "lazy" });
      const gone = () => el("p", { class: "failure" }, `pictures/${name} is missing.`);
      made.onerror = () => made.replaceWith(gone());
      return made;
    };
    const heads = el("h2", {}, "Pictures");
    return el("section", { id: "pictures" }, heads, sample.pictures.map(image));
  }

  // ---- tables

  function table(headings, rows) {
    const cell = (tag) => (text, k) =>
      el(tag, { class: headings[k].isText ? null : "number" }, tag === "th" ? text.title : text);
    const head = el("thead", {}, el("tr", {}, headings.map(cell("th"))));
    const line = (cells) => el("tr", {}, cells.map(cell("td")));
    return el("div", { class: "wide" }, el("table", {}, head, el("tbody", {}, rows.map(line))));
  }

  const titled = (title, isText = false) => ({ title, isText });
  const fixed = (value, digits) =>
    Number.isFinite(value) ? QC.number(value, digits) : NOT_KNOWN;

  function organTable(data) {
    const organs = new Map(Object.entries(data.organs || {}));
    const prediction = new Map(Object.entries(data.prediction || {}));
    const names = [...new Set([...organs.keys(), ...prediction.keys()])];
    if (!names.length) return null;
    const row = (name) => ({ name, organ: organs.get(name), found: prediction.get(name) });
    const rows = names.map(row);
    const value = ({ organ, found }) => (organ || found).value;
    const dice = ({ found }) => (found && Number.isFinite(found.dice) ? found.dice : Infinity);
    rows.sort((a, b) => (dice(a) === dice(b) ? value(a) - value(b) : dice(a) - dice(b)));
    const headings = [
      titled("organ", true), titled("ml"), titled("centre (R, A, S mm)"), titled("edge", true),
    ];
    if (data.prediction) headings.push(titled("Dice"), titled("prediction differs by ml"));
    const lines = rows.map((row) => organLine(data, row, value(row)));
    return el("section", { id: "organs" }, el("h2", {}, "Organs"), table(headings, lines));
  }

  function organLine(data, { name, organ = {}, found = {} }, value) {
    const label = data.labels.find((one) => one.value === value);
    const act = () => showLabel(value);
    const text = `${value} ${label ? label.shown : name.replaceAll("_", " ")}`;
    const title = "Show where most of it is";
    const button = el("button", { type: "button", class: "link", title, onclick: act }, text);
    const centre = (organ.centre || []).map((mm) => QC.number(mm)).join(", ");
    const edge = organ.at_edge ? "cut off by the image's edge" : "";
    const line = [label ? button : text, fixed(organ.volume_ml, 1), centre || NOT_KNOWN, edge];
    if (data.prediction) line.push(fixed(found.dice, 3), fixed(found.difference_ml, 1));
    return line;
  }

  function changeTable({ changes, labels }) {
    if (!changes) return null;
    const { n_voxels: voxels, n_slices: slices, per_label: perLabel } = changes;
    const counted = (count, word) => `${QC.number(count)} ${word}${count === 1 ? "" : "s"}`;
    const text = voxels
      ? `${counted(voxels, "voxel")} in ${counted(slices, "slice")} changed.`
      : "Denoising changed nothing in this sample.";
    const entries = Object.entries(perLabel).sort(([a], [b]) => a - b);
    const counts = Object.values(QC.CHANGES).map((what) => titled(what));
    const headings = [titled("label", true), ...counts];
    const name = (value) => (labels.find((label) => label.value === Number(value)) || {}).shown;
    const rows = entries.map(([value, found]) => [
      `${value} ${name(value) || (Number(value) ? "" : "background")}`.trim(),
      ...Object.keys(QC.CHANGES).map((key) => fixed(found[key], 0)),
    ]);
    const shown = rows.length ? table(headings, rows) : null;
    const head = el("h2", {}, "What denoising changed");
    return el("section", { id: "changed" }, head, el("p", {}, text), shown);
  }

  // ---- the view

  let present = null; // {sample, viewer, stage, timer} while a sample is shown
  let kept = { modality: "", state: {} }; // what goes with the reader from sample to sample

  function show(route, main) {
    const sample = QC.byName.get(route.name);
    const stage = el("div", { class: "stage" });
    const tables = el("div", {});
    present = { sample, viewer: null, stage, timer: 0 };
    main.append(
      el(
        "article",
        { class: "case" },
        el(
          "div",
          { class: "top" },
          el("div", {}, heading(sample), findings(sample)),
          QC.decisions.panel(sample),
        ),
        stage,
        tables,
        pictures(sample),
        filesSection(sample),
      ),
    );
    if (sample.data) fill(present, tables);
    else stage.append(el("p", { class: "failure" }, "This sample has no slices to show."));
  }

  // Load what the page shows, unless another sample is looked at by then.
  async function fill(mine, tables) {
    const { sample, stage } = mine;
    stage.replaceChildren(el("p", { class: "quiet" }, "Loading the slices …"));
    const data = await QC.load(sample).catch((error) => error);
    if (present !== mine) return;
    if (data instanceof Error) {
      const act = () => fill(mine, tables);
      const again = el("button", { type: "button", onclick: act }, "Try again");
      const text = `The slices cannot be shown. ${data.message} `;
      stage.replaceChildren(el("p", { class: "failure", role: "alert" }, text, again));
    } else {
      showData(mine, data);
      tables.replaceChildren(...[organTable(data), changeTable(data)].filter(Boolean));
    }
    prefetch(mine);
  }

  function showData(mine, data) {
    const { sample, stage } = mine;
    const isCT = (sample.metadata.modality || "").startsWith("CT");
    const options = { unit: isCT ? "HU" : "", changed: () => keepAddress(mine), told: QC.announce };
    const viewer = new QC.Viewer(data, options);
    mine.viewer = viewer;
    const text = "This browser alters pixels a little, against tracking: values are not exact.";
    stage.replaceChildren(data.isExact ? "" : el("p", { class: "failure" }, text), viewer.element);
    const worst = sample.flags.find((flag) => flag.place);
    const asked = String(QC.route.params) ? QC.route.params : keptFor(sample);
    viewer.apply(asked, worst && worst.place);
  }

  // A window of CT says nothing of MRI.
  function keptFor({ metadata }) {
    const params = new URLSearchParams(kept.state);
    if (metadata.modality !== kept.modality) params.delete("window");
    return params;
  }

  async function prefetch(mine) {
    const next = nextOf(mine.sample.name, 1);
    if (!next || !next.data) return;
    await new Promise((resolve) => setTimeout(resolve, ADDRESS_MS));
    if (present === mine) QC.load(next).catch(() => {}); // it is told when the sample is shown
  }

  // The address follows what is looked at.
  function keepAddress(mine) {
    if (mine.timer) return;
    mine.timer = setTimeout(() => {
      mine.timer = 0;
      if (present === mine) QC.replaceAddress(mine.viewer.state());
    }, ADDRESS_MS);
  }

  function followFlag(flag) {
    const { viewer, stage } = present;
    if (!viewer || !flag.place) {
      const target = document.getElementById("pictures") || stage;
      return target.scrollIntoView({ block: "start" });
    }
    if (viewer.layerOf("mask")) viewer.set({ layer: "mask" });
    viewer.highlight(flag.labels);
    viewer.setAt(flag.place);
    return stage.scrollIntoView({ block: "nearest" });
  }

  // Step through the flags that have a place.
  function nextFlag() {
    const flags = present.sample.flags.filter((flag) => flag.place);
    if (!flags.length) return QC.announce("No flag of this sample has a place.");
    present.flag = ((present.flag ?? -1) + 1) % flags.length;
    followFlag(flags[present.flag]);
    return QC.announce(`${flags[present.flag].kind}: ${flags[present.flag].reason}`);
  }

  function showLabel(value) {
    const { viewer, stage } = present;
    viewer.highlight([value]);
    if (!viewer.findLabel(value)) QC.announce("This mask has nothing of it.");
    stage.scrollIntoView({ block: "nearest" });
  }

  QC.views.sample = {
    title: "Sample",
    show,
    update(route) {
      if (present.viewer) present.viewer.apply(route.params);
    },
    hide() {
      clearTimeout(present.timer);
      if (present.viewer) {
        const { plane, window, show } = present.viewer.state();
        const { modality } = present.sample.metadata;
        kept = { modality, state: { plane, window, ...(show && { show }) } };
        present.viewer.close();
      }
      present = null;
    },
  };

  // ---- keys

  function key(name, what, act) {
    QC.key(name, what, act, "sample");
  }

  // A key that the viewer follows, if there is one.
  function viewerKey(name, what, act) {
    key(name, what, () => present.viewer && act(present.viewer));
  }

  key("ArrowRight", "next sample", () => go(1, undefined, "sample"));
  key("ArrowLeft", "previous sample", () => go(-1, undefined, "sample"));
  key("f", "next flagged sample", () => go(1, isFlagged, "sample with flags"));
  key("u", "next undecided sample", () => go(1, isUndecided, "undecided sample"));
  key("g", "next flag's place", nextFlag);
  key("Escape", "back to the list", ({ target }) => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) target.blur();
    else location.hash = QC.listAddress();
  });
  viewerKey("ArrowUp", "slice before", (viewer) => viewer.move(-1));
  viewerKey("ArrowDown", "slice after", (viewer) => viewer.move(1));
  viewerKey("PageUp", "ten slices before", (viewer) => viewer.move(-PAGE_SLICES));
  viewerKey("PageDown", "ten slices after", (viewer) => viewer.move(PAGE_SLICES));
  viewerKey("Home", "first slice", (viewer) => viewer.move(-Infinity));
  viewerKey("End", "last slice", (viewer) => viewer.move(Infinity));
  viewerKey("1", "axial plane large", (viewer) => viewer.choosePlane("axial"));
  viewerKey("2", "coronal plane large", (viewer) => viewer.choosePlane("coronal"));
  viewerKey("3", "sagittal plane large", (viewer) => viewer.choosePlane("sagittal"));
  viewerKey("w", "next window", (viewer) => viewer.nextWindow());
  viewerKey("c", "contours, areas, off", (viewer) => viewer.nextShow());
  viewerKey("b", "before denoising, and back", (viewer) => viewer.toggleLayer("before"));
  viewerKey("p", "prediction, and back", (viewer) => viewer.toggleLayer("prediction"));
  viewerKey("v", "what the two masks differ in", (viewer) => viewer.toggleBoth());
  viewerKey("h", "cross on or off", (viewer) => viewer.set({ hasCross: !viewer.hasCross }));
  viewerKey("+", "larger", (viewer) => viewer.zoomBy(1.25));
  viewerKey("=", "larger", (viewer) => viewer.zoomBy(1.25));
  viewerKey("-", "smaller", (viewer) => viewer.zoomBy(1 / 1.25));
  viewerKey("0", "the whole slice", (viewer) => viewer.zoomBy(0));
}
