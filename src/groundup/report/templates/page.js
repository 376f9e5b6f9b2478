"use strict";
// What a page can do with a pointer. Charts: values under it, zoom (drag across; double click: all of it), logarithmic axes.
// Tables: a click on a head sorts by it. Without a script the drawings and tables stand as they came.

const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

function shown(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size && size < 1e-3)) return value.toExponential(2);
  return size >= 1e3 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

// Round numbers between the ends: about five. Of a logarithmic axis powers of ten, 2 and 5 times them if these are few, and where
// it covers less than that the same as of a plain one.
function ticks(low, high, log) {
  const found = [];
  if (log) {
    const many = Math.log10(high / low) > 3;
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
      for (const factor of many ? [1] : [1, 2, 5]) found.push(factor * 10 ** power);
    if (found.filter((tick) => tick >= low && tick <= high).length < 3) return ticks(low, high, false);
  } else {
    const size = 10 ** Math.floor(Math.log10((high - low) / 6));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((step) => step * 6 >= high - low);
    for (let i = Math.ceil(low / step); i <= high / step; i++) found.push(i * step);
  }
  return found.filter((tick) => tick >= low && tick <= high);
}

class Chart {
  // data: {lines: [{name, colour, points: [[x, y], ...]}], x: [first, last], y: [low, high], box: [left, right, top, bottom], best}
  constructor(figure, data) {
    Object.assign(this, data);
    this.figure = figure;
    this.svg = figure.querySelector("svg");
    this.log = { x: false, y: false };
    this.whole = { x: this.x, y: this.y };
    this.values = figure.querySelector("figcaption").appendChild(document.createElement("output"));
    for (const axis of ["x", "y"]) this.offer(axis);
    this.svg.addEventListener("pointermove", (event) => this.tell(event));
    this.svg.addEventListener("pointerleave", () => this.forget());
    this.svg.addEventListener("pointerdown", (event) => { this.from = this.at(event); });
    this.svg.addEventListener("pointerup", (event) => this.zoom(event));
    this.svg.addEventListener("dblclick", () => { this.x = this.whole.x; this.draw(); });
  }

  // A button for a logarithmic axis, where it can be one.
  offer(axis) {
    const place = axis === "x" ? 0 : 1;
    const numbers = this.lines.flatMap((line) => line.points.map((point) => point[place]));
    if (axis === "x") numbers.push(Math.max(this.x[0], Math.min(...numbers)));
    if (!numbers.length || Math.min(...numbers) <= 0) return;
    const button = document.createElement("button");
    button.textContent = `log ${axis}`;
    button.addEventListener("click", () => {
      this.log[axis] = !this.log[axis];
      button.classList.toggle("on", this.log[axis]);
      this.draw();
    });
    this.values.before(button);
  }

  scale(axis, value) {
    const [low, high] = this[axis].map((end) => (this.log[axis] ? Math.log(end) : end));
    const share = ((this.log[axis] ? Math.log(value) : value) - low) / (high - low || 1);
    const [left, right, top, bottom] = this.box;
    return axis === "x" ? left + share * (right - left) : bottom - share * (bottom - top);
  }

  // The value on the x axis under the pointer.
  at(event) {
    const frame = this.svg.getBoundingClientRect();
    const [left, right] = this.box;
    const pixel = ((event.clientX - frame.left) / frame.width) * this.svg.viewBox.baseVal.width;
    const share = Math.min(Math.max((pixel - left) / (right - left), 0), 1);
    const [low, high] = this.x.map((end) => (this.log.x ? Math.log(end) : end));
    const value = low + share * (high - low);
    return this.log.x ? Math.exp(value) : value;
  }

  tell(event) {
    const x = this.at(event);
    const known = this.lines.flatMap((line) => line.points.map((point) => point[0]));
    const near = known.reduce((best, one) => (Math.abs(one - x) < Math.abs(best - x) ? one : best), known[0]);
    const told = [];
    for (const line of this.lines) {
      const point = line.points.reduce((best, one) => (Math.abs(one[0] - near) < Math.abs(best[0] - near) ? one : best));
      told.push(`${line.name} ${shown(point[1])}`);
    }
    this.values.textContent = `${shown(near)}: ${told.join(", ")}`;
    this.forgetLine();
    const pixel = this.scale("x", near);
    this.cursor = add(this.svg, "path", { class: "cursor", d: `M${pixel} ${this.box[2]}V${this.box[3]}` });
    if (this.from !== undefined) {
      const begin = this.scale("x", this.from);
      this.cursor.setAttribute("d", `M${begin} ${this.box[2]}V${this.box[3]}H${pixel}V${this.box[2]}Z`);
    }
  }

  forgetLine() {
    this.cursor?.remove();
    this.cursor = undefined;
  }

  forget() {
    this.forgetLine();
    this.values.textContent = "";
    this.from = undefined;
  }

  zoom(event) {
    const [from, to] = [this.from, this.at(event)].sort((one, other) => one - other);
    this.from = undefined;
    const inside = this.lines.some((line) => line.points.filter(([x]) => x >= from && x <= to).length > 1);
    if (Math.abs(this.scale("x", to) - this.scale("x", from)) < 12 || !inside) return;
    this.x = [from, to];
    this.draw();
  }

  // Draws the part of the lines that is asked for, with axes of its own.
  draw() {
    const known = this.lines.flatMap((line) => line.points.map((point) => point[0]));
    if (this.log.x && this.x[0] <= 0) this.x = [Math.min(...known.filter((x) => x > 0)), this.x[1]];
    const inside = ([x]) => x >= this.x[0] && x <= this.x[1];
    const heights = this.lines.flatMap((line) => line.points.filter(inside).map((point) => point[1]));
    const whole = this.x[0] === this.whole.x[0] && this.x[1] === this.whole.x[1] && !this.log.y;
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const room = this.log.y ? 0 : (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    this.y = whole ? this.whole.y : [low - room, high === low ? high * 1.1 : high + room];
    const [left, right, , bottom] = this.box;
    this.svg.replaceChildren();
    for (const tick of ticks(...this.y, this.log.y)) {
      const y = this.scale("y", tick);
      add(this.svg, "path", { class: "grid", d: `M${left} ${y}H${right}` });
      add(this.svg, "text", { x: left - 7, y: y + 3.5, "text-anchor": "end" }, shown(tick));
    }
    for (const tick of ticks(...this.x, this.log.x))
      add(this.svg, "text", { x: this.scale("x", tick), y: bottom + 19, "text-anchor": "middle" }, shown(tick));
    for (const line of this.lines) {
      const places = line.points.filter(inside).map(([x, y]) => `${this.scale("x", x).toFixed(1)} ${this.scale("y", y).toFixed(1)}`);
      if (places.length) add(this.svg, "path", { class: `line ${line.colour}`, d: `M${places.join("L")}` });
    }
  }
}

// A click on a head sorts by that column, numbers as numbers; a second one the other way round.
function sortable(table) {
  const body = table.tBodies[0];
  [...(table.tHead?.rows[0]?.cells ?? [])].forEach((head, column) => {
    let falls = false;
    head.classList.add("sorts");
    head.addEventListener("click", () => {
      const rows = [...body.rows].map((row) => ({ row, text: row.cells[column]?.textContent.trim() ?? "" }));
      const number = (text) => parseFloat(text.replaceAll(",", ""));
      const numbers = rows.every(({ text }) => !/[a-z]/i.test(text) || text === "") && rows.some(({ text }) => !isNaN(number(text)));
      const order = numbers
        ? (one, other) => (isNaN(number(one.text)) ? Infinity : number(one.text)) - (isNaN(number(other.text)) ? Infinity : number(other.text))
        : (one, other) => one.text.localeCompare(other.text);
      rows.sort((one, other) => (falls ? -order(one, other) : order(one, other)));
      falls = !falls;
      body.append(...rows.map(({ row }) => row));
    });
  });
}

document.querySelectorAll("figure[data-chart]").forEach((figure) => new Chart(figure, JSON.parse(figure.dataset.chart)));
document.querySelectorAll("table").forEach((table) => { if (table.tBodies.length === 1 && table.tBodies[0].rows.length > 2) sortable(table); });
