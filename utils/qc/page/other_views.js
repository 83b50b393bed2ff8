// Plots, how samples are judged, the help, and the bar that leads to all views.
"use strict";

(function () {
  const { el } = QC;

  // ---- plots

  // As objects, so that the links in them can be followed.
  function plot({ file, title }) {
    const data = QC.url(file);
    const drawn = el("object", { type: "image/svg+xml", data, "aria-label": title }, title);
    const alone = el("a", { href: data, target: "_blank" }, "open alone");
    const heading = el("h2", {}, title, " ", el("small", {}, alone));
    return el("section", {}, heading, el("div", { class: "plot wide" }, drawn));
  }

  QC.views.plots = {
    title: `${QC.data.set.name}: plots`,
    show(route, main) {
      const plots = QC.data.plots.map(plot);
      const hint = plots.length ? "A click on a point opens its sample." : "There are no plots.";
      main.append(el("h1", {}, "Plots"), el("p", { class: "quiet" }, hint), ...plots);
    },
  };

  // ---- how samples are judged

  function changeTable(changes) {
    const heading = (text) => el("th", { class: "number", scope: "col" }, text);
    const count = (key, line) => el("td", { class: "number" }, QC.number(line[key]));
    const counts = (one) => Object.keys(QC.CHANGES).map((key) => count(key, one));
    const line = (one) => el("tr", {}, el("th", { scope: "row" }, one.label), counts(one));
    const headings = Object.values(QC.CHANGES).map(heading);
    const head = el("tr", {}, el("th", { scope: "col" }, "label"), headings);
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, changes.map(line)));
    return el("div", { class: "wide" }, table);
  }

  QC.views.how = {
    title: `${QC.data.set.name}: how samples are judged`,
    show(route, main) {
      const { notes, changes } = QC.data;
      main.append(
        el("h1", {}, "How samples are judged"),
        el("ul", { class: "notes" }, notes.map((note) => el("li", {}, note))),
      );
      if (changes.length) {
        main.append(el("h2", {}, "What denoising changed, all samples"), changeTable(changes));
      }
      main.append(keyLists());
    },
  };

  // ---- help and navigation

  const VIEWS = { samples: "Keys in the list", sample: "Keys at a sample" };
  const NAMES = {
    ArrowUp: "↑",
    ArrowDown: "↓",
    ArrowLeft: "←",
    ArrowRight: "→",
    Escape: "Esc",
    " ": "space",
  };

  // The keys of each view, the present one first; those that do the same stand on one line.
  function keyLists() {
    const lines = new Map(QC.route.view in VIEWS ? [[VIEWS[QC.route.view], new Map()]] : []);
    for (const { key, what, view } of QC.keys) {
      const title = VIEWS[view] || "Keys everywhere";
      if (!lines.has(title)) lines.set(title, new Map());
      const same = lines.get(title).get(what) || [];
      lines.get(title).set(what, [...same, el("kbd", {}, NAMES[key] || key), " "]);
    }
    const line = ([what, keys]) => [el("dt", {}, keys), el("dd", {}, what)];
    const list = ([title, whats]) =>
      el("section", {}, el("h2", {}, title), el("dl", {}, [...whats].map(line)));
    return el("div", { class: "keys" }, [...lines].map(list));
  }

  function help() {
    const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
    const dialog = el("dialog", { "aria-label": "keys", class: "help" }, close, keyLists());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  function markView() {
    for (const link of document.querySelectorAll("#top nav a")) {
      const isHere = link.dataset.view === QC.route.view;
      if (isHere) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (link.dataset.view === "samples") link.href = QC.listAddress();
    }
  }

  // What is scrolled to stops below the bar, which is as high as what stands in it.
  const bar = document.getElementById("top");
  new ResizeObserver(() => {
    const height = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    document.documentElement.style.setProperty("--bar", `${height}px`);
  }).observe(bar);

  document.getElementById("help").addEventListener("click", help);
  QC.on("route", markView);
  QC.on("list", markView);
  QC.key("?", "this help", help);
})();
