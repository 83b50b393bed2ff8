// Arrays of a sample: decoding them, slices of them, and the contours of labels in a slice.
"use strict";

{
  const [SLICES_A_ROW, SLICES_A_SHEET] = [8, 64];
  const MAX_NOISE = 3; // grey levels
  // Labels of a mask that nobody named.
  const SPARE_COLOURS = ["#E69F00", "#56B4E9", "#12C18A", "#F0E442", "#3D7DFF", "#F2601D"];
  // Lines run this far inside the border, in voxels, so that of two neighbours both are seen.
  const INSET = 0.15;

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
    const context = QC.pen(size, size);
    const made = context.createImageData(size, size);
    const greys = new Uint32Array(made.data.buffer);
    for (let i = 0; i < greys.length; i++) greys[i] = 0xff000000 | (0x010101 * ((i * 7) % 256));
    context.putImageData(made, 0, 0);
    const found = context.getImageData(0, 0, size, size).data;
    return found.reduce((worst, level, i) => Math.max(worst, Math.abs(level - made.data[i])), 0);
  }

  // What draws on a canvas of its own, from which pixels are read.
  QC.pen = function (width, height) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    return canvas.getContext("2d", { willReadFrequently: true });
  };

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
      const context = QC.pen(image.naturalWidth, image.naturalHeight);
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
    const steps = QC.strides(data.size);
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

  // How far apart in an array neighbours along each axis are.
  QC.strides = (size) => [1, size[0], size[0] * size[1]];

  // One upright slice, row by row.
  QC.cut = function (voxels, size, view, index) {
    const steps = QC.strides(size);
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
  QC.looked = function (bytes, table) {
    const found = new table.constructor(bytes.length);
    for (let i = 0; i < bytes.length; i++) found[i] = table[bytes[i]];
    return found;
  };

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
}
