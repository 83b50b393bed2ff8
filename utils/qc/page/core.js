// What all views of the report share: its data, the DOM, the address, keys and messages.
"use strict";

const QC = {};

QC.data = JSON.parse(document.getElementById("data").textContent);
QC.samples = QC.data.samples;
QC.byName = new Map(QC.samples.map((sample) => [sample.name, sample]));

// ---- texts from the data

// Characters that turn the text around, are not seen, or are none: as errors.printable has them,
// but for line breaks and tabs, which do no harm on a page.
QC.ODD = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f" +
    "\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff" +
    "\\u{e0000}-\\u{e007f}]",
  "gu",
);

// A text as it is shown, odd characters as \u202e.
QC.printable = function (text) {
  return String(text).replace(QC.ODD, (odd) => {
    const code = odd.codePointAt(0);
    const digits = code > 0xffff ? 8 : 4;
    return `${digits > 4 ? "\\U" : "\\u"}${code.toString(16).padStart(digits, "0")}`;
  });
};

// Part of an address. Bytes of a file's name that are no UTF-8 come as lone surrogates.
QC.encoded = function (text) {
  return Array.from(text, (one) => {
    if (!/^[\ud800-\udfff]$/.test(one)) return encodeURIComponent(one);
    const byte = one.charCodeAt(0) - 0xdc00;
    return byte < 0x80 || byte > 0xff ? "%EF%BF%BD" : `%${byte.toString(16).toUpperCase()}`;
  }).join("");
};

// Address of a file, from its path with "/" between the parts.
QC.url = (path) => path.split("/").map(QC.encoded).join("/");

// Path on disk of a file, from its path from the report's folder; on a server its address.
QC.pathOf = function (path, base = location.href) {
  if (/^[A-Za-z]:\//.test(path)) return path.replaceAll("/", "\\"); // on another drive
  const url = new URL(QC.url(path), base);
  if (url.protocol !== "file:") return url.href;
  const text = QC.decoded(url.pathname);
  if (url.host) return `\\\\${url.host}${text.replaceAll("/", "\\")}`;
  return /^\/[A-Za-z]:\//.test(text) ? text.slice(1).replaceAll("/", "\\") : text;
};

// ---- what several views show

QC.SIGNS = { wrong: "✕", doubtful: "▲", unusual: "◆", none: "✓" };

// Why a flag stands there: its reason, and its evidence where the reason does not tell it.
QC.reasonOf = ({ reason, evidence }) =>
  reason.includes(evidence) ? reason : `${reason} (${evidence})`;

// What is counted of denoising, by label.
QC.CHANGES = {
  lost: "voxels lost",
  gained: "voxels gained",
  islands_removed: "islands removed",
  holes_filled: "holes filled",
  small_before: "small regions before",
  small_after: "small regions after",
};

QC.formats = new Map(); // digits behind the point -> what writes them: making it takes longest

QC.number = function (value, digits = 0) {
  if (!QC.formats.has(digits)) {
    const options = { maximumFractionDigits: digits, minimumFractionDigits: digits };
    QC.formats.set(digits, new Intl.NumberFormat("en", options));
  }
  return QC.formats.get(digits).format(value);
};

// ---- the DOM

QC.SHOWN = new Set(["title", "alt", "aria-label", "placeholder"]);

// An element. Texts become text nodes, never markup; "on..." are listeners; null is left out.
QC.el = function (tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else made.setAttribute(name, QC.SHOWN.has(name) ? QC.printable(value) : value);
  }
  const present = children.flat(Infinity).filter((one) => one !== null && one !== undefined);
  made.append(...present.map((one) => (one instanceof Node ? one : QC.printable(one))));
  return made;
};

// ---- events: "route" (the address changed), "list" (so did the filter or order of the list),
// "decision" (a decision was made, loaded, withdrawn)

QC.events = new EventTarget();
QC.on = (name, listener) => QC.events.addEventListener(name, (event) => listener(event.detail));
QC.tell = (name, detail) => QC.events.dispatchEvent(new CustomEvent(name, { detail }));

// ---- the address: #/NAME?at=1,2,3 is a sample, #samples?flag=volume and #plots are views

QC.route = { view: "samples", name: "", params: new URLSearchParams() };
QC.byAddress = new Map(QC.samples.map((sample) => [QC.encoded(sample.name), sample.name]));

QC.readAddress = function () {
  const [place, query] = location.hash.slice(1).split(/\?(.*)/s);
  const isSample = place.startsWith("/");
  const name = place.slice(1);
  return {
    view: isSample ? "sample" : place || "samples",
    name: isSample ? QC.byAddress.get(name) || QC.decoded(name) : "",
    params: new URLSearchParams(query || ""),
  };
};

QC.decoded = function (text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a half-typed address
  }
};

QC.address = function (view, name = "", params = {}) {
  const place = view === "sample" ? `/${QC.encoded(name)}` : view;
  const query = new URLSearchParams(params).toString();
  return `#${place}${query ? `?${query}` : ""}`;
};

QC.go = function (view, name, params) {
  location.hash = QC.address(view, name, params);
};

// The address follows what is looked at, without an entry in the history for each step.
QC.replaceAddress = function (params) {
  const { view, name } = QC.route;
  history.replaceState(history.state, "", QC.address(view, name, params));
  QC.route.params = new URLSearchParams(params);
};

// ---- views, by the name of their route: {title, show(route, element), hide()}; with update(route)
// a view takes another address of itself (of the same sample) without being shown anew

QC.views = {};
QC.shown = null;

QC.follow = function () {
  const wanted = QC.readAddress();
  const isHere = wanted.view !== "sample" || QC.byName.has(wanted.name);
  const isKnown = isHere && Object.hasOwn(QC.views, wanted.view);
  if (!isKnown) {
    QC.announce(`There is no page ${QC.decoded(location.hash)} in this report.`);
    Object.assign(wanted, { view: "samples", name: "" });
  }
  const view = QC.views[wanted.view];
  const isSame = view === QC.shown && wanted.name === QC.route.name;
  if (isSame && view.update) {
    QC.route = wanted;
    view.update(wanted);
  } else {
    QC.show(view, wanted);
  }
  QC.tell("route", wanted);
};

QC.show = function (view, route) {
  if (QC.shown && QC.shown.hide) QC.shown.hide();
  QC.route = route;
  QC.shown = view;
  const main = document.getElementById("main");
  main.replaceChildren();
  document.title = QC.printable(route.view === "sample" ? route.name : view.title);
  window.scrollTo(0, 0);
  view.show(route, main);
};

// ---- keys: each is listed in the help that "?" opens

QC.keys = [];

QC.key = function (key, what, action, view = null) {
  QC.keys.push({ key, what, action, view });
};

// Fields that are typed into, open dialogs, links and buttons that are pressed have keys first.
QC.isTaken = function (event) {
  const { target, key } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return true;
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return true;
  if (target.matches("[type=checkbox], [type=range]")) return /^( |Arrow|Page|Home|End)/.test(key);
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return key !== "Escape";
  return (key === "Enter" || key === " ") && /^(A|BUTTON|SUMMARY)$/.test(target.tagName);
};

QC.onKey = function (event) {
  if (QC.isTaken(event)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // with Caps Lock, too
  const isHere = (one) => one.key === key && (!one.view || one.view === QC.route.view);
  const found = QC.keys.find(isHere);
  if (!found) return;
  event.preventDefault();
  found.action(event);
};

// ---- messages

QC.MESSAGE_SECONDS = 10;
QC.timer = 0;

QC.announce = function (text) {
  const message = document.getElementById("message");
  message.textContent = QC.printable(text);
  clearTimeout(QC.timer);
  QC.timer = setTimeout(() => message.replaceChildren(), QC.MESSAGE_SECONDS * 1000);
};

QC.start = function () {
  history.scrollRestoration = "manual"; // views come from scripts, and know their own place
  window.addEventListener("hashchange", QC.follow);
  document.addEventListener("keydown", QC.onKey);
  QC.follow();
};
