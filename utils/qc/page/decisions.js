// Decisions: accept, exclude or fix, made here, kept in the browser, saved to and loaded from
// review.csv. docs/report.md says which of two decisions counts.
"use strict";

// ---- the store: {made, drawn, reviewer, rows, own} under the set's identity
//
// rows: the file's, by ID, as the report drawn last has them (drawn: when). own: by ID, what was
// decided in this browser and is not in the file as far as is known: {row: null if withdrawn,
// known: the file's row then, and after it each one downloaded}.

QC.decisions = {};
QC.decisions.key = `qc-review:${QC.data.set.identity}`;
QC.decisions.version = 1;
QC.decisions.state = null;
QC.decisions.isKept = true; // whether the browser keeps what is written
QC.decisions.isLocked = false; // what cannot be read lies in the store and may not be replaced
QC.decisions.unkept = new Set(); // IDs whose changes are in this page alone
QC.decisions.isOlder = false;
QC.decisions.isSettled = false;
QC.decisions.settleAfter = 300; // ms
QC.decisions.messages = []; // [{text, isLoud, isOfLoading}]: shown until they are put away
QC.decisions.drawn = Date.parse(document.lastModified) || 0;

QC.decisions.number = (count) => `${count} decision${count === 1 ? "" : "s"}`;

QC.decisions.fresh = function () {
  const made = `${Date.now()} ${Math.random()}`;
  return { made, drawn: 0, reviewer: "", rows: new Map(), own: new Map() };
};

// What the store holds; null if nothing, or nothing that can be read: that is put aside.
QC.decisions.stored = function () {
  let text = null;
  try {
    text = localStorage.getItem(QC.decisions.key);
  } catch {
    QC.decisions.isKept = false; // a browser without a store for files
  }
  const state = text === null ? null : QC.decisions.understood(text);
  if (text !== null && !state) QC.decisions.putAside(text);
  return state;
};

QC.decisions.understood = function (text) {
  try {
    const found = JSON.parse(text);
    const texts = [found.made, found.reviewer].every((one) => typeof one === "string");
    if (!texts || found.version !== QC.decisions.version) return null;
    const row = (one) => one && QC.decisions.checked(one);
    return {
      made: found.made,
      drawn: Number(found.drawn) || 0,
      reviewer: found.reviewer,
      rows: new Map(found.rows.map((one) => [row(one).ID, row(one)])),
      own: new Map(found.own.map((one) => [
        String(one.ID), { row: row(one.row), known: [...one.known.map(row)] },
      ])),
    };
  } catch {
    return null; // no JSON, or of another shape
  }
};

QC.decisions.checked = function (found) {
  const isText = QC.review.columns.every((column) => typeof found[column] === "string");
  if (!isText || !["", ...QC.review.decisions].includes(found.decision)) throw new TypeError();
  return QC.review.row(found);
};

QC.decisions.putAside = function (text) {
  const place = `qc-review-unreadable:${QC.data.set.identity} ${Date.now()}`;
  const what = "What this browser kept of the decisions cannot be read.";
  try {
    localStorage.setItem(place, text);
    QC.decisions.say(`${what} It is left under the key '${place}' of the browser's store; ` +
      "load the review.csv that was downloaded last.", true);
  } catch {
    QC.decisions.isLocked = true;
    QC.decisions.say(`${what} It is left as it is, and no decisions are kept.`, true);
  }
};

QC.decisions.say = function (text, isLoud = false) {
  const { messages } = QC.decisions;
  if (!messages.some((one) => one.text === text)) messages.push({ text, isLoud });
};

QC.decisions.written = function ({ made, drawn, reviewer, rows, own }) {
  const entries = [...own].map(([ID, { row, known }]) => ({ ID, row, known }));
  const { version } = QC.decisions;
  return JSON.stringify({ version, made, drawn, reviewer, rows: [...rows.values()], own: entries });
};

// Put a text into the store, and note whether the browser keeps it.
QC.decisions.keep = function (place, text) {
  QC.decisions.isKept = false;
  if (QC.decisions.isLocked) return;
  try {
    localStorage.setItem(place, text);
    QC.decisions.isKept = localStorage.getItem(place) === text;
  } catch {
    // Full or blocked: the page says so.
  }
};

QC.decisions.write = function () {
  QC.decisions.keep(QC.decisions.key, QC.decisions.written(QC.decisions.state));
  if (QC.decisions.isKept) QC.decisions.unkept.clear();
  QC.decisions.remember();
};

// The history outlives a reload: it tells on the next start what a lost store held.
QC.decisions.remember = function () {
  const { key, state, unkept } = QC.decisions;
  const review = { key, made: state.made, unsaved: QC.decisions.unsaved(), unkept: unkept.size };
  const before = (history.state || {}).review;
  if (JSON.stringify(before) === JSON.stringify(review)) return;
  history.replaceState({ ...history.state, review }, "");
};

QC.decisions.lost = function (before, stored) {
  if (!before || before.key !== QC.decisions.key) return 0;
  return stored && stored.made === before.made ? before.unkept : before.unsaved;
};

// Whether the browser keeps anything at all.
QC.decisions.probe = function () {
  const place = `${QC.decisions.key} probe`;
  QC.decisions.keep(place, "x");
  if (QC.decisions.isKept) localStorage.removeItem(place);
};

// What a page that was left a moment ago wrote may not be there yet: a page that starts reads, and
// a little later reads again, before it says what is gone or writes what the file holds.
QC.decisions.begin = function () {
  const before = (history.state || {}).review;
  QC.decisions.state = QC.decisions.adopt(QC.decisions.stored() || QC.decisions.fresh());
  QC.decisions.probe();
  setTimeout(() => QC.decisions.readAgain(before), QC.decisions.settleAfter);
};

QC.decisions.readAgain = function (before) {
  const gone = QC.decisions.lost(before, QC.decisions.stored());
  const are = gone === 1 ? "is" : "are";
  if (gone) {
    QC.decisions.say(`${QC.decisions.number(gone)} made here ${are} gone from the browser's ` +
      "store. Load the review.csv that was downloaded last, and look at the others again.", true);
  }
  const shown = QC.decisions.written(QC.decisions.state);
  QC.decisions.state = QC.decisions.adopt(QC.decisions.latest());
  const isOther = QC.decisions.written(QC.decisions.state) !== shown;
  QC.decisions.write();
  QC.decisions.isSettled = true;
  QC.decisions.changed(isOther ? QC.samples.map(({ name }) => name) : []);
};

// ---- which of two decisions counts

// What the store holds now, with what this page could not write; another tab may have written.
QC.decisions.latest = function () {
  const { state: here, unkept } = QC.decisions;
  const state = QC.decisions.stored();
  // A store that was emptied meanwhile gets back what this page knows.
  if (!state) return here || QC.decisions.fresh();
  for (const ID of unkept) {
    if (here.own.has(ID)) state.own.set(ID, here.own.get(ID));
    else state.own.delete(ID);
  }
  if (here && !QC.decisions.isKept) state.reviewer = here.reviewer;
  return state;
};

// The file's rows are those of the report drawn last: an old copy, or a tab that has been open
// since before, does not bring back what the file held then.
QC.decisions.adopt = function (state) {
  QC.decisions.isOlder = QC.decisions.drawn < state.drawn;
  if (!QC.decisions.isOlder) {
    const rows = QC.data.review.rows.map(QC.review.row);
    state.rows = new Map(rows.map((row) => [row.ID, row]));
    state.drawn = QC.decisions.drawn;
  }
  for (const [ID, entry] of state.own) {
    const filed = state.rows.get(ID) || null;
    const isWhole = QC.decisions.isDifferent(entry, filed) || !QC.decisions.isUnsaved(entry);
    if (isWhole && QC.review.isSame(entry.row, filed)) state.own.delete(ID);
  }
  return state;
};

// The file holds neither what it held when this was decided, nor what was downloaded since.
QC.decisions.isDifferent = function ({ known }, filed) {
  return !known.some((row) => QC.review.isSame(row, filed));
};

QC.decisions.isUnsaved = ({ row, known }) => !QC.review.isSame(row, known[known.length - 1]);

QC.decisions.filed = (ID) => QC.decisions.state.rows.get(ID) || null;

// IDs whose row in the file changed since they were decided here, and says something else.
QC.decisions.conflicts = function () {
  const { own } = QC.decisions.state;
  return [...own.keys()].filter((ID) => QC.decisions.isConflict(ID)).sort();
};

QC.decisions.isConflict = function (ID) {
  const entry = QC.decisions.state.own.get(ID);
  return Boolean(entry) && QC.decisions.isDifferent(entry, QC.decisions.filed(ID));
};

QC.decisions.row = function (ID) {
  const entry = QC.decisions.state.own.get(ID);
  return entry ? entry.row : QC.decisions.filed(ID);
};

// All rows that count, by ID: the file's in its order, then new ones sorted.
QC.decisions.rows = function () {
  const { rows, own } = QC.decisions.state;
  const added = [...own.keys()].filter((ID) => !rows.has(ID)).sort();
  const all = [...rows.keys(), ...added].map((ID) => [ID, QC.decisions.row(ID)]);
  return new Map(all.filter(([, row]) => row));
};

// ---- deciding

// Change rows, {ID: row or null}; `isFiled`: the file's row was seen and is replaced knowingly.
QC.decisions.put = function (rows, isFiled = false) {
  QC.decisions.change([...rows.keys()], (state) => {
    for (const [ID, row] of rows) {
      const filed = state.rows.get(ID) || null;
      const entry = state.own.get(ID);
      state.own.set(ID, { row, known: entry && !isFiled ? entry.known : [filed] });
    }
  });
};

QC.decisions.change = function (IDs, edit) {
  const state = QC.decisions.adopt(QC.decisions.latest());
  edit(state);
  IDs.forEach((ID) => QC.decisions.unkept.add(ID));
  QC.decisions.state = QC.decisions.adopt(state);
  QC.decisions.write();
  QC.decisions.changed(IDs);
};

// The store was changed by another tab, or this page comes back from the browser's memory.
QC.decisions.refresh = function () {
  const state = QC.decisions.latest();
  const isEmptied = state === QC.decisions.state;
  QC.decisions.state = QC.decisions.adopt(state);
  if (isEmptied) QC.decisions.write();
  QC.decisions.remember();
  QC.decisions.changed(QC.samples.map(({ name }) => name));
};

// Of several decisions at once the event has the name "": all may have changed.
QC.decisions.changed = function (IDs) {
  QC.decisions.draw();
  if (IDs.length) QC.tell("decision", { name: IDs.length === 1 ? IDs[0] : "" });
};

QC.decisions.of = function (name) {
  const row = QC.decisions.row(name);
  return row && QC.decisions.judged(row);
};

// What a row says, and whether it still holds.
QC.decisions.judged = function (row) {
  const { decision, note, reviewer, mask_crc32 } = row;
  const isChanged = QC.decisions.isMaskChanged(row);
  const isLapsed = isChanged && decision !== "exclude";
  return { decision, note, reviewer, mask_crc32, isLapsed, isChanged };
};

QC.decisions.isMaskChanged = function ({ ID, decision, mask_crc32 }) {
  const sample = QC.byName.get(ID);
  if (!sample || !decision || !mask_crc32) return false;
  // A mask that is there and has no checksum could not be read: nothing is known of it.
  const isUnknown = !sample.mask_crc32 && (decision === "exclude" || "mask" in sample.paths);
  return !isUnknown && QC.review.crc(sample.mask_crc32) !== mask_crc32;
};

// A note alone decides nothing, and what has lapsed is to be decided again.
QC.decisions.isDecided = function (name) {
  const found = QC.decisions.of(name);
  return Boolean(found && found.decision && !found.isLapsed);
};

QC.decisions.set = function (name, decision, note) {
  if (!QC.review.decisions.includes(decision)) throw new Error(`no decision: ${decision}`);
  const before = QC.decisions.row(name) || { note: "", reviewer: "", decision: "" };
  const isSame = before.decision === decision;
  const reviewer = QC.decisions.state.reviewer || (isSame ? before.reviewer : "");
  const { mask_crc32 } = QC.byName.get(name);
  const row = { ID: name, decision, note: note ?? before.note, reviewer, mask_crc32 };
  QC.decisions.put(new Map([[name, QC.review.row(row)]]));
  QC.announce(`${name}: ${decision}`);
};

// A note alone decides nothing anew: what has lapsed stays so. Without note and decision: no row.
QC.decisions.note = function (name, note) {
  const { mask_crc32 } = QC.byName.get(name);
  const nothing = { ID: name, decision: "", note: "", reviewer: "", mask_crc32 };
  const before = QC.decisions.row(name) || nothing;
  const reviewer = QC.decisions.state.reviewer || before.reviewer;
  const row = QC.review.row({ ...before, note, reviewer });
  if (row.note === before.note) return;
  QC.decisions.put(new Map([[name, row.note || row.decision ? row : null]]));
};

QC.decisions.withdraw = function (name) {
  if (!QC.decisions.row(name)) return;
  QC.decisions.put(new Map([[name, null]]));
  QC.announce(`${name}: decision withdrawn`);
};

QC.decisions.counts = function () {
  const counts = { decided: 0, accept: 0, exclude: 0, fix: 0, lapsed: 0 };
  for (const { name } of QC.samples) {
    const found = QC.decisions.of(name);
    if (!found || !found.decision) continue;
    if (found.isLapsed) counts.lapsed += 1;
    else {
      counts.decided += 1;
      counts[found.decision] += 1;
    }
  }
  return { ...counts, unsaved: QC.decisions.unsaved(), of: QC.samples.length };
};

QC.decisions.unsaved = function () {
  return [...QC.decisions.state.own.values()].filter(QC.decisions.isUnsaved).length;
};

// ---- saving and loading

QC.decisions.text = () => QC.csv.write([...QC.decisions.rows().values()], QC.review.columns);

QC.decisions.download = function () {
  // Another tab's decisions belong into the file too.
  QC.decisions.state = QC.decisions.adopt(QC.decisions.latest());
  const blob = new Blob([QC.decisions.text()], { type: "text/csv" });
  const link = QC.el("a", { href: URL.createObjectURL(blob), download: "review.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  const saved = [...QC.decisions.state.own].filter(([, entry]) => QC.decisions.isUnsaved(entry));
  QC.decisions.change(saved.map(([ID]) => ID), (state) => {
    for (const [ID, { row }] of saved) {
      if (state.own.has(ID)) state.own.get(ID).known.push(row);
    }
  });
};

QC.decisions.load = async function (chosen) {
  const sources = [];
  const faults = [];
  const guessed = [];
  for (const file of chosen) {
    try {
      const [text, guess] = QC.csv.decoded(new Uint8Array(await file.arrayBuffer()));
      const found = QC.review.read(text);
      faults.push(...found.faults.map((fault) => `${file.name}: the review ${fault}`));
      if (guess) guessed.push(`${file.name}: not in UTF-8, read as ${guess}`);
      sources.push({ title: file.name, rows: found.rows });
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      faults.push(`${file.name}: cannot be read: ${error.message}`);
    }
  }
  if (faults.length) QC.decisions.refuse(faults);
  else QC.decisions.merge(sources, guessed);
};

QC.decisions.refuse = function (faults) {
  const most = 20;
  const rest = faults.length > most ? [`and ${faults.length - most} more`] : [];
  QC.decisions.sayOfLoading([...faults.slice(0, most), ...rest, "Nothing was loaded."], true);
  QC.decisions.draw();
};

// What was said of an earlier file goes.
QC.decisions.sayOfLoading = function (texts, isLoud) {
  const others = QC.decisions.messages.filter(({ isOfLoading }) => !isOfLoading);
  const added = texts.map((text) => ({ text, isLoud, isOfLoading: true }));
  QC.decisions.messages = [...others, ...added];
};

// Nothing is taken before all conflicts are chosen; meanwhile another tab may have made new ones.
QC.decisions.merge = function (sources, notes, chosen = new Map()) {
  const titles = sources.map(({ title }) => title).join(", ");
  const here = { title: "here", rows: QC.decisions.rows() };
  const { agreed, conflicts } = QC.review.merge([here, ...sources]);
  const open = conflicts.filter(({ ID }) => !chosen.has(ID));
  if (!open.length) {
    QC.decisions.take(new Map([...agreed, ...chosen]), [`${titles}:`], notes);
    return;
  }
  QC.decisions.choose(open, `${titles}: decisions that differ`, (more) => {
    QC.decisions.merge(sources, notes, new Map([...chosen, ...more]));
  });
};

QC.decisions.take = function (rows, words, notes) {
  const isNew = ([ID, row]) => !QC.review.isSame(row, QC.decisions.row(ID));
  const changed = new Map([...rows].filter(isNew));
  const strange = [...changed.keys()].filter((ID) => !QC.byName.has(ID));
  words.push(`${QC.decisions.number(changed.size)} loaded, ${rows.size - changed.size} as here.`);
  if (strange.length) {
    const more = strange.length > 5 ? ` and ${strange.length - 5} more` : "";
    words.push(`Not in this report, and kept: ${strange.slice(0, 5).join(", ")}${more}.`);
  }
  QC.decisions.sayOfLoading([words.join(" "), ...notes], false);
  QC.decisions.put(changed);
};
