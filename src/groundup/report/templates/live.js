// The page of all runs: asks for the list every few seconds, draws the curves of the runs that are ticked over each other.

const EVERY = 5000; // milliseconds between two looks
const FIRST = 5; // runs whose curves are shown at first
const PLAIN = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
const COLOURS = [...PLAIN, ...PLAIN.map((colour) => `${colour} dashed`)];
const COLUMNS = ["score", "state", "run", "stage", "data", "model", "started"];
const page = { runs: [], ticked: null, colours: new Map(), sort: null, listed: "", drawn: "" };
const part = (id) => document.getElementById(id);

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

// What is looked for: words, which must stand in the row, [column, value] pairs, and KEY=VALUE of other keys, for the server.
function wanted() {
  const looked = { words: [], columns: [], keys: [] };
  for (const word of part("filter").value.split(/\s+/).filter(Boolean)) {
    const [, key, value] = word.match(/^([\w.@/-]+)=(.*)$/) ?? [];
    if (key === undefined) looked.words.push(word.toLowerCase());
    else if (COLUMNS.includes(key)) looked.columns.push([key, value.toLowerCase()]);
    else if (value) looked.keys.push(word);
  }
  return looked;
}

function matches(run, { words, columns }) {
  const holds = (column, text) => String(run[column]).toLowerCase().includes(text);
  return columns.every(([column, value]) => holds(column, value)) && words.every((word) => COLUMNS.some((column) => holds(column, word)));
}

function sorted(runs) {
  if (!page.sort) return runs;
  const [column, falls] = page.sort;
  const text = (run) => String(column === "score" ? run.value ?? "" : run[column]);
  const order = inOrder(runs.map(text));
  return [...runs].sort((one, other) => (falls ? order(text(other), text(one)) : order(text(one), text(other))));
}

function linked(node, folder, text) {
  const link = node.appendChild(document.createElement("a"));
  const address = folder === "." ? [] : folder.split("/").map(encodeURIComponent);
  link.href = ["/report", ...address, "report.html"].join("/");
  link.textContent = text;
}

// The sweep that a run is a job of, and the run, each leading to its page.
function named(node, run) {
  const shared = run.sweep && run.run.startsWith(run.sweep + "/") ? run.sweep.length + 1 : 0;
  if (shared) linked(node, run.sweep, run.sweep);
  if (shared) node.append("/");
  if (run.report) linked(node, run.run, run.run.slice(shared));
  else node.append(run.run.slice(shared));
}

function cell(row, text) {
  const node = row.insertCell();
  node.textContent = text;
  return node;
}

function found() {
  const looked = wanted();
  return page.runs.filter((run) => matches(run, looked));
}

function list() {
  const runs = sorted(found());
  const body = part("runs").tBodies[0];
  const best = bestOf(runs);
  const states = new Map();
  for (const run of runs) states.set(run.state, (states.get(run.state) ?? 0) + 1);
  part("counts").textContent = [...states].map(([state, count]) => `${count} ${state}`).join(", ");
  part("best").textContent = best ? `best: ${best.score}, ${best.run}` : "";
  part("all").checked = runs.length > 0 && runs.every((run) => page.ticked.has(run.run));
  const now = JSON.stringify([runs, [...page.ticked]]);
  if (now === page.listed) return; // what has the focus keeps it
  page.listed = now;
  body.replaceChildren();
  for (const run of runs) {
    const row = body.insertRow();
    row.classList.toggle("top", run === best);
    const tick = cell(row, "").appendChild(document.createElement("input"));
    tick.type = "checkbox";
    tick.checked = page.ticked.has(run.run);
    tick.setAttribute("aria-label", run.run);
    tick.addEventListener("change", () => { tick.checked ? page.ticked.add(run.run) : page.ticked.delete(run.run); list(); curves(); });
    for (const column of COLUMNS) {
      const node = cell(row, ["state", "run"].includes(column) ? "" : run[column]);
      if (column === "run") named(node, run);
      if (column !== "state") continue;
      const state = node.appendChild(document.createElement("span"));
      Object.assign(state, { className: `state ${run.state}`, textContent: run.state, title: run.why });
    }
  }
}

// The best of the runs that were judged by one metric, the commonest.
function bestOf(runs) {
  const judged = runs.filter((run) => run.better && run.value !== null);
  const count = new Map();
  for (const run of judged) count.set(run.metric, (count.get(run.metric) ?? 0) + 1);
  const metric = [...count].sort((one, other) => other[1] - one[1])[0]?.[0];
  const sign = judged.find((run) => run.metric === metric)?.better === "max" ? 1 : -1;
  return judged.filter((run) => run.metric === metric).sort((one, other) => sign * (other.value - one.value))[0];
}

async function curves() {
  const runs = found().filter((run) => page.ticked.has(run.run)).slice(0, 40);
  const query = runs.map((run) => "run=" + encodeURIComponent(run.run)).join("&");
  const known = runs.length ? await ask("/curves.json?" + query) : {};
  const figures = [...new Set(Object.values(known).flatMap(Object.keys))];
  const select = part("figure");
  const wanted = select.value || ["validation/loss", "train/loss"].find((name) => figures.includes(name)) || figures[0];
  if ([...select.options].map((option) => option.value).join() !== figures.join()) {
    select.replaceChildren(...figures.map((name) => new Option(name, name)));
    if (figures.includes(wanted)) select.value = wanted;
  }
  const curved = runs.filter((run) => known[run.run]?.[select.value]?.length);
  const lines = curved.map((run) => {
    if (!page.colours.has(run.run)) page.colours.set(run.run, COLOURS[page.colours.size % COLOURS.length]);
    return { name: run.run, colour: page.colours.get(run.run), points: known[run.run][select.value] };
  });
  shorten(lines, curved);
  const state = JSON.stringify([select.value, lines]);
  if (state === page.drawn) return; // a zoom stays until there is something new
  page.drawn = state;
  part("empty").hidden = lines.length > 0;
  part("chart").replaceChildren(...(lines.length ? [drawn(select.value, lines)] : []));
}

// Without the folders that all of them are in, but with what they differ in.
function shorten(lines, runs) {
  const folders = runs.map((run) => run.run.split("/"));
  const same = (place) => folders.every((parts) => parts.length > place + 2 && parts[place] === folders[0][place]);
  let place = 0;
  while (lines.length > 1 && same(place)) place++;
  const differs = ["stage", "data", "model"].filter((column) => new Set(runs.map((run) => run[column])).size > 1);
  lines.forEach((line, number) => {
    line.name = [folders[number].slice(place).join("/"), ...differs.map((column) => runs[number][column])].join(" ");
  });
}

function drawn(title, lines) {
  const figure = document.createElement("figure");
  figure.dataset.chart = "";
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.appendChild(document.createElement("b")).textContent = title;
  for (const line of lines) {
    const key = caption.appendChild(document.createElement("span"));
    key.className = `key ${line.colour}`;
    key.textContent = line.name;
  }
  const [width, height] = innerWidth < 520 ? [440, 300] : [960, 360]; // a letter keeps its size
  add(figure, "svg", { viewBox: `0 0 ${width} ${height}` });
  const [xs, ys] = [0, 1].map((place) => lines.flatMap((line) => line.points.map((point) => point[place])));
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  const last = Math.max(...xs);
  const chart = new Chart(figure, {
    lines, unit: "steps", x: [Math.min(...xs, last - 1), last], y: [low - room, high + room], box: [64, width - 20, 12, height - 30],
  });
  chart.draw();
  return figure;
}

async function look() {
  try {
    const keys = wanted().keys.map((word) => "where=" + encodeURIComponent(word)).join("&");
    page.runs = (await ask("/runs.json?" + keys)).runs;
    page.ticked ??= new Set(page.runs.slice(0, FIRST).map((run) => run.run));
    list();
    await curves();
  } catch (error) {
    part("counts").textContent = `no answer (${error.message})`;
  }
}

part("all").addEventListener("change", () => {
  for (const run of found()) part("all").checked ? page.ticked.add(run.run) : page.ticked.delete(run.run);
  list();
  curves();
});
heads(part("runs"), (column, falls) => { page.sort = [COLUMNS[column - 1], falls]; list(); });
part("filter").addEventListener("input", look);
part("figure").addEventListener("change", curves);
look();
setInterval(() => { if (!document.hidden) look(); }, EVERY);
