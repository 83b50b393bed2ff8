// review.csv, read as utils/storage/review.py does, and several reviewers' files merged.
"use strict";

// ---- rows {ID, decision, note, reviewer, mask_crc32}

QC.review = {};
QC.review.columns = ["ID", "decision", "note", "reviewer", "mask_crc32"];
QC.review.decisions = ["accept", "exclude", "fix"];

// A row in the one form in which rows are compared and written.
QC.review.row = function (found) {
  // What UTF-8 cannot hold, half a character, would come back from the file as another text.
  const wellFormed = (text) => new TextDecoder().decode(new TextEncoder().encode(text));
  const text = (column) => QC.csv.stripped(wellFormed(found[column]).replace(/\r\n?/g, "\n"));
  const [ID, decision, note, reviewer, crc] = QC.review.columns.map(text);
  const mask_crc32 = QC.review.crc(crc);
  return { ID, decision: decision.toLowerCase(), note, reviewer, mask_crc32 };
};

QC.review.crc = function (text) {
  return text && `0x${text.replace(/^0x/i, "").toLowerCase().padStart(8, "0")}`;
};

QC.review.isSame = function (one, other) {
  if (!one || !other) return !one && !other;
  return QC.review.columns.every((column) => one[column] === other[column]);
};

// {rows: Map by ID, faults: [what is wrong with the file]}: with faults no row counts.
QC.review.read = function (text) {
  try {
    const lines = QC.csv.parse(text).map(({ line, cells }) => {
      return { line, cells: cells.map(QC.csv.stripped) };
    });
    const [header, ...filled] = lines.filter(({ cells }) => cells.some(Boolean));
    const rows = QC.review.rowsBelow(header, filled);
    const faults = [...rows.flatMap(QC.review.oddities), ...QC.review.contradictions(rows)];
    return { rows: faults.length ? new Map() : QC.review.byId(rows), faults };
  } catch (error) {
    if (!(error instanceof QC.csv.Fault)) throw error;
    return { rows: new Map(), faults: [error.message] };
  }
};

// [{line, row}]: the cells below the names of the columns, as they stand.
QC.review.rowsBelow = function (header, filled) {
  const expected = `the columns ${QC.review.columns.join(", ")}`;
  if (!header) throw new QC.csv.Fault(`is empty, expected ${expected}`);
  const isOnce = (column) => header.cells.filter((cell) => cell === column).length === 1;
  if (!QC.review.columns.every(isOnce)) {
    const found = QC.review.shown(header.cells.join(", "), 400);
    throw new QC.csv.Fault(`has in line ${header.line} ${found}, expected ${expected}, each once`);
  }
  const width = header.cells.length;
  return filled.map(({ line, cells }) => {
    if (cells.length < width || cells.slice(width).some(Boolean)) {
      throw new QC.csv.Fault(`has ${cells.length} cells in line ${line}, expected ${width}`);
    }
    const cell = (column) => QC.csv.unguarded(cells[header.cells.indexOf(column)]);
    return {
      line,
      row: Object.fromEntries(QC.review.columns.map((column) => [column, cell(column)])),
    };
  });
};

QC.review.shown = (text, most = 60) => `'${text.slice(0, most)}'${text.length > most ? "..." : ""}`;

QC.review.oddities = function ({ line, row }) {
  const odd = [];
  const decision = row.decision.toLowerCase();
  if (!row.ID) odd.push(`has no ID in line ${line}, expected that of a sample`);
  if (decision && !QC.review.decisions.includes(decision)) {
    const found = `the decision ${QC.review.shown(row.decision)} in line ${line}`;
    odd.push(`has ${found}, expected ${QC.review.decisions.join(", ")} or nothing`);
  }
  if (row.mask_crc32 && !/^(0x[0-9a-f]{1,8}|[0-9a-f]{8})$/i.test(row.mask_crc32)) {
    const found = `the mask_crc32 ${QC.review.shown(row.mask_crc32)} in line ${line}`;
    odd.push(`has ${found}, expected eight hexadecimal digits as in 0x1a2b3c4d`);
  }
  return odd;
};

// In what the decided rows of one ID differ.
QC.review.contradictions = function (rows) {
  const faults = [];
  for (const [ID, same] of QC.review.grouped(rows)) {
    for (const column of ["decision", "mask_crc32"]) {
      const lines = new Map();
      for (const { line, row } of same.filter((one) => one.row.decision && one.row[column])) {
        const read = QC.review.row(row)[column];
        if (!lines.has(read)) lines.set(read, `${row[column]} in line ${line}`);
      }
      const found = [...lines.values()].join(" and ");
      if (lines.size > 1) faults.push(`has for ${ID} the ${column} ${found}, expected one`);
    }
  }
  return faults;
};

QC.review.grouped = function (rows) {
  const groups = new Map();
  for (const one of rows.filter(({ row }) => row.ID)) {
    const ID = QC.review.known(one.row.ID);
    groups.set(ID, [...(groups.get(ID) || []), one]);
  }
  return groups;
};

// The ID of the sample that is meant: spreadsheets make 4 of 0004, which is amos_0004.
QC.review.known = function (text) {
  const number = (digits) => digits.replace(/^0+/, "");
  const whole = text.replace(/^([0-9]+)\.0+$/, "$1");
  if (QC.byName.has(text) || !/^[0-9]+$/.test(whole)) return text;
  const has = ({ name }) => {
    const digits = name.match(/[0-9]+/g) || [];
    return digits.length === 1 && number(digits[0]) === number(whole);
  };
  const found = QC.samples.filter(has);
  return found.length === 1 ? found[0].name : text;
};

// Of several rows of an ID that agree, all that they say.
QC.review.byId = function (rows) {
  const merged = ([ID, same]) => {
    const all = same.map(({ row }) => QC.review.row(row));
    const decided = all.filter((row) => row.decision);
    const texts = (column, between) => QC.review.distinct(all, column).join(between);
    return [ID, {
      ID,
      decision: decided.length ? decided[0].decision : "",
      note: texts("note", "; "),
      reviewer: texts("reviewer", ", "),
      mask_crc32: QC.review.distinct(decided.length ? decided : all, "mask_crc32")[0] || "",
    }];
  };
  return new Map([...QC.review.grouped(rows)].map(merged));
};

QC.review.distinct = (rows, column) => {
  return [...new Set(rows.map((row) => row[column]))].filter(Boolean);
};

// ---- several reviewers: sources [{title, rows}] -> agreed rows, and conflicts to choose from

QC.review.merge = function (sources) {
  const agreed = new Map();
  const conflicts = [];
  for (const ID of new Set(sources.flatMap(({ rows }) => [...rows.keys()]))) {
    const found = sources.filter(({ rows }) => rows.has(ID));
    const sides = found.map(({ title, rows }) => ({ titles: [title], row: rows.get(ID) }));
    const noted = sides.filter(({ row }) => !row.decision);
    const decisions = QC.review.distinct(sides.map(({ row }) => row), "decision");
    const choices = (decisions.length ? decisions : [""]).map((decision) => {
      const own = sides.filter(({ row }) => row.decision === decision);
      const rows = decision ? [...own, ...noted] : own;
      const titles = own.flatMap((side) => side.titles);
      return { titles, row: QC.review.joined(rows.map(({ row }) => row)) };
    });
    if (choices.length === 1) agreed.set(ID, choices[0].row);
    else conflicts.push({ ID, choices });
  }
  return { agreed, conflicts };
};

// One row of rows of one ID that do not contradict each other; the first one is decided, if any.
QC.review.joined = function (rows) {
  if (rows.every((row) => QC.review.isSame(row, rows[0]))) return rows[0];
  const [{ ID, decision }] = rows;
  const judged = rows.filter((row) => row.decision === decision);
  const crcs = QC.review.distinct(judged, "mask_crc32");
  const now = (QC.byName.get(ID) || {}).mask_crc32;
  return {
    ID,
    decision,
    note: QC.review.joinedNotes(rows.filter((row) => row.note)),
    reviewer: [...new Set(rows.flatMap((row) => row.reviewer.split(", ")))]
      .filter(Boolean).join(", "),
    mask_crc32: crcs.includes(now) ? now : crcs[0] || "",
  };
};

// Notes that differ are signed; a note that is in a joined one already is not added again.
QC.review.joinedNotes = function (rows) {
  const notes = QC.review.distinct(rows, "note");
  if (notes.length < 2) return notes.join("");
  const signed = ({ note, reviewer }) => {
    const pieces = note.split("; ");
    const names = reviewer.split(", ").map((name) => `(${name})`);
    const isSigned = pieces.some((piece) => names.some((name) => piece.endsWith(name)));
    return isSigned || !reviewer ? pieces : [`${note} (${reviewer})`];
  };
  return [...new Set(rows.flatMap(signed))].join("; ");
};
