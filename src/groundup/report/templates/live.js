// The page of all runs: asks for the list every few seconds, draws the curves of the runs that are ticked over each other.

const EVERY = 5000; // milliseconds between two looks
const FIRST = 5; // runs whose curves are shown at first
const COLOURS = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
const COLUMNS = ["started", "stage", "data", "model", "state", "score", "run"];
const page = { runs: [], ticked: null, colours: new Map(), drawn: "" };
const part = (id) => document.getElementById(id);

async function ask(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

// Every word must stand in the row; KEY=VALUE in that column.
function matches(run) {
  const words = part("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => {
    const [key, value] = word.split("=");
    if (value !== undefined && COLUMNS.includes(key)) return String(run[key]).toLowerCase().includes(value);
    return COLUMNS.some((column) => String(run[column]).toLowerCase().includes(word));
  });
}

function cell(row, text) {
  const node = row.insertCell();
  node.textContent = text;
  return node;
}

function list() {
  const shown = page.runs.filter(matches);
  const body = part("runs").tBodies[0];
  const best = bestOf(shown);
  body.replaceChildren();
  for (const run of shown) {
    const row = body.insertRow();
    row.classList.toggle("top", run === best);
    const tick = cell(row, "").appendChild(document.createElement("input"));
    tick.type = "checkbox";
    tick.checked = page.ticked.has(run.run);
    tick.setAttribute("aria-label", run.run);
    tick.addEventListener("change", () => { tick.checked ? page.ticked.add(run.run) : page.ticked.delete(run.run); curves(); });
    for (const column of COLUMNS.slice(0, -1)) cell(row, column === "state" ? "" : run[column]);
    const state = row.cells[5].appendChild(document.createElement("span"));
    Object.assign(state, { className: `state ${run.state}`, textContent: run.state, title: run.why });
    const name = cell(row, "");
    if (run.report) {
      const link = name.appendChild(document.createElement("a"));
      link.href = "/report/" + encodeURIComponent(run.run);
      link.textContent = run.run;
    } else name.textContent = run.run;
  }
  const states = new Map();
  for (const run of page.runs) states.set(run.state, (states.get(run.state) ?? 0) + 1);
  part("counts").textContent = [...states].map(([state, count]) => `${count} ${state}`).join(", ");
  part("best").textContent = best ? `best: ${best.score}, ${best.run}` : "";
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
  const runs = page.runs.filter((run) => page.ticked.has(run.run)).slice(0, 40);
  const query = runs.map((run) => "run=" + encodeURIComponent(run.run)).join("&");
  const known = runs.length ? await ask("/curves.json?" + query) : {};
  const figures = [...new Set(Object.values(known).flatMap(Object.keys))];
  const select = part("figure");
  const wanted = select.value || ["validation/loss", "train/loss"].find((name) => figures.includes(name)) || figures[0];
  if ([...select.options].map((option) => option.value).join() !== figures.join()) {
    select.replaceChildren(...figures.map((name) => new Option(name, name)));
    if (figures.includes(wanted)) select.value = wanted;
  }
  const lines = runs.filter((run) => known[run.run]?.[select.value]?.length).map((run) => {
    if (!page.colours.has(run.run)) page.colours.set(run.run, COLOURS[page.colours.size % COLOURS.length]);
    return { name: run.run, colour: page.colours.get(run.run), points: known[run.run][select.value] };
  });
  shorten(lines);
  const state = JSON.stringify([select.value, lines]);
  if (state === page.drawn) return; // a zoom stays until there is something new
  page.drawn = state;
  part("empty").hidden = lines.length > 0;
  part("chart").replaceChildren(...(lines.length ? [drawn(select.value, lines)] : []));
}

// Without the folders that all of them are in.
function shorten(lines) {
  const folders = lines.map((line) => line.name.split("/"));
  const same = (place) => folders.every((parts) => parts.length > place + 1 && parts[place] === folders[0][place]);
  let place = 0;
  while (lines.length > 1 && same(place)) place++;
  lines.forEach((line, number) => { line.name = folders[number].slice(place).join("/"); });
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
  add(figure, "svg", { viewBox: "0 0 960 360" });
  const [xs, ys] = [0, 1].map((place) => lines.flatMap((line) => line.points.map((point) => point[place])));
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  const last = Math.max(...xs);
  const chart = new Chart(figure, {
    lines, x: [Math.min(...xs, last - 1), last], y: [low - room, high + room], box: [64, 940, 12, 330],
  });
  chart.draw();
  return figure;
}

async function look() {
  try {
    page.runs = (await ask("/runs.json")).runs;
    page.ticked ??= new Set(page.runs.slice(0, FIRST).map((run) => run.run));
    list();
    await curves();
  } catch (error) {
    part("counts").textContent = `no answer (${error.message})`;
  }
}

part("filter").addEventListener("input", list);
part("figure").addEventListener("change", curves);
look();
setInterval(() => { if (!document.hidden) look(); }, EVERY);
