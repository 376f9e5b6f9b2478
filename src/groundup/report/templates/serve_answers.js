"use strict";
// Answers as something to look at: each function makes nodes of an answer. What is in them is text, never markup.

const MOST = 8; // labels that are shown at once
const LONGEST = 20000; // characters of JSON that are shown
const PIECES = 4000; // parts of a text that are marked
const REST = 400; // characters of a text that were not read
const CELLS = 4000; // of a picture of attention
const DEPTH = 70; // % of colour of the largest weight
const NOTES = {
  empty: "There is no text to read, so the answer means nothing.",
  truncated: "Only a part of it was read: it is longer than what the model takes.",
  unfinished: "The text was cut off: it came to no end within its length.",
};

function make(name, className = "", ...inside) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...inside);
  return node;
}

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

// A text whose places are counted in characters, as the server does; JavaScript counts those beyond U+FFFF twice.
class Characters {
  constructor(text) {
    this.parts = /[\ud800-\udfff]/.test(text) ? Array.from(text) : text;
  }

  cut(start, end) {
    const part = this.parts.slice(start, end);
    return typeof part === "string" ? part : part.join("");
  }
}

// Bars of shares, the largest first. `said`: names of those that are the answer.
function bars(shares, said) {
  const rows = Object.entries(shares).sort((one, other) => other[1] - one[1]);
  const list = (part) => make("ul", "bars", ...part.map(([name, share]) => {
    const fill = make("i");
    fill.style.width = `${100 * share}%`;
    const row = make("li", said.includes(name) ? "said" : "", make("bdi", "", name), make("span", "", percent(share)), make("div", "meter", fill));
    return row;
  }));
  if (rows.length <= MOST + 1) return [list(rows)];
  const rest = make("details", "", make("summary", "", `${rows.length - MOST} more`), list(rows.slice(MOST)));
  return [list(rows.slice(0, MOST)), rest];
}

function ofClass(answer) {
  const name = make("p", "headline", make("bdi", "", answer.predicted));
  name.append(make("small", "", percent(answer.probability)));
  return [name, ...bars(answer.probabilities, [answer.predicted])];
}

function ofLabels(answer) {
  const names = answer.predicted.map((name) => make("bdi", "chip", name));
  const head = make("p", "headline", ...(names.length ? names : ["no label"]));
  return [head, ...bars(answer.probabilities, answer.predicted)];
}

function ofNumber(answer, run) {
  const value = answer.predicted;
  const nodes = [make("p", "headline number", value.toLocaleString("en", { maximumSignificantDigits: 4 }))];
  if (run.scale) {
    const [low, high] = run.scale;
    const place = make("i");
    place.style.left = `${100 * Math.min(Math.max((value - low) / (high - low), 0), 1)}%`;
    const ends = make("p", "ends note", make("span", "", low.toPrecision(3)), make("span", "", high.toPrecision(3)));
    nodes.push(make("div", "scale", place), ends, make("p", "note", "From the lowest to the highest score of the training data."));
  }
  return nodes;
}

// Colours by name, in the order of their first use.
class Colours {
  constructor() {
    this.known = new Map();
  }

  of(name) {
    if (!this.known.has(name)) this.known.set(name, { colour: `c${this.known.size % 8}`, count: 0 });
    return this.known.get(name);
  }

  legend() {
    const keys = [...this.known].map(([name, { colour, count }]) => make("li", colour, make("bdi", "", name), make("small", "", count)));
    return make("ul", "legend", ...keys);
  }
}

// `marks`: [start, end, name, title] in order, in characters of `text`.
function marked(text, marks, colours) {
  const whole = new Characters(text);
  const place = make("p", "running");
  place.dir = "auto";
  let at = 0;
  for (const [start, end, name, title] of marks.slice(0, PIECES)) {
    const kind = colours.of(name);
    kind.count++;
    const mark = make("mark", kind.colour, whole.cut(start, end), make("small", "", name));
    mark.title = title;
    place.append(whole.cut(at, start), mark);
    at = end;
  }
  place.append(whole.cut(at));
  return place;
}

function ofEntities(answer, run, asked) {
  const colours = new Colours();
  const marks = answer.entities.map((one) => [one.start, one.end, one.type, percent(one.score)]);
  const text = marked(asked.text, marks, colours);
  if (!marks.length) return [text, make("p", "note", "No entity was found.")];
  return [colours.legend(), text];
}

function ofTags(answer, run, asked) {
  const colours = new Colours();
  const text = Array.from(asked.text);
  const marks = [];
  let at = 0;
  answer.predicted.forEach((tag, number) => {
    const word = Array.from(answer.words[number]);
    while (at < text.length && text[at] !== word[0]) at++;
    marks.push([at, at + word.length, tag, percent(answer.probabilities[number])]);
    at += word.length;
  });
  const place = marked(asked.text, marks, colours);
  place.classList.add("words");
  return [colours.legend(), place];
}

// The context with one span of it marked; of a long one its surroundings, the rest folded away.
function ofAnswer(answer, run, asked) {
  const context = new Characters(asked.context);
  const place = make("p", "running");
  place.dir = "auto";
  const show = (span) => {
    const there = span.start !== null && context.cut(span.start, span.end) === span.answer;
    const mark = make("mark", "found", span.answer);
    place.replaceChildren(...(there ? [context.cut(0, span.start), mark, context.cut(span.end)] : [asked.context]));
    if (there && place.scrollHeight > place.clientHeight) place.scrollTop = mark.offsetTop - place.clientHeight / 3;
  };
  const head = make("p", "headline", answer.answer ? make("bdi", "", answer.answer) : "no answer in this context");
  head.append(make("small", "", percent(answer.probability)));
  const spans = answer.n_best ?? [];
  const choices = spans.map((span) => {
    const button = make("button", "", make("bdi", "", span.answer), make("small", "", percent(span.probability)));
    button.type = "button";
    button.setAttribute("aria-pressed", span.start === answer.start && span.end === answer.end);
    button.addEventListener("click", () => {
      show(span);
      for (const one of choices) one.setAttribute("aria-pressed", one === button);
    });
    return button;
  });
  setTimeout(() => show(answer)); // once it has a size
  return [head, place, ...(spans.length > 1 ? [make("p", "note", "The likeliest spans:"), make("p", "choices", ...choices)] : [])];
}

function ofWritten(answer) {
  const text = make("p", "running written", answer.prediction);
  text.dir = "auto";
  if (!answer.n_best) return [text];
  const items = answer.n_best.map((one) => make("li", "", make("bdi", "", one.text), make("small", "", one.score.toFixed(3))));
  return [text, make("details", "", make("summary", "", `all ${items.length}, with their scores`), make("ol", "written-list", ...items))];
}

function ofAnythingElse(answer, run, asked) {
  const list = make("dl");
  for (const [name, value] of Object.entries(answer))
    if (!(name in asked) && !name.startsWith("input.") && name !== "status")
      list.append(make("div", "", make("dt", "", name), make("dd", "", typeof value === "object" ? JSON.stringify(value) : String(value))));
  return [list];
}

function drawnAnswer(answer, run, asked) {
  let draw = ofAnythingElse;
  if (typeof answer.predicted === "number") draw = ofNumber;
  else if (typeof answer.predicted === "string" && answer.probabilities) draw = ofClass;
  else if (Array.isArray(answer.entities)) draw = ofEntities;
  else if (Array.isArray(answer.words)) draw = ofTags;
  else if (Array.isArray(answer.predicted) && answer.probabilities) draw = ofLabels;
  else if (typeof answer.answer === "string") draw = ofAnswer;
  else if (typeof answer.prediction === "string") draw = ofWritten;
  const notes = [];
  if (NOTES[answer.status]) notes.push(NOTES[answer.status]);
  if (answer.unknown_tokens) notes.push(`${answer.unknown_tokens} tokens are unknown to the model.`);
  return [...draw(answer, run, asked), ...notes.map((note) => make("p", "note told", note))];
}

function json(text) {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
  return make("details", "", make("summary", "", "JSON"), make("pre", "", shown.trim()));
}

// Explanations

function tinted(node, weight, most) {
  node.className = weight < 0 ? "contra" : "pro";
  node.style.setProperty("--share", `${most ? (DEPTH * Math.abs(weight)) / most : 0}%`);
}

// Pieces of `text` with the weights of the tokens that stand for them; null where the tokens are not found in it, in order.
// Tokens that are bytes of a character share it.
function placed(tokens, weights, text) {
  const low = text.toLowerCase();
  if (low.length !== text.length) return null;
  const pieces = [];
  let [at, held, bytes] = [0, 0, 0];
  const gap = (end) => {
    pieces.push([text.slice(at, end), bytes ? held : null]);
    [at, held, bytes] = [end, 0, 0];
  };
  for (let place = 0; place < tokens.length; place++) {
    const token = tokens[place].toLowerCase();
    if (token.includes("\ufffd")) {
      held += weights[place];
      bytes++;
      continue;
    }
    const found = low.indexOf(token, at);
    if (found < 0 || text.slice(at, found).replace(/\s/g, "").length > bytes) {
      if (/^[Ġ▁Ċĉč\s]+$/i.test(token)) continue; // a blank, as a vocabulary writes it
      return null;
    }
    if (found > at) gap(found);
    pieces.push([text.slice(at, at + token.length), weights[place]]);
    at += token.length;
  }
  const end = bytes ? Math.min(text.length, at + bytes) : at;
  if (end > at) gap(end);
  const rest = text.slice(at);
  return [...pieces, [rest.length > REST ? `${rest.slice(0, REST)} …` : rest, undefined]];
}

function ofTokens(found, asked, number) {
  const most = Math.max(0, ...found.weights.map(Math.abs));
  const place = make("p", "running tokens");
  place.dir = "auto";
  const text = Object.values(asked).join("\n");
  const pieces = placed(found.tokens, found.weights, text) ?? found.tokens.flatMap((token, number) => [[token, found.weights[number]], [" ", null]]);
  for (const [piece, weight] of pieces) {
    const node = make("span", weight === undefined ? "unread" : "", piece);
    if (typeof weight === "number") {
      tinted(node, weight, most);
      node.title = (weight < 0 ? "" : "+") + weight.toFixed(4);
    }
    place.append(node);
  }
  const signs = number ? ["raises the number", "lowers it"] : [make("span", "", "speaks for ", make("b", "", make("bdi", "", found.answer))), "speaks against it"];
  const keys = make("p", "note keys-of-tokens", make("span", "key pro", signs[0]), make("span", "key contra", signs[1]));
  return [make("h3", "", "What it comes from"), place, keys];
}

// Words of the source and of what was written: pointing at one shows where the model looked.
function ofAttention(found) {
  const sides = { source: make("p", "running look"), target: make("p", "running look") };
  const nodes = {};
  for (const [side, place] of Object.entries(sides)) {
    nodes[side] = found[side].slice(0, PIECES).map((token, number) => {
      const node = make("span", "", token);
      node.tabIndex = number ? -1 : 0;
      place.append(node, " ");
      return node;
    });
    place.dir = "auto";
  }
  const light = (node) => {
    const side = sides.source.contains(node) ? "source" : "target";
    const other = side === "source" ? "target" : "source";
    const number = nodes[side].indexOf(node);
    if (number < 0) return;
    for (const one of [...nodes.source, ...nodes.target]) one.className = "";
    node.className = "here";
    const weights = nodes[other].map((_, place) => (side === "target" ? found.weights[number][place] : found.weights[place][number]));
    const most = Math.max(...weights);
    nodes[other].forEach((one, place) => {
      tinted(one, weights[place], most);
      one.title = percent(weights[place]);
    });
  };
  for (const [side, place] of Object.entries(sides)) {
    for (const event of ["pointerover", "focusin", "click"]) place.addEventListener(event, ({ target }) => light(target));
    place.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = nodes[side][nodes[side].indexOf(event.target) + (step ?? NaN)];
      if (!next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  }
  const parts = [
    make("h3", "", "Where it looked"), make("p", "note", "Point at a word: the words of the other side that belong to it light up."),
    make("h4", "", "source"), sides.source, make("h4", "", "written"), sides.target,
  ];
  if (found.source.length * found.target.length <= CELLS) parts.push(attentionMap(found));
  if (nodes.target.length) setTimeout(() => light(nodes.target[0]));
  return parts;
}

function attentionMap(found) {
  const table = make("table", "looks");
  const head = table.createTHead().insertRow();
  head.append(make("td"), ...found.source.map((token) => make("th", "up", make("span", "", token))));
  const body = table.createTBody();
  found.target.forEach((token, number) => {
    const row = body.insertRow();
    row.append(make("th", "", token), ...found.weights[number].map((weight, place) => {
      const cell = make("td");
      cell.style.setProperty("--share", `${100 * weight}%`);
      cell.title = `${token} ← ${found.source[place]}: ${percent(weight)}`;
      return cell;
    }));
  });
  return make("details", "", make("summary", "", "all of it, as a table"), make("div", "wide", table));
}

function drawnExplanation({ explanation: found, predicted }, asked) {
  if (!found) return [make("p", "note", "There is nothing to explain here.")];
  return found.tokens ? ofTokens(found, asked, typeof predicted === "number") : ofAttention(found);
}
