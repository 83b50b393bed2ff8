// What shows decisions: the bar on top, the panel of a sample, the dialog of conflicts; keys.
"use strict";

// ---- the bar on top of all views

QC.decisions.parts = null; // of the bar, from the start on

QC.decisions.madeBar = function () {
  const { el, decisions } = QC;
  const decided = el("strong", { class: "decided" });
  const counts = el("span", { class: "quiet counts" });
  const unsaved = el("strong", { class: "unsaved" });
  const hint = el("p", { class: "hint" });
  const alerts = el("div", { class: "alerts", role: "alert" });
  const download = el("button", { type: "button", onclick: decisions.download },
    "Download review.csv");
  const files = el("input", {
    type: "file", multiple: true, hidden: true, accept: ".csv,text/csv,text/plain",
    "aria-label": "review.csv of one or several reviewers",
    onchange: () => {
      decisions.load([...files.files]);
      files.value = ""; // the same file can be chosen again
    },
  });
  const load = el("button", {
    type: "button", onclick: () => files.click(),
    title: "Load one review.csv, or merge those of several reviewers",
  }, "Load review.csv …");
  const reviewer = el("input", {
    type: "text", autocomplete: "off", size: 14, maxlength: 200, placeholder: "your name",
    oninput: () => decisions.rename(reviewer.value),
    onkeydown: decisions.leave,
  });
  const bar = el("section", { class: "decisions-bar", "aria-label": "decisions" },
    el("span", {}, decided, " ", counts), unsaved, download, load, files,
    el("label", {}, "reviewer ", reviewer), hint, alerts);
  return { bar, decided, counts, unsaved, download, reviewer, hint, alerts };
};

// Escape leaves what is being typed; to the page it means something else.
QC.decisions.leave = function (event) {
  if (event.key !== "Escape") return;
  event.stopPropagation();
  event.target.blur();
};

QC.decisions.rename = function (text) {
  QC.decisions.change([], (state) => {
    state.reviewer = QC.csv.stripped(text);
  });
};

QC.decisions.drawBar = function () {
  const { parts, state } = QC.decisions;
  const counts = QC.decisions.counts();
  const words = [...QC.review.decisions, "lapsed"].filter((word) => counts[word]);
  parts.decided.textContent = `${counts.decided} of ${counts.of} decided`;
  parts.counts.textContent = words.map((word) => `${counts[word]} ${word}`).join(" · ");
  const isSaved = !counts.unsaved;
  const waiting = `${QC.decisions.number(state.own.size)} downloaded, not in this report yet`;
  parts.unsaved.textContent = isSaved
    ? (state.own.size ? waiting : "")
    : `${QC.decisions.number(counts.unsaved)} not saved`;
  parts.unsaved.classList.toggle("waiting", isSaved);
  const hint = `Put it at ${QC.pathOf(QC.data.review.place)}: the routines obey it from then on.`;
  parts.download.title = hint;
  parts.hint.textContent = isSaved && state.own.size ? hint : "";
  if (document.activeElement !== parts.reviewer) parts.reviewer.value = state.reviewer;
  QC.decisions.drawAlerts();
};

QC.decisions.drawAlerts = function () {
  const { messages, parts } = QC.decisions;
  const conflicts = QC.decisions.conflicts();
  const loud = QC.decisions.alarms(conflicts);
  const texts = JSON.stringify([loud, messages]);
  if (parts.alerts.dataset.texts === texts) return; // not read out again
  parts.alerts.dataset.texts = texts;
  const putAway = (message) => {
    QC.decisions.messages = messages.filter((one) => one !== message);
    QC.decisions.drawBar();
  };
  const away = (message) => QC.el("button", {
    type: "button", "aria-label": "put away", title: "put away", onclick: () => putAway(message),
  }, "×");
  const compare = QC.el("button", { type: "button", onclick: QC.decisions.settle }, "Compare …");
  parts.alerts.replaceChildren(
    ...loud.map((text) => QC.el("p", { class: "loud" }, text)),
    ...(conflicts.length ? [QC.el("p", {}, compare)] : []),
    ...messages.map((one) => {
      return QC.el("p", { class: one.isLoud ? "loud" : null }, one.text, " ", away(one));
    }),
  );
};

// What is so until something is done about it.
QC.decisions.alarms = function (conflicts) {
  const found = [];
  if (!QC.decisions.isKept) {
    found.push("This browser does not keep decisions: download review.csv before you close " +
      "the page.");
  }
  if (QC.decisions.isOlder) {
    found.push("This page is older than a report of this set that this browser has shown: " +
      "what review.csv holds is taken from the newer one.");
  }
  if (conflicts.length) {
    found.push(`${QC.decisions.number(conflicts.length)} made here and changed in review.csv ` +
      `since: ${conflicts.slice(0, 5).join(", ")}${conflicts.length > 5 ? ", ..." : ""}. ` +
      "Those made here count until you choose.");
  }
  return found;
};

// ---- the decision of one sample, on its page

QC.decisions.keyOf = { accept: "a", exclude: "e", fix: "x", withdraw: "d" };

QC.decisions.panels = new WeakMap(); // element of a panel -> what draws it again

QC.decisions.panel = function (sample) {
  const { el, decisions } = QC;
  const { name } = sample;
  const button = (word, key, onclick) => el("button", {
    type: "button", class: `decide ${word}`, "aria-keyshortcuts": key, title: `key ${key}`, onclick,
  }, word);
  const choices = QC.review.decisions.map((word) => {
    return button(word, decisions.keyOf[word], () => decisions.set(name, word));
  });
  const withdraw = button("withdraw", decisions.keyOf.withdraw, () => decisions.withdraw(name));
  const note = el("textarea", {
    rows: 2, maxlength: 30000, autocomplete: "off", placeholder: "note (key t)",
    "aria-label": "note", "aria-keyshortcuts": "t",
    oninput: () => decisions.note(name, note.value),
    onkeydown: decisions.leave,
  });
  const about = el("div", { class: "about", "aria-live": "polite" });
  const panel = el("section", { class: "decision-panel", "aria-label": `decision on ${name}` },
    el("div", { class: "choices" }, ...choices, withdraw), note, about);
  const draw = () => decisions.drawPanel(name, { choices, withdraw, note, about });
  decisions.panels.set(panel, draw);
  draw();
  return panel;
};

QC.decisions.drawPanel = function (name, { choices, withdraw, note, about }) {
  const found = QC.decisions.of(name);
  for (const [k, word] of QC.review.decisions.entries()) {
    const isMade = Boolean(found) && found.decision === word;
    choices[k].setAttribute("aria-pressed", String(isMade && !found.isLapsed));
    choices[k].classList.toggle("lapsed", isMade && found.isLapsed);
  }
  withdraw.disabled = !found;
  if (document.activeElement !== note) note.value = found ? found.note : "";
  about.replaceChildren(...QC.decisions.remarks(name, found));
};

// Who decided, whether it is saved, whether it still holds, what the file says.
QC.decisions.remarks = function (name, found) {
  const entry = QC.decisions.state.own.get(name);
  const filed = QC.decisions.filed(name);
  const line = (kind, ...parts) => QC.el("p", { class: kind }, ...parts);
  const saved = "downloaded, not in this report's review.csv yet";
  const kept = entry ? (QC.decisions.isUnsaved(entry) ? "not saved" : saved) : "in review.csv";
  const by = found && found.reviewer ? [`by ${found.reviewer}`] : [];
  const lines = found || entry ? [line("quiet", [...by, kept].join(" · "))] : [];
  if (found && found.isLapsed) {
    lines.push(line("loud", `${found.decision} lapsed: the mask changed since`));
  } else if (found && found.isChanged) {
    lines.push(line("loud", "the mask changed since; it stays excluded until you withdraw"));
  }
  if (entry && (filed || QC.decisions.isConflict(name))) {
    lines.push(line("", `review.csv says: ${QC.decisions.described(filed)}`));
  }
  if (QC.decisions.isConflict(name)) lines.push(QC.decisions.sideButtons(name, entry.row, filed));
  return lines;
};

QC.decisions.described = function (row) {
  if (!row) return "nothing";
  const lapsed = QC.decisions.judged(row).isLapsed ? " (lapsed)" : "";
  const by = row.reviewer ? ` by ${row.reviewer}` : "";
  return `${row.decision || "undecided"}${lapsed}${by}${row.note ? `: ${row.note}` : ""}`;
};

QC.decisions.sideButtons = function (name, own, filed) {
  const button = (text, row) => QC.el("button", {
    type: "button", onclick: () => QC.decisions.put(new Map([[name, row]]), true),
  }, text);
  return QC.el("p", {}, button("keep what is decided here", own), " ",
    button("take review.csv's", filed));
};

QC.decisions.draw = function () {
  QC.decisions.drawBar();
  for (const panel of document.querySelectorAll(".decision-panel")) {
    QC.decisions.panels.get(panel)();
  }
};

// ---- choosing between decisions

// The file's rows that changed since, against those made here.
QC.decisions.settle = function () {
  const conflicts = QC.decisions.conflicts().map((ID) => ({
    ID,
    choices: [
      { titles: ["here"], row: QC.decisions.row(ID) },
      { titles: ["review.csv"], row: QC.decisions.filed(ID) },
    ],
  }));
  const title = "Made here, and changed in review.csv since";
  QC.decisions.choose(conflicts, title, (chosen) => QC.decisions.put(chosen, true));
};

// Ask which row of each conflict counts; `apply` gets them, {ID: row}, when all are chosen.
QC.decisions.choose = function (conflicts, title, apply) {
  const chosen = new Map();
  const buttons = []; // [button, ID, choice]
  const { el } = QC;
  const draw = () => {
    for (const [button, ID, choice] of buttons) {
      button.setAttribute("aria-pressed", String(chosen.get(ID) === choice));
    }
    take.disabled = chosen.size < conflicts.length;
    take.textContent = `Take these (${chosen.size} of ${conflicts.length} chosen)`;
  };
  const pick = (ID, choice) => {
    chosen.set(ID, choice);
    draw();
  };
  const button = (ID, choice) => {
    const text = `${choice.titles.join(", ")}: ${QC.decisions.described(choice.row)}`;
    const made = el("button", { type: "button", onclick: () => pick(ID, choice) }, text);
    buttons.push([made, ID, choice]);
    return made;
  };
  const take = el("button", {
    type: "button", class: "take", onclick: () => {
      dialog.close();
      apply(new Map([...chosen].map(([ID, { row }]) => [ID, row])));
    },
  });
  const cancel = el("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const lists = conflicts.map(({ ID, choices }) => el("fieldset", {}, el("legend", {}, ID),
    ...choices.map((choice) => button(ID, choice))));
  const dialog = el("dialog", {
    class: "decisions-dialog", "aria-label": title,
    onkeydown: (event) => event.stopPropagation(), // no key of the page behind
    onclose: () => dialog.remove(),
  }, el("h2", {}, title), QC.decisions.allButtons(conflicts, pick), ...lists,
  el("p", { class: "end" }, take, " ", cancel));
  draw();
  document.body.append(dialog);
  dialog.showModal();
};

QC.decisions.allButtons = function (conflicts, pick) {
  const titles = new Set(conflicts.flatMap(({ choices }) => choices.flatMap((one) => one.titles)));
  const all = (title) => {
    for (const { ID, choices } of conflicts) {
      const choice = choices.find((one) => one.titles.includes(title));
      if (choice) pick(ID, choice);
    }
  };
  return QC.el("p", { class: "all" }, "all of ", ...[...titles].flatMap((title) => [
    QC.el("button", { type: "button", onclick: () => all(title) }, title), " ",
  ]));
};

// ---- keys, and the start

QC.decisions.addKeys = function (view, name) {
  const { keyOf } = QC.decisions;
  for (const word of QC.review.decisions) {
    QC.key(keyOf[word], word, () => name() && QC.decisions.set(name(), word), view);
  }
  const withdraw = () => name() && QC.decisions.withdraw(name());
  QC.key(keyOf.withdraw, "withdraw the decision", withdraw, view);
};

QC.decisions.focusNote = function () {
  const note = document.querySelector(".decision-panel textarea");
  if (note) note.focus();
};

QC.decisions.start = function () {
  QC.decisions.begin();
  QC.decisions.parts = QC.decisions.madeBar();
  document.getElementById("decisions-bar").append(QC.decisions.parts.bar);
  QC.decisions.addKeys("sample", () => QC.route.name);
  QC.key("t", "write the note (Escape leaves it)", QC.decisions.focusNote, "sample");
  QC.decisions.addKeys("samples", () => QC.cursor());
  QC.on("route", () => {
    QC.decisions.drawBar();
    if (QC.decisions.isSettled) QC.decisions.remember();
  });
  window.addEventListener("storage", ({ key }) => {
    if (key === null || key === QC.decisions.key) QC.decisions.refresh();
  });
  window.addEventListener("pageshow", ({ persisted }) => {
    if (persisted) QC.decisions.refresh();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!QC.decisions.isKept && QC.decisions.unsaved()) event.preventDefault();
  });
};

QC.decisions.start();
