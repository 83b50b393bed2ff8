// The viewer: arrays become canvases. It knows nothing of flags and decisions.
"use strict";

{
  const PLANES = ["axial", "coronal", "sagittal"];
  const SHOWS = ["contours", "areas", "off"];
  // What a layer that this sample does not have is called.
  const LAYERS = { mask: "mask", before: "mask before denoising", prediction: "prediction" };
  const [SLICES_A_ROW, SLICES_A_SHEET] = [8, 64];
  // Labels of a mask that nobody named.
  const SPARE_COLOURS = ["#E69F00", "#56B4E9", "#12C18A", "#F0E442", "#3D7DFF", "#F2601D"];
  const AREA_OPACITY = 0.4;
  const [DASHES, DOTS] = [[6, 4], [1.5, 2.5]];
  // Lines run this far inside the border, in voxels, so that of two neighbours both are seen.
  const INSET = 0.15;
  const MAX_ZOOM = 16;
  const WHEEL_NOTCH = 50; // px that a wheel turns for a slice; touchpads send many small turns
  const MAX_NOISE = 3; // grey levels
  const DRAG_ACROSS = 300; // px of a drag that change a window by all there is

  const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  const isEqual = (one, other) => one.every((part, k) => part === other[k]);

  // ---- decoding

  // What samples/NAME.js holds, with `grey` and each layer's `labels` as arrays of the viewer's
  // grid, one byte a voxel, first axis fastest.
  QC.decode = async function (data) {
    const noise = pixelNoise();
    if (noise > MAX_NOISE) {
      throw new Error(
        "This browser keeps pages from reading pixels (Firefox: resistFingerprinting), so the " +
          "slices cannot be shown. Allow it for this page, or open the report in another browser.",
      );
    }
    const size = data.size.reduce((product, length) => product * length, 1);
    const layers = await Promise.all(data.layers.map((layer) => readLayer(layer, size)));
    const { grey, isGrey } = await readSheets(data, size);
    const isExact = noise === 0 && isGrey;
    return { ...data, grey, layers, isExact, labels: allLabels(data.labels, layers) };
  };

  // By how many grey levels pixels come back other than they were put.
  function pixelNoise() {
    const size = 64;
    const context = readableCanvas(size, size);
    const made = context.createImageData(size, size);
    const greys = new Uint32Array(made.data.buffer);
    for (let i = 0; i < greys.length; i++) greys[i] = 0xff000000 | (0x010101 * ((i * 7) % 256));
    context.putImageData(made, 0, 0);
    const found = context.getImageData(0, 0, size, size).data;
    return found.reduce((worst, level, i) => Math.max(worst, Math.abs(level - made.data[i])), 0);
  }

  function readableCanvas(width, height) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    return canvas.getContext("2d", { willReadFrequently: true });
  }

  async function readSheets(data, size) {
    const { across, sheets } = data;
    const grey = new Uint8Array(size);
    let isGrey = true;
    for (const [k, source] of sheets.entries()) {
      const image = new Image();
      image.src = source;
      await image.decode().catch(() => {
        throw new Error(`Sheet ${k + 1} of ${sheets.length} is no picture.`);
      });
      const context = readableCanvas(image.naturalWidth, image.naturalHeight);
      context.drawImage(image, 0, 0);
      const first = k * SLICES_A_SHEET;
      const last = Math.min(first + SLICES_A_SHEET, data.size[across]);
      for (let slice = first; slice < last; slice++) {
        isGrey = readTile(context, data, slice, grey) && isGrey;
      }
    }
    return { grey, isGrey };
  }

  // Copy one slice out of its sheet; whether all of it is grey.
  function readTile(context, data, slice, grey) {
    const steps = strides(data.size);
    const [low, high] = [0, 1, 2].filter((axis) => axis !== data.across);
    const [width, height] = [data.size[low], data.size[high]];
    const place = slice % SLICES_A_SHEET;
    const left = (place % SLICES_A_ROW) * width;
    const top = Math.floor(place / SLICES_A_ROW) * height;
    const pixels = context.getImageData(left, top, width, height).data;
    let odd = 0;
    for (let row = 0, i = 0; row < height; row++) {
      let voxel = slice * steps[data.across] + row * steps[high];
      for (let column = 0; column < width; column++, i += 4, voxel += steps[low]) {
        grey[voxel] = pixels[i];
        odd |= (pixels[i] ^ pixels[i + 1]) | (pixels[i] ^ pixels[i + 2]);
      }
    }
    return odd === 0;
  }

  async function readLayer({ key, title, deflated }, size) {
    const bytes = Uint8Array.from(atob(deflated), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const labels = new Uint8Array(await new Response(stream).arrayBuffer());
    if (labels.length !== size) {
      throw new Error(`The ${title} holds ${labels.length} voxels, expected ${size}.`);
    }
    const counts = new Uint32Array(256);
    for (let i = 0; i < size; i++) counts[labels[i]]++;
    return { key, title, labels, counts };
  }

  // The labels that are in a layer, also those that nobody named.
  function allLabels(named, layers) {
    const byValue = new Map(named.map((label) => [label.value, label]));
    const isThere = (value) => layers.some((layer) => layer.counts[value] > 0);
    return Array.from({ length: 255 }, (_, k) => k + 1)
      .filter(isThere)
      .map((value) => byValue.get(value) || nameless(value));
  }

  function nameless(value) {
    const [name, colour] = [`label ${value}`, SPARE_COLOURS[value % SPARE_COLOURS.length]];
    return { value, name, shown: name, colour, dashed: true };
  }

  // ---- slices

  const strides = (size) => [1, size[0], size[0] * size[1]];

  // One upright slice, row by row.
  QC.cut = function (voxels, size, view, index) {
    const steps = strides(size);
    const [height, width] = [size[view.rows], size[view.columns]];
    const down = view.flipped[0] ? -steps[view.rows] : steps[view.rows];
    const right = view.flipped[1] ? -steps[view.columns] : steps[view.columns];
    let start = index * steps[view.axis];
    if (view.flipped[0]) start += (height - 1) * steps[view.rows];
    if (view.flipped[1]) start += (width - 1) * steps[view.columns];
    const picture = new Uint8Array(width * height);
    for (let row = 0, i = 0; row < height; row++) {
      let voxel = start + row * down;
      for (let column = 0; column < width; column++, voxel += right) picture[i++] = voxels[voxel];
    }
    return picture;
  };

  // Each byte as a table has it.
  function looked(bytes, table) {
    const found = new table.constructor(bytes.length);
    for (let i = 0; i < bytes.length; i++) found[i] = table[bytes[i]];
    return found;
  }

  // ---- contours

  // Corners that are inside (8 upper left, 4 upper right, 2 lower right, 1 lower left) -> edges by
  // which a line enters and leaves, the inside on its left (0 upper, 1 right, 2 lower, 3 left).
  const CROSSINGS = [
    [], [2, 3], [1, 2], [1, 3], [0, 1], [0, 1, 2, 3], [0, 2], [0, 3],
    [3, 0], [2, 0], [3, 0, 1, 2], [1, 0], [3, 1], [2, 1], [3, 2], [],
  ];
  // Where a line enters through an edge, from the middle of the four pixels.
  const ENTRIES = [
    [INSET, -0.5],
    [0.5, INSET],
    [-INSET, 0.5],
    [-0.5, -INSET],
  ];

  // Closed lines just inside the border of each label of a slice: value -> [[x, y, x, y, ...], ...]
  // in pixels, (0, 0) the corner of the first one; 0 is no label.
  QC.contours = function (labels, width, height) {
    const parts = collectParts(padded(labels, width, height), width, height);
    const following = new Int32Array(2 * (width + 2) * (height + 2)).fill(-1);
    const found = new Map();
    for (const [value, part] of parts) found.set(value, joined(part, following));
    return found;
  };

  function padded(labels, width, height) {
    const wide = new Uint8Array((width + 2) * (height + 2));
    for (let row = 0; row < height; row++) {
      const line = labels.subarray(row * width, (row + 1) * width);
      wide.set(line, (row + 1) * (width + 2) + 1);
    }
    return wide;
  }

  // Each four pixels around a point (x, y) hold at most two parts of a label's lines.
  function collectParts(wide, width, height) {
    const line = width + 2;
    const parts = new Map();
    for (let y = 0; y <= height; y++) {
      for (let x = 0, i = y * line; x <= width; x++, i++) {
        const a = wide[i];
        const b = wide[i + 1];
        const c = wide[i + line + 1];
        const d = wide[i + line];
        if (a === b && b === c && c === d) continue;
        const corners = [a, b, c, d];
        addParts(parts, a, corners, x, y, line);
        if (b !== a) addParts(parts, b, corners, x, y, line);
        if (c !== a && c !== b) addParts(parts, c, corners, x, y, line);
        if (d !== a && d !== b && d !== c) addParts(parts, d, corners, x, y, line);
      }
    }
    return parts;
  }

  function addParts(parts, value, [a, b, c, d], x, y, line) {
    if (value === 0) return;
    if (!parts.has(value)) parts.set(value, { from: [], to: [], at: [] });
    const part = parts.get(value);
    const inside = (a === value) * 8 + (b === value) * 4 + (c === value) * 2 + (d === value);
    const here = 2 * (y * line + x); // the upper edge; the left one follows it
    const edges = [here, here + 3, here + 2 * line, here + 1];
    const crossing = CROSSINGS[inside];
    for (let k = 0; k < crossing.length; k += 2) {
      const [dx, dy] = ENTRIES[crossing[k]];
      part.from.push(edges[crossing[k]]);
      part.to.push(edges[crossing[k + 1]]);
      part.at.push(x + dx, y + dy);
    }
  }

  // Join the parts of a label to closed lines; `following` is all -1 before and after.
  function joined({ from, to, at }, following) {
    from.forEach((edge, k) => (following[edge] = k));
    const lines = [];
    for (const edge of from) {
      const points = [];
      for (let k = following[edge]; k >= 0; k = following[to[k]]) {
        points.push(at[2 * k], at[2 * k + 1]);
        following[from[k]] = -1;
      }
      if (points.length) lines.push(points);
    }
    return lines;
  }

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
    const input = QC.el("input", {
      type: "range",
      "aria-label": label,
      ...attributes,
      oninput: (event) => act(Number(event.target.value)),
      onpointerup: (event) => event.target.blur(),
    });
    return input;
  }

  const number = (value, digits = 0) =>
    value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
  QC.number = number;

  // Digits behind the point that tell values apart in a range of so much.
  const digitsFor = (range) => clamp(2 - Math.floor(Math.log10(Math.abs(range) || 1)), 0, 9);

  function parseNumbers(text, count) {
    const numbers = (text || "").split(",").map(Number);
    return numbers.length === count && text && numbers.every(Number.isFinite) ? numbers : null;
  }

  function rgb(colour) {
    const value = parseInt(colour.slice(1), 16);
    return [value >> 16, (value >> 8) & 255, value & 255];
  }

  // ---- the viewer

  // Three linked planes of a decoded sample. `options`: unit of its values; changed(), called when
  // what is shown changed; told(text), called with what a key could not do.
  QC.Viewer = class {
    constructor(data, options = {}) {
      this.data = data;
      this.options = options;
      this.strides = strides(data.size);
      this.step = data.spacing.map((mm, axis) => mm * data.bins[axis]);
      this.at = data.shape.map((length) => Math.floor(length / 2));
      this.centres = Object.fromEntries(PLANES.map((plane) => [plane, this.at]));
      Object.assign(this, this.defaults());
      this.hasCross = true;
      this.highlighted = new Set();
      this.turned = 0;
      this.pointer = null;
      this.ink = this.areaColours();
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
      this.boxes = {};
      const figures = PLANES.map((plane) => this.buildPlane(plane));
      this.planes = QC.el("div", { class: "planes" }, figures);
      this.status = QC.el("output", { class: "status" });
      const side = QC.el("div", { class: "side" }, this.buildLegend());
      const parts = [this.buildTools(), this.status, this.planes, side];
      this.element = QC.el("section", { class: "viewer", "aria-label": "viewer" }, parts);
      this.observer = new ResizeObserver(() => this.ask());
      PLANES.forEach((plane) => this.observer.observe(this.boxes[plane].canvas));
    }

    buildPlane(plane) {
      const canvas = QC.el("canvas", { role: "img", "data-plane": plane });
      const { axis, rows, columns } = this.data.views[plane];
      const { size } = this.data;
      const last = size[axis] - 1;
      const small = readableCanvas(size[columns], size[rows]);
      const act = (order) => this.goTo(plane, order);
      const range = { min: 0, max: last, disabled: last === 0 };
      const input = slider(`${plane} slice`, range, act);
      const title = `Make the ${plane} plane the large one (${PLANES.indexOf(plane) + 1})`;
      const choose = () => this.choosePlane(plane);
      const button = QC.el("button", { type: "button", title, onclick: choose }, plane);
      const text = QC.el("span", { class: "number" });
      const caption = QC.el("figcaption", {}, button, input, text);
      this.boxes[plane] = { canvas, input, button, text, small };
      this.listen(canvas, plane);
      const box = QC.el("div", { class: "box" }, canvas);
      return QC.el("figure", { class: "plane", "data-plane": plane }, box, caption);
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
      this.at = at.map((index, axis) => clamp(Math.floor(index), 0, shape[axis] - 1));
      for (const plane of PLANES) if (plane !== clicked) this.centres[plane] = this.at;
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
      const wanted = clamp(order, 0, last);
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
      const zoom = factor ? clamp(this.zoom * factor, 1, MAX_ZOOM) : 1;
      for (const plane of PLANES) this.centres[plane] = this.at;
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
        zoom: params.get("zoom") && clamp(Number(params.get("zoom")) || 1, 1, MAX_ZOOM),
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
      const [low, high] = [this.window.low, this.window.high].map((at) => number(at, digits));
      this.range.textContent = `${low} to ${high} ${unit}`;
      this.planes.dataset.large = this.plane;
      for (const plane of PLANES) this.refreshPlane(plane);
      for (const label of this.data.labels) this.refreshEntry(label);
      this.refreshStatus();
      this.ask();
    }

    refreshPlane(plane) {
      const { canvas, input, button, text } = this.boxes[plane];
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
      if (measured !== undefined) return `${number(measured, 1)} ml`;
      const voxel = this.step.reduce((product, mm) => product * mm, 1);
      const isExact = isEqual(this.data.bins, [1, 1, 1]);
      const counted = number((layer.counts[value] * voxel) / 1000, 1);
      return layer.counts[value] ? `${isExact ? "" : "≈ "}${counted} ml` : "–";
    }

    measured(value) {
      const table = { mask: this.data.organs, prediction: this.data.prediction }[this.layer];
      const found = Object.values(table || {}).find((organ) => organ.value === value);
      return found && Number.isFinite(found.volume_ml) ? found.volume_ml : undefined;
    }

    // Draw with the next frame of the screen, once however much changed.
    ask() {
      if (this.asked) return;
      this.asked = requestAnimationFrame(() => {
        this.asked = 0;
        PLANES.forEach((plane) => this.draw(plane));
      });
    }

    close() {
      cancelAnimationFrame(this.asked);
      this.asked = 1; // nothing is drawn any more
      this.observer.disconnect();
    }

    // Where a plane's picture lies on its canvas: its corner, and how large a voxel is, px.
    frame(plane) {
      const { canvas } = this.boxes[plane];
      const { rows, columns, flipped } = this.data.views[plane];
      const room = [canvas.clientWidth, canvas.clientHeight];
      const axes = [columns, rows];
      const lengths = axes.map((axis) => this.data.size[axis] * this.step[axis]);
      const fit = Math.min(room[0] / lengths[0], room[1] / lengths[1]) * this.zoom;
      const against = [flipped[1], flipped[0]];
      const corner = axes.map((axis, k) => {
        const free = room[k] - lengths[k] * fit;
        if (free >= 0) return free / 2;
        const middle = (this.centres[plane][axis] + 0.5) * this.data.spacing[axis];
        return clamp(room[k] / 2 - (against[k] ? lengths[k] - middle : middle) * fit, free, 0);
      });
      const voxel = axes.map((axis) => this.step[axis] * fit);
      return { axes, against, corner, voxel, fit, room };
    }

    // Middle of the voxel `at` on a plane's canvas, px.
    placeOf(plane, at = this.at) {
      const { axes, against, corner, voxel } = this.frame(plane);
      return axes.map((axis, k) => {
        const along = (at[axis] + 0.5) / this.data.bins[axis];
        return corner[k] + (against[k] ? this.data.size[axis] - along : along) * voxel[k];
      });
    }

    // What lies in the middle of a canvas; `centres` may be nearer to an edge than can be shown.
    middleOfRoom(plane) {
      const { axes, against, corner, voxel, room } = this.frame(plane);
      const middle = [...this.at];
      for (const [k, axis] of axes.entries()) {
        const from = (room[k] / 2 - corner[k]) / voxel[k];
        const along = against[k] ? this.data.size[axis] - from : from;
        middle[axis] = along * this.data.bins[axis] - 0.5;
      }
      return middle;
    }

    // The voxel under a point of a canvas, or null beside the picture.
    voxelAt(plane, point) {
      const { axes, against, corner, voxel } = this.frame(plane);
      const at = [...this.at];
      for (const [k, axis] of axes.entries()) {
        const from = (point[k] - corner[k]) / voxel[k];
        const along = against[k] ? this.data.size[axis] - from : from;
        if (!(along >= 0 && along < this.data.size[axis])) return null;
        at[axis] = Math.min(Math.floor(along * this.data.bins[axis]), this.data.shape[axis] - 1);
      }
      return at;
    }

    draw(plane) {
      const { canvas } = this.boxes[plane];
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (!width || !height) return;
      const size = [Math.round(width * ratio), Math.round(height * ratio)];
      if (!isEqual(size, [canvas.width, canvas.height])) [canvas.width, canvas.height] = size;
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, width, height);
      const frame = this.frame(plane);
      this.drawGrey(pen, plane, frame);
      if (this.layer && this.show !== "off") this.drawLabels(pen, plane, frame);
      if (this.hasCross) this.drawCross(pen, plane, frame);
      this.drawLetters(pen, plane, frame);
      this.drawScale(pen, frame);
    }

    cut(plane, voxels) {
      const view = this.data.views[plane];
      return QC.cut(voxels, this.data.size, view, this.gridAt()[view.axis]);
    }

    // Put a slice of colours onto the canvas, enlarged.
    paint(pen, plane, frame, colours, isSmooth) {
      const { rows, columns } = this.data.views[plane];
      const [width, height] = [this.data.size[columns], this.data.size[rows]];
      const { small } = this.boxes[plane];
      const image = new ImageData(new Uint8ClampedArray(colours.buffer), width, height);
      small.putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = isSmooth;
      pen.imageSmoothingQuality = "high";
      const [across, down] = frame.voxel;
      pen.drawImage(small.canvas, ...frame.corner, width * across, height * down);
    }

    drawGrey(pen, plane, frame) {
      const { low, high } = this.window;
      const scale = 255 / (high - low);
      const shades = Uint32Array.from(this.data.values, (value) => {
        return 0xff000000 | (0x010101 * Math.round(clamp((value - low) * scale, 0, 255)));
      });
      const grey = this.cut(plane, this.data.grey);
      this.paint(pen, plane, frame, looked(grey, shades), true);
    }

    areaColours() {
      const colours = new Uint32Array(256);
      for (const { value, colour } of this.data.labels) {
        const [red, green, blue] = rgb(colour);
        const alpha = Math.round(AREA_OPACITY * 255);
        colours[value] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      }
      return colours;
    }

    // Labels of a layer's slice; those that are hidden are background.
    shownLabels(plane, layer) {
      const labels = this.cut(plane, layer.labels);
      if (!this.hidden.size) return labels;
      const kept = Uint8Array.from({ length: 256 }, (_, value) => value);
      for (const value of this.hidden) kept[value] = 0;
      return looked(labels, kept);
    }

    drawLabels(pen, plane, frame) {
      const labels = this.shownLabels(plane, this.layerOf(this.layer));
      if (this.show === "areas") {
        this.paint(pen, plane, frame, looked(labels, this.ink), false);
      }
      const lines = this.lines(plane, labels);
      if (this.isBoth) this.drawOther(pen, plane, frame, labels);
      for (const label of this.data.labels) {
        const isThick = this.highlighted.has(label.value);
        pen.strokeStyle = label.colour;
        pen.lineWidth = isThick ? 3 : 1.25;
        pen.setLineDash(label.dashed ? DASHES : []);
        stroke(pen, frame, lines.get(label.value));
      }
      pen.setLineDash([]);
    }

    lines(plane, labels) {
      const { rows, columns } = this.data.views[plane];
      return QC.contours(labels, this.data.size[columns], this.data.size[rows]);
    }

    // The other mask: its contours dotted in white, and a tint where the two differ.
    drawOther(pen, plane, frame, labels) {
      const others = this.shownLabels(plane, this.otherLayer());
      const tint = new Uint32Array(labels.length);
      labels.forEach((value, i) => (tint[i] = value === others[i] ? 0 : 0xa000f0ff)); // yellow
      this.paint(pen, plane, frame, tint, false);
      pen.strokeStyle = "#fff";
      pen.lineWidth = 1.25;
      pen.setLineDash(DOTS);
      for (const lines of this.lines(plane, others).values()) stroke(pen, frame, lines);
    }

    drawCross(pen, plane, frame) {
      const [x, y] = this.placeOf(plane);
      const [width, height] = frame.room;
      const gap = 9;
      pen.strokeStyle = "#7fdcff99";
      pen.lineWidth = 1;
      pen.beginPath();
      for (const [from, to] of [[0, x - gap], [x + gap, width]]) {
        pen.moveTo(from, y);
        pen.lineTo(to, y);
      }
      for (const [from, to] of [[0, y - gap], [y + gap, height]]) {
        pen.moveTo(x, from);
        pen.lineTo(x, to);
      }
      pen.stroke();
    }

    drawLetters(pen, plane, { room: [width, height] }) {
      const [left, right, upper, lower] = this.data.views[plane].letters;
      pen.font = "600 13px system-ui, sans-serif";
      pen.textBaseline = "middle";
      write(pen, left, 6, height / 2, "left");
      write(pen, right, width - 6, height / 2, "right");
      write(pen, upper, width / 2, 11, "center");
      write(pen, lower, width / 2, height - 11, "center");
    }

    drawScale(pen, { fit, room: [width, height] }) {
      const mm = QC.scaleLength(width / 4 / fit);
      const [left, y] = [10, height - 12];
      pen.lineCap = "butt";
      for (const [colour, thick] of [["#000", 5], ["#fff", 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = thick;
        pen.beginPath();
        pen.moveTo(left - (thick > 2), y);
        pen.lineTo(left + mm * fit + (thick > 2), y);
        pen.stroke();
      }
      pen.font = "12px system-ui, sans-serif";
      write(pen, mm >= 10 ? `${mm / 10} cm` : `${mm} mm`, left, y - 11, "left");
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
      this.drag.centre = this.middleOfRoom(plane);
      event.target.setPointerCapture(event.pointerId);
      if (document.activeElement) document.activeElement.blur();
      this.onMove(event, plane);
    }

    onMove(event, plane) {
      const point = [event.offsetX, event.offsetY];
      const at = this.voxelAt(plane, point);
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
      const { axes, against, fit } = this.frame(plane);
      const moved = [...centre];
      [x - this.drag.x, y - this.drag.y].forEach((px, k) => {
        const mm = (against[k] ? px : -px) / fit;
        moved[axes[k]] = centre[axes[k]] + mm / this.data.spacing[axes[k]];
      });
      this.centres[plane] = moved;
      this.ask();
    }

    // Tell in words what is under the mouse, or under the cross where there is no mouse.
    tell(plane = "", point = null) {
      this.pointer = point && { plane, point };
      this.refreshStatus();
    }

    refreshStatus() {
      const at = this.pointer && this.voxelAt(this.pointer.plane, this.pointer.point);
      this.status.textContent = at ? this.describe(at) : `cross: ${this.describe(this.at)}`;
    }

    describe(at) {
      const { bins, values, grey, layers } = this.data;
      const voxel = at.reduce(
        (sum, index, axis) => sum + Math.floor(index / bins[axis]) * this.strides[axis], 0);
      const value = values[grey[voxel]];
      const digits = digitsFor(values[values.length - 1] - values[0]);
      const { unit = "" } = this.options;
      const parts = [`voxel ${at.join(", ")}`, `${number(value, digits)} ${unit}`];
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

  // The longest of 1, 2, 5, 10, ... mm that fits.
  QC.scaleLength = function (mm) {
    const ten = 10 ** Math.floor(Math.log10(mm));
    return ten * [5, 2, 1].find((part) => part * ten <= mm);
  };

  function stroke(pen, { corner, voxel }, lines = []) {
    pen.beginPath();
    for (const points of lines) {
      for (let k = 0; k < points.length; k += 2) {
        const [x, y] = [corner[0] + points[k] * voxel[0], corner[1] + points[k + 1] * voxel[1]];
        if (k === 0) pen.moveTo(x, y);
        else pen.lineTo(x, y);
      }
      pen.closePath();
    }
    pen.stroke();
  }

  function write(pen, text, x, y, align) {
    pen.textAlign = align;
    pen.strokeStyle = "#000c";
    pen.lineWidth = 3;
    pen.lineJoin = "round";
    pen.strokeText(text, x, y);
    pen.fillStyle = "#fff";
    pen.fillText(text, x, y);
  }
}
