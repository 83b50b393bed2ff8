// Tables in CSV files: RFC 4180, read as utils/storage/csv_tables.py and Python's csv read them.
"use strict";

QC.csv = {};

QC.csv.Fault = class extends Error {};

// What spreadsheets take for a formula gets an apostrophe in front, and loses it when read.
QC.csv.guarded = (text) => (/^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text);
QC.csv.unguarded = (text) => text.replace(/^'(?='*[=+\-@\t\r])/, "");

// Blanks of all kinds around a text, and what nobody sees, as in utils/storage/forms.py.
QC.csv.stripped = function (text) {
  const blank = "[\\s\\x1c-\\x1f\\x85\\u200b-\\u200f\\u2060]";
  return text.replace(new RegExp(`^${blank}+`), "").replace(new RegExp(`${blank}+$`), "");
};

// ---- reading

// The text of a file's bytes, and the encoding's name where it was guessed.
QC.csv.decoded = function (bytes) {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return [new TextDecoder("utf-16le").decode(bytes), ""];
  if (first === 0xfe && second === 0xff) return [new TextDecoder("utf-16be").decode(bytes), ""];
  try {
    return [new TextDecoder("utf-8", { fatal: true }).decode(bytes), ""];
  } catch {
    const isChinese = QC.csv.isChinese(bytes);
    const [encoding, name] = isChinese ? ["gb18030", "GB 18030"] : ["windows-1252", "Windows-1252"];
    return [new TextDecoder(encoding).decode(bytes), name];
  }
};

// Pairs of bytes that GB 2312 has: European text in one byte a letter hardly has them alone.
QC.csv.isChinese = function (bytes) {
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] < 0x80) continue;
    const [first, second] = [bytes[at], bytes[(at += 1)] || 0];
    if (first < 0xa1 || first > 0xf7 || second < 0xa1 || second > 0xfe) return false;
  }
  return true;
};

// What stands most often between the cells of the first line that is filled.
QC.csv.separator = function (text) {
  const first = /[^\r\n]+/.exec(text) || [""];
  const bare = first[0].replace(/"[^"]*"/g, "");
  const number = (separator) => bare.split(separator).length;
  return [",", ";", "\t"].reduce((best, one) => (number(one) > number(best) ? one : best));
};

// The lines of a table, [{line, cells}]; a row's line is the one in which it ends.
QC.csv.parse = function (text, separator = QC.csv.separator(text)) {
  const patterns = {
    quoted: /"([^"]*(?:""[^"]*)*)"/y,
    bare: new RegExp(`[^\\r\\n${separator}]*`, "y"),
    end: /\r\n|\r|\n|$/y,
  };
  const found = [];
  const from = { text: text.replace(/^\ufeff/, ""), at: 0, line: 1 };
  while (from.at < from.text.length) {
    const cells = [QC.csv.cell(from, patterns, separator)];
    while (from.text[from.at] === separator) {
      from.at += 1;
      cells.push(QC.csv.cell(from, patterns, separator));
    }
    found.push({ line: from.line, cells });
    from.at += QC.csv.match(patterns.end, from)[0].length;
    from.line += 1;
  }
  return found;
};

QC.csv.match = function (pattern, from) {
  pattern.lastIndex = from.at;
  return pattern.exec(from.text);
};

QC.csv.cell = function (from, patterns, separator) {
  const isQuoted = from.text[from.at] === '"';
  const found = QC.csv.match(isQuoted ? patterns.quoted : patterns.bare, from);
  if (!found) throw new QC.csv.Fault(`has in line ${from.line} a quote that nothing closes`);
  from.at += found[0].length;
  from.line += (found[0].match(/\r\n|\r|\n/g) || []).length;
  if (isQuoted && !QC.csv.match(patterns.end, from) && from.text[from.at] !== separator) {
    throw new QC.csv.Fault(`has in line ${from.line} text behind a closing quote`);
  }
  return isQuoted ? found[1].replaceAll('""', '"') : found[0];
};

// ---- writing

// UTF-8 with a byte order mark and CRLF, as spreadsheets want it.
QC.csv.write = function (rows, columns) {
  const table = rows.map((row) => columns.map((column) => QC.csv.guarded(row[column])));
  const lines = [columns, ...table].map((cells) => cells.map(QC.csv.quoted).join(","));
  return `\ufeff${lines.map((line) => `${line}\r\n`).join("")}`;
};

QC.csv.quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
