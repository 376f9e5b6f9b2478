"use strict";
// What a page can do with a pointer, or with keys. Charts: values under it (arrows), zoom (drag across; double click or Escape:
// all of it), logarithmic axes. Tables: a click (Enter) on a head sorts by it. Without a script the drawings and tables stand as
// they came.

const SVG = "http://www.w3.org/2000/svg";
const FEW = 3; // lines whose values fit into a row
const DOTS = 40; // fewer points than this are marked

function add(parent, name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text) node.textContent = text;
  parent.append(node);
  return node;
}

// Of an axis, in few letters.
function short(value) {
  const [size, unit] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(([least]) => Math.abs(value) >= least) ?? [1, ""];
  return unit ? Number((value / (unit === "k" ? 1e3 : size)).toPrecision(4)) + unit : shown(value);
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
  // data: {lines: [{name, colour, points: [[x, y], ...], smooth}], unit, x: [first, last], y: [low, high], box: [left, right, top,
  // bottom]}; where a line has a smooth form, its points are drawn faintly behind it. A drawing that came with the page is the whole.
  constructor(figure, data) {
    Object.assign(this, data);
    this.figure = figure;
    this.svg = figure.querySelector("svg");
    this.log = { x: false, y: false };
    this.whole = { x: this.x, y: this.y };
    this.asked = this.x;
    this.came = [...this.svg.childNodes];
    this.steps = [...new Set(this.lines.flatMap((line) => line.points.map((point) => point[0])))].sort((one, other) => one - other);
    const tools = figure.querySelector("figcaption").appendChild(document.createElement("div"));
    this.values = tools.appendChild(document.createElement("output"));
    this.keys = this.lines.length > FEW ? [...figure.querySelectorAll(".key")] : []; // which tell the values of many lines
    this.keys.forEach((key) => { key.dataset.value = ""; });
    this.back = tools.appendChild(document.createElement("button"));
    Object.assign(this.back, { textContent: "whole", hidden: true });
    this.back.addEventListener("click", () => this.show(this.whole.x));
    for (const axis of ["x", "y"]) this.offer(axis);
    this.svg.setAttribute("tabindex", "0");
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.forget());
    this.svg.addEventListener("pointermove", (event) => this.tell(this.at(event)));
    this.svg.addEventListener("pointerleave", () => this.forget());
    this.svg.addEventListener("pointercancel", () => this.forget());
    this.svg.addEventListener("pointerdown", (event) => {
      this.from = this.at(event);
      if (event.isTrusted) this.svg.setPointerCapture(event.pointerId); // a drag may end beside the drawing
    });
    this.svg.addEventListener("pointerup", (event) => this.zoom(event));
    this.svg.addEventListener("dblclick", () => this.show(this.whole.x));
  }

  // A button for a logarithmic axis, where it can be one.
  offer(axis) {
    const place = axis === "x" ? 0 : 1;
    const numbers = this.lines.flatMap((line) => line.points.map((point) => point[place]));
    if (axis === "x") numbers.push(Math.max(this.x[0], Math.min(...numbers)));
    if (!numbers.length || Math.min(...numbers) <= 0) return;
    const button = document.createElement("button");
    button.textContent = `log ${axis}`;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      this.log[axis] = !this.log[axis];
      button.setAttribute("aria-pressed", String(this.log[axis]));
      this.draw();
    });
    this.back.before(button);
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

  // The values at the step nearest to x.
  tell(x) {
    const nearest = (numbers) => numbers.reduce((best, one) => (Math.abs(one - x) < Math.abs(best - x) ? one : best));
    this.told = nearest(this.steps);
    const told = this.lines.map((line) => {
      const step = nearest(line.points.map((point) => point[0]));
      return shown(line.points.find((point) => point[0] === step)[1]);
    });
    this.keys.forEach((key, place) => { key.dataset.value = told[place]; });
    const all = this.lines.map((line, place) => `${line.name} ${told[place]}`).join(", ");
    this.values.textContent = this.keys.length ? `${shown(this.told)} ${this.unit ?? ""}` : `${shown(this.told)}: ${all}`;
    this.forgetLine();
    const pixel = this.scale("x", this.told);
    this.cursor = add(this.svg, "path", { class: "cursor", d: `M${pixel} ${this.box[2]}V${this.box[3]}` });
    if (this.from !== undefined) {
      const begin = this.scale("x", this.from);
      this.cursor.setAttribute("d", `M${begin} ${this.box[2]}V${this.box[3]}H${pixel}V${this.box[2]}Z`);
    }
  }

  // Arrows go from step to step, Escape shows the whole.
  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.show(this.whole.x);
    if (!move) return;
    event.preventDefault();
    const steps = this.steps.filter((x) => x >= this.x[0] && x <= this.x[1]);
    const place = this.told === undefined ? (move > 0 ? -1 : steps.length) : steps.indexOf(this.told);
    this.tell(steps[Math.min(Math.max(place + move, 0), steps.length - 1)]);
  }

  forgetLine() {
    this.cursor?.remove();
    this.cursor = undefined;
  }

  forget() {
    this.forgetLine();
    this.values.textContent = "";
    this.keys.forEach((key) => { key.dataset.value = ""; });
    this.from = this.told = undefined;
  }

  zoom(event) {
    const [from, to] = [this.from, this.at(event)].sort((one, other) => one - other);
    this.from = undefined;
    const inside = this.lines.some((line) => line.points.filter(([x]) => x >= from && x <= to).length > 1);
    if (Math.abs(this.scale("x", to) - this.scale("x", from)) < 12 || !inside) return;
    this.show([from, to]);
  }

  show(x) {
    this.asked = x;
    this.back.hidden = x === this.whole.x;
    this.draw();
  }

  // Draws the part of the lines that is asked for, with axes of its own.
  draw() {
    const all = this.asked === this.whole.x;
    this.x = this.log.x && this.asked[0] <= 0 ? [this.steps.find((x) => x > 0), this.asked[1]] : this.asked;
    if (this.came.length && all && !this.log.x && !this.log.y) {
      this.y = this.whole.y;
      this.svg.replaceChildren(...this.came);
      return;
    }
    const inside = ([x]) => x >= this.x[0] && x <= this.x[1];
    const heights = this.lines.flatMap((line) => line.points.filter(inside).map((point) => point[1]));
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const room = this.log.y ? 0 : (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    this.y = all && !this.log.y ? this.whole.y : [low - room, high + (room || (high === low ? high * 0.1 : 0))];
    const [left, right, , bottom] = this.box;
    this.svg.replaceChildren();
    for (const tick of ticks(...this.y, this.log.y)) {
      const y = this.scale("y", tick);
      add(this.svg, "path", { class: "grid", d: `M${left} ${y}H${right}` });
      add(this.svg, "text", { x: left - 7, y: y + 3.5, "text-anchor": "end" }, short(tick));
    }
    const steps = ticks(...this.x, this.log.x);
    for (const tick of steps) {
      const label = short(tick) + (this.unit && tick === steps.find((x) => x > 0) ? ` ${this.unit}` : "");
      add(this.svg, "text", { x: this.scale("x", tick), y: bottom + 19, "text-anchor": "middle" }, label);
    }
    const path = (points) => "M" + points.map(([x, y]) => `${this.scale("x", x).toFixed(1)} ${this.scale("y", y).toFixed(1)}`).join("L");
    for (const line of this.lines) {
      const [points, smooth] = [line.points, line.smooth ?? []].map((all) => all.filter(inside));
      if (points.length) add(this.svg, "path", { class: `line ${line.colour}${smooth.length > 1 ? " faint" : ""}`, d: path(points) });
      if (smooth.length > 1) add(this.svg, "path", { class: `line ${line.colour}`, d: path(smooth) });
      if (points.length > DOTS) continue;
      const dots = add(this.svg, "g", { class: `dots ${line.colour}` });
      for (const [x, y] of points) add(dots, "circle", { cx: this.scale("x", x).toFixed(1), cy: this.scale("y", y).toFixed(1), r: 2.4 });
    }
  }
}

// The number that a cell begins with; NaN for a word, a date, and for what is missing.
function numberOf(text) {
  const found = text.replaceAll(",", "").match(/^[+-]?\d*\.?\d+(e[+-]?\d+)?(?![\w.:-])/i);
  return found ? Number(found[0]) : NaN;
}

// Texts of a column in order: as numbers if all are, but for those that are missing, which come last.
function inOrder(texts) {
  const missing = (text) => ["", "-", "–"].includes(text);
  const known = texts.filter((text) => !missing(text));
  const numbers = known.length > 0 && known.every((text) => !isNaN(numberOf(text)));
  const value = (text) => (missing(text) ? Infinity : numberOf(text));
  return numbers ? (one, other) => (value(one) === value(other) ? 0 : value(one) - value(other)) : (one, other) => one.localeCompare(other);
}

// A click on a head sorts by that column; a second one the other way round.
function heads(table, sort) {
  [...(table.tHead?.rows[0]?.cells ?? [])].forEach((head, column, all) => {
    const turn = () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      all.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      sort(column, falls);
    };
    if (head.querySelector("input")) return;
    head.classList.add("sorts");
    head.tabIndex = 0;
    head.addEventListener("click", turn);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") turn(); });
  });
}

function sortable(table) {
  const body = table.tBodies[0];
  heads(table, (column, falls) => {
    const text = (row) => (row.cells[column]?.firstChild?.textContent ?? "").trim();
    const rows = [...body.rows].map((row) => ({ row, text: text(row) }));
    const order = inOrder(rows.map((row) => row.text));
    rows.sort((one, other) => (falls ? order(other.text, one.text) : order(one.text, other.text)));
    body.append(...rows.map(({ row }) => row));
  });
}

document.querySelectorAll("[data-hint]").forEach((hint) => { hint.hidden = false; });
document.querySelectorAll("figure[data-chart]").forEach((figure) => new Chart(figure, JSON.parse(figure.dataset.chart)));
document.querySelectorAll("table").forEach((table) => { if (table.tBodies.length === 1 && table.tBodies[0].rows.length > 2) sortable(table); });
