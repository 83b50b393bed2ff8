// What all views of the report share: its data, the DOM, the address, keys and messages.
"use strict";

const QC = {};

QC.data = JSON.parse(document.getElementById("data").textContent);
QC.samples = QC.data.samples;
QC.byName = new Map(QC.samples.map((sample) => [sample.name, sample]));

// An element. Texts become text nodes, never markup; "on..." are listeners; null is left out.
QC.el = function (tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
};

// ---- events: "route" (the address changed), "decision" (a decision was made, loaded, withdrawn)

QC.events = new EventTarget();
QC.on = (name, listener) => QC.events.addEventListener(name, (event) => listener(event.detail));
QC.tell = (name, detail) => QC.events.dispatchEvent(new CustomEvent(name, { detail }));

// ---- the address: #/NAME?at=1,2,3 is a sample, #samples?flag=volume and #plots are views

QC.route = { view: "samples", name: "", params: new URLSearchParams() };

QC.readAddress = function () {
  const [place, query] = location.hash.slice(1).split(/\?(.*)/s);
  const isSample = place.startsWith("/");
  return {
    view: isSample ? "sample" : place || "samples",
    name: isSample ? QC.decoded(place.slice(1)) : "",
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
  const place = view === "sample" ? `/${encodeURIComponent(name)}` : view;
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

// ---- views: {title, show(route, element), hide()}, by the name of their route

QC.views = {};
QC.shown = null;

QC.follow = function () {
  const wanted = QC.readAddress();
  const isKnown = wanted.view !== "sample" || QC.byName.has(wanted.name);
  if (!isKnown || !QC.views[wanted.view]) {
    QC.announce(`There is no page ${location.hash} in this report.`);
    wanted.view = "samples";
  }
  if (QC.shown && QC.shown.hide) QC.shown.hide();
  QC.route = wanted;
  QC.shown = QC.views[wanted.view];
  const main = document.getElementById("main");
  main.replaceChildren();
  document.title = wanted.view === "sample" ? wanted.name : QC.shown.title;
  QC.shown.show(wanted, main);
  QC.tell("route", wanted);
};

// ---- keys: each is listed in the help that "?" opens

QC.keys = [];

QC.key = function (key, what, action, view = null) {
  QC.keys.push({ key, what, action, view });
};

QC.onKey = function (event) {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.ctrlKey || event.altKey || event.metaKey || (isTyping && event.key !== "Escape")) return;
  const isHere = (one) => one.key === event.key && (!one.view || one.view === QC.route.view);
  const found = QC.keys.find(isHere);
  if (!found) return;
  event.preventDefault();
  found.action(event);
};

// ---- messages

QC.announce = function (text) {
  document.getElementById("message").textContent = text;
};

QC.start = function () {
  window.addEventListener("hashchange", QC.follow);
  document.addEventListener("keydown", QC.onKey);
  QC.follow();
};
