// One plane of the viewer: where its voxels lie on its canvas, and what is drawn there.
"use strict";

{
  const AREA_OPACITY = 0.4;
  const [DASHES, DOTS] = [[6, 4], [1.5, 2.5]];

  QC.clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  QC.isEqual = (one, other) => one.every((part, k) => part === other[k]);

  // Draws the slice of a viewer across one axis; `centre` is the voxel around which it is enlarged.
  QC.Plane = class {
    constructor(viewer, name) {
      const { data } = viewer;
      this.viewer = viewer;
      this.data = data;
      this.view = data.views[name];
      this.centre = viewer.at;
      this.canvas = QC.el("canvas", { role: "img", "data-plane": name });
      this.small = QC.pen(data.size[this.view.columns], data.size[this.view.rows]);
      this.ink = areaColours(data.labels);
    }

    // Where the picture lies on the canvas: its corner, and how large a voxel is, px.
    frame() {
      const { canvas, data, viewer } = this;
      const { rows, columns, flipped } = this.view;
      const room = [canvas.clientWidth, canvas.clientHeight];
      const axes = [columns, rows];
      const lengths = axes.map((axis) => data.size[axis] * viewer.step[axis]);
      const fit = Math.min(room[0] / lengths[0], room[1] / lengths[1]) * viewer.zoom;
      const against = [flipped[1], flipped[0]];
      const corner = axes.map((axis, k) => {
        const free = room[k] - lengths[k] * fit;
        if (free >= 0) return free / 2;
        const middle = (this.centre[axis] + 0.5) * data.spacing[axis];
        return QC.clamp(room[k] / 2 - (against[k] ? lengths[k] - middle : middle) * fit, free, 0);
      });
      const voxel = axes.map((axis) => viewer.step[axis] * fit);
      return { axes, against, corner, voxel, fit, room };
    }

    // Middle of the voxel `at` on the canvas, px.
    placeOf(at = this.viewer.at) {
      const { axes, against, corner, voxel } = this.frame();
      return axes.map((axis, k) => {
        const along = (at[axis] + 0.5) / this.data.bins[axis];
        return corner[k] + (against[k] ? this.data.size[axis] - along : along) * voxel[k];
      });
    }

    // What lies in the middle of the canvas; `centre` may be nearer to an edge than can be shown.
    middleOfRoom() {
      const frame = this.frame();
      const middle = [...this.viewer.at];
      for (const [axis, along] of this.alongAxes(frame, frame.room.map((px) => px / 2))) {
        middle[axis] = along * this.data.bins[axis] - 0.5;
      }
      return middle;
    }

    // How far along its two axes a point of the canvas lies: [axis, voxels of the viewer's grid].
    alongAxes({ axes, against, corner, voxel }, point) {
      return axes.map((axis, k) => {
        const from = (point[k] - corner[k]) / voxel[k];
        return [axis, against[k] ? this.data.size[axis] - from : from];
      });
    }

    // The voxel under a point of the canvas, or null beside the picture.
    voxelAt(point) {
      const at = [...this.viewer.at];
      for (const [axis, along] of this.alongAxes(this.frame(), point)) {
        if (!(along >= 0 && along < this.data.size[axis])) return null;
        at[axis] = Math.min(Math.floor(along * this.data.bins[axis]), this.data.shape[axis] - 1);
      }
      return at;
    }

    draw() {
      const { canvas, viewer } = this;
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (!width || !height) return;
      const size = [Math.round(width * ratio), Math.round(height * ratio)];
      if (!QC.isEqual(size, [canvas.width, canvas.height])) [canvas.width, canvas.height] = size;
      const pen = canvas.getContext("2d");
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, width, height);
      const frame = this.frame();
      this.drawGrey(pen, frame);
      if (viewer.layer && viewer.show !== "off") this.drawLabels(pen, frame);
      if (viewer.hasCross) this.drawCross(pen, frame);
      this.drawLetters(pen, frame);
      this.drawScale(pen, frame);
    }

    cut(voxels) {
      const index = this.viewer.gridAt()[this.view.axis];
      return QC.cut(voxels, this.data.size, this.view, index);
    }

    // Put a slice of colours onto the canvas, enlarged.
    paint(pen, frame, colours, isSmooth) {
      const { small } = this;
      const { width, height } = small.canvas;
      const image = new ImageData(new Uint8ClampedArray(colours.buffer), width, height);
      small.putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = isSmooth;
      pen.imageSmoothingQuality = "high";
      const [across, down] = frame.voxel;
      pen.drawImage(small.canvas, ...frame.corner, width * across, height * down);
    }

    drawGrey(pen, frame) {
      const { low, high } = this.viewer.window;
      const scale = 255 / (high - low);
      const shades = Uint32Array.from(this.data.values, (value) => {
        return 0xff000000 | (0x010101 * Math.round(QC.clamp((value - low) * scale, 0, 255)));
      });
      const grey = this.cut(this.data.grey);
      this.paint(pen, frame, QC.looked(grey, shades), true);
    }

    // Labels of a layer's slice; those that are hidden are background.
    shownLabels(layer) {
      const labels = this.cut(layer.labels);
      if (!this.viewer.hidden.size) return labels;
      const kept = Uint8Array.from({ length: 256 }, (_, value) => value);
      for (const value of this.viewer.hidden) kept[value] = 0;
      return QC.looked(labels, kept);
    }

    drawLabels(pen, frame) {
      const { viewer } = this;
      const labels = this.shownLabels(viewer.layerOf(viewer.layer));
      if (viewer.show === "areas") this.paint(pen, frame, QC.looked(labels, this.ink), false);
      const lines = this.lines(labels);
      if (viewer.isBoth) this.drawOther(pen, frame, labels);
      for (const label of this.data.labels) {
        const isThick = viewer.highlighted.has(label.value);
        pen.strokeStyle = label.colour;
        pen.lineWidth = isThick ? 3 : 1.25;
        pen.setLineDash(label.dashed ? DASHES : []);
        stroke(pen, frame, lines.get(label.value));
      }
      pen.setLineDash([]);
    }

    lines(labels) {
      const { width, height } = this.small.canvas;
      return QC.contours(labels, width, height);
    }

    // The other mask: its contours dotted in white, and a tint where the two differ.
    drawOther(pen, frame, labels) {
      const others = this.shownLabels(this.viewer.otherLayer());
      const tint = new Uint32Array(labels.length);
      labels.forEach((value, i) => (tint[i] = value === others[i] ? 0 : 0xa000f0ff)); // yellow
      this.paint(pen, frame, tint, false);
      pen.strokeStyle = "#fff";
      pen.lineWidth = 1.25;
      pen.setLineDash(DOTS);
      for (const lines of this.lines(others).values()) stroke(pen, frame, lines);
    }

    drawCross(pen, frame) {
      const [x, y] = this.placeOf();
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

    drawLetters(pen, { room: [width, height] }) {
      const [left, right, upper, lower] = this.view.letters;
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
  };

  // Half-transparent colour of each label, as alpha, blue, green, red.
  function areaColours(labels) {
    const colours = new Uint32Array(256);
    for (const { value, colour } of labels) {
      const [red, green, blue] = rgb(colour);
      const alpha = Math.round(AREA_OPACITY * 255);
      colours[value] = ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
    return colours;
  }

  function rgb(colour) {
    const value = parseInt(colour.slice(1), 16);
    return [value >> 16, (value >> 8) & 255, value & 255];
  }

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
