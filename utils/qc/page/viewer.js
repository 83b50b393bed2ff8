// The viewer: three linked planes, what is shown in them, and what mouse and keys do. It knows
// nothing of flags and decisions.
"use strict";

{
  const PLANES = ["axial", "coronal", "sagittal"];
  const SHOWS = ["contours", "areas", "off"];
  // What a layer that this sample does not have is called.
  const LAYERS = { mask: "mask", before: "mask before denoising", prediction: "prediction" };
  const MAX_ZOOM = 16;
  const WHEEL_NOTCH = 50; // px that a wheel turns for a slice; touchpads send many small turns
  const DRAG_ACROSS = 300; // px of a drag that change a window by all there is

  // ---- small elements

  // Buttons of which one is pressed.
  function choices(what, entries, act) {
    const buttons = entries.map(([key, text, hint]) => {
      const attributes = { type: "button", "data-key": key, title: hint };
      return QC.el("button", { ...attributes, onclick: () => act(key) }, text);
    });
    const element = QC.el("div", { class: "choices", role: "group", "aria-label": what }, buttons);
    const press = (key) =>
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.key === key)));
    return { element, press };
  }

  // A slider. After the mouse it lets go of the keyboard, which then belongs to the page again.
  function slider(label, attributes, act) {
    return QC.el("input", {
      type: "range",
      "aria-label": label,
      ...attributes,
      oninput: (event) => act(Number(event.target.value)),
      onpointerup: (event) => event.target.blur(),
    });
  }

  // Digits behind the point that tell values apart in a range of so much.
  const digitsFor = (range) => QC.clamp(2 - Math.floor(Math.log10(Math.abs(range) || 1)), 0, 9);

  function parseNumbers(text, count) {
    const numbers = (text || "").split(",").map(Number);
    return numbers.length === count && text && numbers.every(Number.isFinite) ? numbers : null;
  }

  // ---- the viewer

  // Three linked planes of a decoded sample. `options`: unit of its values; changed(), called when
  // what is shown changed; told(text), called with what a key could not do.
  QC.Viewer = class {
    constructor(data, options = {}) {
      this.data = data;
      this.options = options;
      this.strides = QC.strides(data.size);
      this.step = data.spacing.map((mm, axis) => mm * data.bins[axis]);
      this.at = data.shape.map((length) => Math.floor(length / 2));
      Object.assign(this, this.defaults());
      this.hasCross = true;
      this.highlighted = new Set();
      this.turned = 0;
      this.pointer = null;
      this.build();
      this.refresh();
    }

    defaults() {
      const [window = { name: "", low: 0, high: 1 }] = this.data.windows;
      const [{ key: layer } = { key: "" }] = this.data.layers;
      const hidden = new Set();
      return { plane: "axial", show: "contours", zoom: 1, isBoth: false, window, layer, hidden };
    }

    // -- elements

    build() {
      this.planes = {};
      const figures = PLANES.map((plane) => this.buildPlane(plane));
      this.grid = QC.el("div", { class: "planes" }, figures);
      this.status = QC.el("output", { class: "status" });
      const side = QC.el("div", { class: "side" }, this.buildLegend());
      const parts = [this.buildTools(), this.status, this.grid, side];
      this.element = QC.el("section", { class: "viewer", "aria-label": "viewer" }, parts);
      this.observer = new ResizeObserver(() => this.ask());
      PLANES.forEach((plane) => this.observer.observe(this.planes[plane].canvas));
    }

    buildPlane(name) {
      const plane = new QC.Plane(this, name);
      const last = this.data.size[plane.view.axis] - 1;
      const range = { min: 0, max: last, disabled: last === 0 };
      plane.input = slider(`${name} slice`, range, (order) => this.goTo(name, order));
      const title = `Make the ${name} plane the large one (${PLANES.indexOf(name) + 1})`;
      const choose = () => this.choosePlane(name);
      plane.button = QC.el("button", { type: "button", title, onclick: choose }, name);
      plane.text = QC.el("span", { class: "number" });
      this.planes[name] = plane;
      this.listen(plane.canvas, name);
      const caption = QC.el("figcaption", {}, plane.button, plane.input, plane.text);
      const box = QC.el("div", { class: "box" }, plane.canvas);
      return QC.el("figure", { class: "plane", "data-plane": name }, box, caption);
    }

    listen(canvas, plane) {
      const on = (name, act, options) =>
        canvas.addEventListener(name, (event) => act.call(this, event, plane), options);
      on("wheel", this.onWheel, { passive: false });
      on("pointerdown", this.onDown);
      on("pointermove", this.onMove);
      on("pointerup", () => (this.drag = null));
      on("pointercancel", () => (this.drag = null));
      on("pointerleave", () => this.tell());
      // Neither text is marked nor the page scrolled by the middle button.
      on("mousedown", (event) => event.preventDefault());
      on("dblclick", () => this.choosePlane(plane));
      on("contextmenu", (event) => event.preventDefault());
    }

    buildTools() {
      const { windows, values, layers } = this.data;
      const [low, high] = [values[0], values[values.length - 1]];
      const names = windows.map((one) => [one.name, one.name, "Window (w: the next one)"]);
      this.windows = choices("window", names, (name) => this.chooseWindow(name));
      const by = { min: low, max: high, step: "any" };
      const width = { min: (high - low) / 1000, max: high - low, step: "any" };
      this.level = slider("level of the window", by, (at) => this.setWindow(at, this.width()));
      this.spread = slider("width of the window", width, (at) => this.setWindow(this.middle(), at));
      this.range = QC.el("span", { class: "number" });
      const ways = SHOWS.map((show) => [show, show, "Labels as contours, as areas, off (c)"]);
      this.shows = choices("labels", ways, (show) => this.set({ show }));
      const titles = layers.map(({ key, title }) => [key, title, "Mask (b: before denoising)"]);
      this.layers = choices("mask", titles, (key) => this.set({ layer: key }));
      const title = "Outline the other mask, too, and tint what differs (v)";
      const both = { type: "button", title };
      this.both = QC.el("button", { ...both, onclick: () => this.toggleBoth() }, "difference");
      const few = layers.length < 2 ? null : [this.layers.element, this.both];
      const sliders = [
        QC.el("label", {}, "level ", this.level),
        QC.el("label", {}, "width ", this.spread),
      ];
      const window = [this.windows.element, sliders, this.range];
      const labels = layers.length ? [this.shows.element, few] : "no mask";
      return QC.el(
        "div",
        { class: "tools" },
        QC.el("div", { class: "group" }, window),
        QC.el("div", { class: "group" }, labels),
        QC.el("div", { class: "group" }, this.buildZoom()),
      );
    }

    buildZoom() {
      const button = (text, title, act) =>
        QC.el("button", { type: "button", title, "aria-label": title, onclick: act }, text);
      return QC.el(
        "div",
        { class: "choices", role: "group", "aria-label": "zoom" },
        button("−", "Smaller (-)", () => this.zoomBy(1 / 1.25)),
        button("+", "Larger (+)", () => this.zoomBy(1.25)),
        button("whole", "The whole slice (0)", () => this.zoomBy(0)),
      );
    }

    buildLegend() {
      const { labels } = this.data;
      if (!labels.length) return null;
      const button = (text, act) => QC.el("button", { type: "button", onclick: act }, text);
      const all = button("all", () => this.hide([]));
      const none = button("none", () => this.hide(labels.map((label) => label.value)));
      this.entries = new Map();
      const items = labels.map((label) => this.buildEntry(label));
      const head = QC.el("div", { class: "choices" }, all, none);
      const hint = "A double click, or alt and a click, leaves only one.";
      return [head, QC.el("ul", { class: "legend", title: hint }, items)];
    }

    buildEntry({ value, shown, colour, dashed }) {
      const tick = QC.el("input", {
        type: "checkbox",
        "data-value": value,
        onclick: (event) => this.onTick(event, value),
      });
      const swatch = QC.el("span", { class: dashed ? "swatch dashed" : "swatch" });
      swatch.style.borderColor = colour;
      const size = QC.el("span", { class: "number" });
      const name = QC.el("span", { class: "name" }, `${value} ${shown}`);
      const only = () => this.onlyLabel(value);
      const onclick = (event) => this.onName(event, value);
      const label = QC.el("label", { ondblclick: only, onclick }, tick, swatch, name, size);
      this.entries.set(value, { tick, size, label });
      return QC.el("li", {}, label);
    }

    // -- what is shown

    middle() {
      return (this.window.low + this.window.high) / 2;
    }

    width() {
      return this.window.high - this.window.low;
    }

    set(changes) {
      Object.assign(this, changes);
      this.refresh();
      if (this.options.changed) this.options.changed();
    }

    // Go to a voxel of the whole array. The plane that was clicked stays where it is.
    setAt(at, clicked = null) {
      this.pointTo(at, clicked);
      this.set({});
    }

    pointTo(at, clicked = null) {
      const { shape } = this.data;
      this.at = at.map((index, axis) => QC.clamp(Math.floor(index), 0, shape[axis] - 1));
      for (const plane of PLANES) if (plane !== clicked) this.planes[plane].centre = this.at;
    }

    gridAt() {
      return this.at.map((index, axis) => Math.floor(index / this.data.bins[axis]));
    }

    // Slices are in the order from above, front and right: +1 where the array runs that way.
    direction(plane) {
      const { axis } = this.data.views[plane];
      for (const { rows, columns, flipped } of Object.values(this.data.views)) {
        if (rows === axis) return flipped[0] ? -1 : 1;
        if (columns === axis) return flipped[1] ? -1 : 1;
      }
      return 1;
    }

    order(plane) {
      const { axis } = this.data.views[plane];
      const index = this.gridAt()[axis];
      return this.direction(plane) > 0 ? index : this.data.size[axis] - 1 - index;
    }

    goTo(plane, order) {
      const { axis } = this.data.views[plane];
      const last = this.data.size[axis] - 1;
      const wanted = QC.clamp(order, 0, last);
      const index = this.direction(plane) > 0 ? wanted : last - wanted;
      if (index === this.gridAt()[axis]) return;
      const at = [...this.at];
      const bin = this.data.bins[axis];
      at[axis] = index * bin + Math.floor(bin / 2);
      this.setAt(at, plane);
    }

    move(count, plane = this.plane) {
      this.goTo(plane, this.order(plane) + count);
    }

    choosePlane(plane) {
      this.set({ plane });
    }

    chooseWindow(name) {
      const found = this.data.windows.find((one) => one.name === name);
      if (found) this.set({ window: found });
    }

    nextWindow() {
      const { windows } = this.data;
      const present = windows.findIndex((one) => one.name === this.window.name);
      if (windows.length) this.set({ window: windows[(present + 1) % windows.length] });
    }

    setWindow(middle, width) {
      const half = width / 2;
      this.set({ window: { name: "", low: middle - half, high: middle + half } });
    }

    nextShow() {
      this.set({ show: SHOWS[(SHOWS.indexOf(this.show) + 1) % SHOWS.length] });
    }

    // Show a layer, and the mask again; tell where there is none.
    toggleLayer(key) {
      const wanted = this.layer === key ? this.data.layers[0].key : key;
      const found = this.data.layers.find((layer) => layer.key === wanted);
      if (found) this.set({ layer: wanted });
      this.announce(found ? `Shown: ${found.title}` : `This sample has no ${LAYERS[key]}.`);
    }

    toggleBoth() {
      if (this.otherLayer()) this.set({ isBoth: !this.isBoth });
      else this.announce("This sample has no second mask to compare with.");
    }

    announce(text) {
      if (this.options.told) this.options.told(text);
    }

    layerOf(key) {
      return this.data.layers.find((layer) => layer.key === key);
    }

    // What the layer shown is compared with.
    otherLayer() {
      const { layers } = this.data;
      return this.layer === "mask" || !this.layerOf("mask")
        ? layers.find((layer) => layer.key !== this.layer)
        : this.layerOf("mask");
    }

    hide(values) {
      this.set({ hidden: new Set(values) });
    }

    onlyLabel(value) {
      const others = this.data.labels.map((label) => label.value).filter((one) => one !== value);
      const isOnly = this.hidden.size === others.length && !this.hidden.has(value);
      this.hide(isOnly ? [] : others);
    }

    onTick(event, value) {
      if (event.detail > 0) event.target.blur(); // by the mouse: the keyboard is the page's again
      if (event.altKey) return this.onlyLabel(value);
      if (event.detail > 1) return undefined; // the second click of two: see ondblclick
      const hidden = new Set(this.hidden);
      if (!hidden.delete(value)) hidden.add(value);
      return this.hide(hidden);
    }

    onName(event, value) {
      if (!event.altKey || event.target.tagName === "INPUT") return;
      event.preventDefault();
      this.onlyLabel(value);
    }

    // Draw labels thicker, and make sure that they are seen.
    highlight(values) {
      const hidden = new Set([...this.hidden].filter((value) => !values.includes(value)));
      const show = this.show === "off" ? "contours" : this.show;
      this.set({ highlighted: new Set(values), hidden, show });
    }

    // Go to the slice of the large plane that has most of a label; false where it has none.
    findLabel(value) {
      const { size, views, bins } = this.data;
      const { labels } = this.layerOf(this.layer) || { labels: [] };
      const axis = views[this.plane].axis;
      const areas = new Uint32Array(size[axis]);
      const step = this.strides[axis];
      for (let i = labels.indexOf(value); i >= 0; i = labels.indexOf(value, i + 1)) {
        areas[Math.floor(i / step) % size[axis]]++;
      }
      const index = areas.indexOf(Math.max(...areas));
      if (!areas[index]) return false;
      const grid = this.middleOf(value, labels, axis, index);
      this.setAt(grid.map((at, k) => at * bins[k] + Math.floor(bins[k] / 2)));
      return true;
    }

    // Of the voxels of a label in a slice the middle one, so that it is one of the label.
    middleOf(value, labels, axis, index) {
      const found = [];
      const { size } = this.data;
      for (let i = labels.indexOf(value); i >= 0; i = labels.indexOf(value, i + 1)) {
        const at = this.strides.map((step, k) => Math.floor(i / step) % size[k]);
        if (at[axis] === index) found.push(at);
      }
      return found[Math.floor(found.length / 2)];
    }

    zoomBy(factor) {
      const zoom = factor ? QC.clamp(this.zoom * factor, 1, MAX_ZOOM) : 1;
      for (const plane of PLANES) this.planes[plane].centre = this.at;
      this.set({ zoom: Math.abs(zoom - 1) < 0.01 ? 1 : zoom });
    }

    // -- the address

    state() {
      const { name, low, high } = this.window;
      const state = { at: this.at.join(","), plane: this.plane };
      state.window = name || [low, high].map((at) => Number(at.toPrecision(6))).join(",");
      const [first] = this.data.layers;
      if (first && this.layer !== first.key) state.layer = this.layer;
      if (this.show !== "contours") state.show = this.show;
      if (this.hidden.size) state.hidden = [...this.hidden].sort((a, b) => a - b).join(",");
      if (this.zoom > 1) state.zoom = this.zoom.toFixed(2);
      if (this.isBoth) state.both = "1";
      return state;
    }

    // Show what an address says, and what is usual where it says nothing or something wrong.
    apply(params, usual = this.at) {
      const at = parseNumbers(params.get("at"), 3);
      const [low, high] = parseNumbers(params.get("window"), 2) || [0, 0];
      const named = this.data.windows.find((one) => one.name === params.get("window"));
      const hidden = (params.get("hidden") || "").split(",").map(Number);
      const isLabel = (value) => this.data.labels.some((label) => label.value === value);
      const changes = {
        plane: PLANES.find((plane) => plane === params.get("plane")),
        layer: (this.layerOf(params.get("layer")) || {}).key,
        show: SHOWS.find((show) => show === params.get("show")),
        window: named || (low < high && { name: "", low, high }),
        hidden: params.has("hidden") && new Set(hidden.filter(isLabel)),
        zoom: params.get("zoom") && QC.clamp(Number(params.get("zoom")) || 1, 1, MAX_ZOOM),
        isBoth: params.get("both") === "1" && this.data.layers.length > 1,
      };
      Object.assign(this, this.defaults());
      for (const [key, value] of Object.entries(changes)) if (value) this[key] = value;
      this.pointTo(at || usual);
      this.refresh();
    }

    // -- drawing

    refresh() {
      this.windows.press(this.window.name);
      this.shows.press(this.show);
      this.layers.press(this.layer);
      this.both.setAttribute("aria-pressed", String(this.isBoth));
      [this.level.value, this.spread.value] = [this.middle(), this.width()];
      const { unit = "" } = this.options;
      const digits = digitsFor(this.width());
      const [low, high] = [this.window.low, this.window.high].map((at) => QC.number(at, digits));
      this.range.textContent = `${low} to ${high} ${unit}`;
      this.grid.dataset.large = this.plane;
      for (const plane of PLANES) this.refreshPlane(plane);
      for (const label of this.data.labels) this.refreshEntry(label);
      this.refreshStatus();
      this.ask();
    }

    refreshPlane(plane) {
      const { canvas, input, button, text } = this.planes[plane];
      const { axis } = this.data.views[plane];
      const place = `${this.at[axis] + 1} of ${this.data.shape[axis]}`;
      input.value = this.order(plane);
      input.setAttribute("aria-valuetext", `slice ${place}`);
      button.setAttribute("aria-pressed", String(plane === this.plane));
      canvas.setAttribute("aria-label", `${plane} slice ${place}`);
      text.textContent = place;
    }

    refreshEntry({ value }) {
      const { tick, size, label } = this.entries.get(value);
      tick.checked = !this.hidden.has(value);
      size.textContent = this.mlOf(value);
      label.classList.toggle("highlighted", this.highlighted.has(value));
    }

    // Size of a label in the layer shown: as it was measured, or counted on the viewer's grid.
    mlOf(value) {
      const layer = this.layerOf(this.layer);
      const measured = this.measured(value);
      if (Number.isFinite(measured)) return `${QC.number(measured, 1)} ml`;
      const voxel = this.step.reduce((product, mm) => product * mm, 1);
      const isExact = QC.isEqual(this.data.bins, [1, 1, 1]);
      const counted = QC.number((layer.counts[value] * voxel) / 1000, 1);
      return layer.counts[value] ? `${isExact ? "" : "≈ "}${counted} ml` : "–";
    }

    measured(value) {
      const { organs, prediction, changes } = this.data;
      const of = (table) => Object.values(table || {}).find((organ) => organ.value === value) || {};
      if (this.layer !== "before") return of({ mask: organs, prediction }[this.layer]).volume_ml;
      if (!organs || !changes) return undefined;
      const { lost = 0, gained = 0 } = changes.per_label[value] || {};
      const voxel = this.data.spacing.reduce((product, mm) => product * mm, 1);
      return (of(organs).volume_ml || 0) + ((lost - gained) * voxel) / 1000;
    }

    // Draw with the next frame of the screen, once however much changed.
    ask() {
      if (this.asked) return;
      this.asked = requestAnimationFrame(() => {
        this.asked = 0;
        PLANES.forEach((plane) => this.planes[plane].draw());
      });
    }

    close() {
      cancelAnimationFrame(this.asked);
      this.asked = 1; // nothing is drawn any more
      this.observer.disconnect();
    }

    // -- mouse

    onWheel(event, plane) {
      if (event.ctrlKey) return; // the browser's zoom
      event.preventDefault();
      const turn = event.deltaY || event.deltaX; // browsers turn the wheel aside with shift
      if (event.shiftKey) return void this.zoomBy(turn > 0 ? 1 / 1.25 : 1.25);
      this.turned += event.deltaMode === 0 ? turn : Math.sign(turn) * WHEEL_NOTCH;
      const isFine = event.deltaMode === 0 && Math.abs(turn) < WHEEL_NOTCH;
      const slices = isFine ? Math.trunc(this.turned / WHEEL_NOTCH) : Math.sign(turn);
      this.turned = isFine ? this.turned - slices * WHEEL_NOTCH : 0;
      if (slices) this.move(slices, plane);
      this.tell(plane, [event.offsetX, event.offsetY]);
    }

    onDown(event, plane) {
      const kind = event.button === 2 ? "window" : event.button || event.shiftKey ? "pan" : "place";
      this.drag = { kind, plane, x: event.offsetX, y: event.offsetY, window: this.window };
      this.drag.centre = this.planes[plane].middleOfRoom();
      event.target.setPointerCapture(event.pointerId);
      if (document.activeElement) document.activeElement.blur();
      this.onMove(event, plane);
    }

    onMove(event, plane) {
      const point = [event.offsetX, event.offsetY];
      const at = this.planes[plane].voxelAt(point);
      const { kind } = this.drag || {};
      if (kind === "place" && at) this.setAt(at, plane);
      if (kind === "window") this.dragWindow(...point);
      if (kind === "pan") this.dragCentre(...point);
      this.tell(plane, point);
    }

    dragWindow(x, y) {
      const { values } = this.data;
      const each = (values[values.length - 1] - values[0]) / DRAG_ACROSS;
      const { low, high } = this.drag.window;
      const width = Math.max(high - low + (x - this.drag.x) * each, each / 2);
      if (x !== this.drag.x || y !== this.drag.y) {
        this.setWindow((low + high) / 2 + (y - this.drag.y) * each, width);
      }
    }

    dragCentre(x, y) {
      const { plane, centre } = this.drag;
      const { axes, against, fit } = this.planes[plane].frame();
      const moved = [...centre];
      [x - this.drag.x, y - this.drag.y].forEach((px, k) => {
        const mm = (against[k] ? px : -px) / fit;
        moved[axes[k]] = centre[axes[k]] + mm / this.data.spacing[axes[k]];
      });
      this.planes[plane].centre = moved;
      this.ask();
    }

    // Tell in words what is under the mouse, or under the cross where there is no mouse.
    tell(plane = "", point = null) {
      this.pointer = point && { plane, point };
      this.refreshStatus();
    }

    refreshStatus() {
      const at = this.pointer && this.planes[this.pointer.plane].voxelAt(this.pointer.point);
      this.status.textContent = at ? this.describe(at) : `cross: ${this.describe(this.at)}`;
    }

    describe(at) {
      const { bins, values, grey, layers } = this.data;
      const voxel = at.reduce(
        (sum, index, axis) => sum + Math.floor(index / bins[axis]) * this.strides[axis], 0);
      const value = values[grey[voxel]];
      const digits = digitsFor(values[values.length - 1] - values[0]);
      const { unit = "" } = this.options;
      const parts = [`voxel ${at.join(", ")}`, `${QC.number(value, digits)} ${unit}`];
      const name = (layer) => this.nameOf(layer.labels[voxel]);
      const present = this.layerOf(this.layer);
      if (present) {
        const label = present.labels[voxel];
        parts.push(label ? `${name(present)} ${this.mlOf(label)}` : "background");
        const others = layers.filter((layer) => layer.labels[voxel] !== label);
        parts.push(...others.map((layer) => `${layer.title}: ${name(layer)}`));
      }
      return parts.map((part) => part.trim()).join(" · ");
    }

    nameOf(value) {
      const found = this.data.labels.find((label) => label.value === value);
      return found ? QC.printable(found.shown) : "background";
    }
  };
}
