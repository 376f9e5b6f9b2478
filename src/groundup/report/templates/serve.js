// Asks the server that the page came from, and shows what it answers.

const TITLES = {
  text: "Text", text_pair: "Second text", source: "Source text", question: "Question", context: "Context", tokens: "Text",
};
const SHOWN = 400; // characters of a prompt before what follows it
const SHORT = 3000; // characters of a command that are shown
const page = { runs: [], run: null, texts: new Map(), going: null, lastCommand: "" };
const part = (id) => document.getElementById(id);

// Asking

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function ask(address, body, signal) {
  const token = sessionStorage.getItem("token");
  const headers = { ...(body && { "Content-Type": "application/json" }), ...(token && { Authorization: `Bearer ${token}` }) };
  let answer;
  try {
    answer = await fetch(address, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer: is it still running?");
  }
  if (answer.ok) return answer;
  let message = answer.statusText;
  try {
    message = (await answer.json()).error.message;
  } catch {} // not one of ours
  if (answer.status === 401) wantToken(message);
  throw new Refused(answer.status, message);
}

function wantToken(message) {
  if (sessionStorage.getItem("token")) part("refused").textContent = `That was not it: ${message}`;
  sessionStorage.removeItem("token");
  for (const id of ["work", "same", "chooser"]) part(id).hidden = true;
  part("token").hidden = false;
  part("secret").focus();
}

part("token").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", part("secret").value.trim());
  part("secret").value = "";
  begin();
});

// The form

const roles = (run) => (run.text ? ["text"] : run.needs);
const continues = (run) => run.writes === "continuation";

async function begin() {
  part("trouble").hidden = true;
  try {
    page.runs = (await (await ask("/runs")).json()).runs;
  } catch (error) {
    if (error.code === 401) return;
    part("trouble").textContent = error.message;
    part("trouble").hidden = false;
    return;
  }
  part("token").hidden = true;
  part("work").hidden = part("same").hidden = false;
  part("run").replaceChildren(...page.runs.map((run) => new Option(run.name, run.name)));
  part("chooser").hidden = page.runs.length < 2;
  const wanted = decodeURIComponent(location.hash.slice(1));
  choose(page.runs.find((run) => run.name === wanted) ?? page.runs[0]);
}

function choose(run) {
  page.going?.abort();
  idle();
  page.run = run;
  part("run").value = run.name;
  document.title = `${run.name} · groundup`;
  const about = [page.runs.length < 2 && run.name, run.task.replaceAll("_", " "), run.model];
  part("about").textContent = about.filter(Boolean).join(" · ");
  part("ways").hidden = part("ways").disabled = !continues(run);
  part("send").textContent = continues(run) ? "Write" : run.task === "translation" ? "Translate" : "Answer";
  part("fields").replaceChildren(...roles(run).map(field));
  part("answer").replaceChildren(...hints(run));
  command();
}

function field(role) {
  const box = make(role === "question" ? "input" : "textarea");
  Object.assign(box, { id: `field-${role}`, name: role, value: page.texts.get(role) ?? "", spellcheck: false, dir: "auto", autocomplete: "off" });
  if (box.rows) box.rows = role === "context" ? 10 : roles(page.run).length > 1 ? 4 : 7;
  box.addEventListener("input", () => page.texts.set(role, box.value));
  const title = make("label", "", continues(page.run) ? "Prompt" : TITLES[role] ?? role);
  title.htmlFor = box.id;
  return make("p", "field", title, box);
}

function hints(run) {
  const nodes = [make("p", "note wait", "The answer will stand here.")];
  if (run.labels.length) {
    const chips = run.labels.slice(0, 24).map((name) => make("bdi", "chip", name));
    nodes.push(make("p", "chips", ...chips, run.labels.length > 24 ? ` and ${run.labels.length - 24} more` : ""));
  }
  return nodes;
}

// What the form asks: an address and a body.
function asked() {
  const texts = Object.fromEntries(roles(page.run).map((role) => [role, part(`field-${role}`).value]));
  if (!continues(page.run)) return { address: `/predict?run=${encodeURIComponent(page.run.name)}`, body: texts };
  const body = { model: page.run.name, prompt: Object.values(texts)[0], stream: true };
  for (const box of part("ways").querySelectorAll("input")) if (box.value) body[box.name] = Number(box.value);
  return { address: "/v1/completions", body };
}

// The same request for a shell; what is beyond `SHORT` is copied, not shown.
function command() {
  if (!part("same").open || !page.run) return;
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const { address, body } = asked();
  const words = [`curl${body.stream ? " -N" : ""} ${quoted(location.origin + address)}`, "-H 'Content-Type: application/json'"];
  if (sessionStorage.getItem("token")) words.push('-H "Authorization: Bearer $GROUNDUP_TOKEN"');
  page.lastCommand = [...words, `-d ${quoted(JSON.stringify(body))}`].join(" \\\n  ");
  part("command").textContent = page.lastCommand.length > SHORT ? `${page.lastCommand.slice(0, SHORT)} …` : page.lastCommand;
  part("copied").textContent = "";
}

// Answers

function show(...nodes) {
  part("answer").replaceChildren(...nodes);
  part("answer").scrollIntoView({ block: "nearest" }); // on a phone it is below the form
}

function failed(error) {
  return make("p", "error", ...(error.code ? [make("b", "", `${error.code}`), " "] : []), error.message);
}

async function predicted({ address, body }, signal) {
  const begun = performance.now();
  const text = await (await ask(address, body, signal)).text();
  const time = make("p", "note time", `answered in ${Math.round(performance.now() - begun)} ms`);
  const answer = JSON.parse(text), run = page.run;
  const more = run.explains && answer.status !== "empty" ? [explainer(run, body)] : [];
  show(...drawnAnswer(answer, run, body), ...more, time, json(text));
}

function explainer(run, body) {
  const button = make("button", "explain", run.explains === "attention" ? "Show where it looked" : "Explain");
  button.type = "button";
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "One moment …";
    try {
      const answer = await (await ask(`/explain?run=${encodeURIComponent(run.name)}`, body)).json();
      button.replaceWith(make("div", "explanation", ...drawnExplanation(answer, body)));
    } catch (error) {
      button.replaceWith(failed(error));
    }
  });
  return button;
}

// What follows a prompt, piece by piece.
async function written({ address, body }, signal) {
  const begun = performance.now();
  const told = document.createTextNode("");
  const before = body.prompt.length > SHOWN ? `… ${body.prompt.slice(-SHOWN)}` : body.prompt;
  const text = make("p", "running written going", make("span", "prompt", before), make("span", "", told));
  const note = make("p", "note time", "writing …");
  text.dir = "auto";
  let [tokens, reason] = [0, ""];
  const seconds = () => (performance.now() - begun) / 1000;
  try {
    const answer = await ask(address, { ...body, stream_options: { include_usage: true } }, signal);
    show(text, note);
    for await (const event of events(answer.body)) {
      if (event.error) throw new Refused(0, event.error.message);
      tokens = event.usage?.completion_tokens ?? tokens;
      for (const choice of event.choices) {
        told.appendData(choice.text);
        reason = choice.finish_reason ?? reason;
      }
    }
    const why = { length: "as many as were asked for", stop: "ended by itself" }[reason];
    note.textContent = `${tokens} tokens, ${why}, in ${seconds().toFixed(1)} s`;
  } catch (error) {
    if (!text.isConnected) throw error; // nothing was written
    if (error.name === "AbortError") note.textContent = `stopped after ${seconds().toFixed(1)} s`;
    else note.replaceWith(failed(error));
  } finally {
    text.classList.remove("going");
  }
}

// The JSON of server-sent events, up to the last.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const line of parts) {
      if (line === "data: [DONE]") return;
      yield JSON.parse(line.slice(6));
    }
  }
}

async function send() {
  page.going?.abort();
  const going = (page.going = new AbortController());
  const request = asked();
  command();
  part("answer").setAttribute("aria-busy", "true");
  part("stop").hidden = false;
  try {
    await (continues(page.run) ? written : predicted)(request, going.signal);
  } catch (error) {
    if (error.name === "AbortError") {
      if (page.going === going) show(make("p", "note", "Stopped."));
    } else show(failed(error));
  } finally {
    if (page.going === going) idle();
  }
}

function idle() {
  page.going = null;
  part("stop").hidden = true;
  part("answer").removeAttribute("aria-busy");
}

part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
part("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    part("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") page.going?.abort(); });
part("stop").addEventListener("click", () => page.going?.abort());
part("run").addEventListener("change", () => {
  history.replaceState(null, "", `#${encodeURIComponent(part("run").value)}`);
  choose(page.runs.find((run) => run.name === part("run").value));
});
part("same").addEventListener("toggle", command);
part("copy").addEventListener("click", async () => {
  command();
  try {
    await navigator.clipboard.writeText(page.lastCommand);
    part("copied").textContent = "copied";
  } catch { // not allowed, or not over plain HTTP
    getSelection().selectAllChildren(part("command"));
    part("copied").textContent = "press Ctrl C";
  }
});
if (/Mac|iPhone|iPad/.test(navigator.platform)) part("key").textContent = "⌘";
begin();
