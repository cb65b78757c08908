"use strict";
// The page of the whole chain: shows what the files of a voice say, asks for what a person would type, and tells it.

const ABOUT = {
  takes: "reads the recordings", separate: "takes music away", clean: "takes noise away, levels", slice: "cuts into utterances",
  transcribe: "writes down the words", corpus: "chooses what is learnt from", consent: "looks at the consent",
  features: "prepares sounds and texts", join_group: "joins the corpora of several people", choose_references: "chooses the clips it speaks like", fit_tokenizer: "prepares the tokens", tokenize: "turns sound into tokens",
  align: "finds the phones", train_gpt: "learns the manner of speaking", train_sovits: "learns the sound of the voice",
  select: "chooses the best checkpoint", export: "packs the voice", export_encoder: "packs what hears clips",
  evaluate: "measures it", report: "writes the report", fetch_asset: "fetches models",
};
const RUN = { none: "", running: "running", stopping: "stopping, what was done is being saved", finished: "finished",
  stopped: "stopped", failed: "did not finish" };
const PERIOD = 1500; // ms between two looks
const ENDED = "The studio does not answer. Has it ended? A run continues without it.";
const $ = (id) => document.getElementById(id);
const fields = $("consent").elements;
let name = "", shown = "", heard = "", timer = 0;

function status(text, bad = true) { $("status").textContent = text; $("status").className = bad ? "bad" : ""; }

function clock(seconds) {
  const whole = Math.round(seconds), two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function make(tag, text = "", more = {}) { return Object.assign(document.createElement(tag), { textContent: text }, more); }

// The shell's words for what was done, to copy.
function command(place, text) {
  const target = $(`command-${place}`);
  target.hidden = !text;
  if (target.dataset.text === text) return;
  target.dataset.text = text;
  const copy = make("button", "Copy", { type: "button", className: "small" });
  copy.onclick = () => navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; }, () => {});
  target.replaceChildren(make("code", text), copy);
}

class Refused extends Error {
  constructor(answer) { super([answer.error, answer.hint].filter(Boolean).join(" → ")); this.fields = answer.fields; }
}

async function ask(method, path, body) {
  const raw = body instanceof Blob;
  const answer = await fetch(path, { method, body: raw || body === undefined ? body : JSON.stringify(body),
    headers: raw ? {} : { "Content-Type": "application/json" } }).catch(() => { throw new Error(ENDED); });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  let told;
  try { told = JSON.parse(text); } catch { told = { error: text }; }
  throw new Refused(told);
}

// Do something that a person asked for, tell its command, and look again.
async function act(place, work) {
  status("");
  try {
    const done = await work();
    if (done && done.command) command(place, done.command);
  } catch (error) { status(error.message); }
  await look();
}

const here = () => `api/voices/${encodeURIComponent(name)}`;

async function listVoices(wanted) {
  const names = await ask("GET", "api/voices");
  $("voice").replaceChildren(...names.map((one) => new Option(one, one)));
  $("chooser").hidden = !names.length;
  const asked = wanted || decodeURIComponent(location.hash.slice(1));
  choose(names.includes(asked) ? asked : names[0] || "");
}

function choose(voice) {
  name = $("voice").value = voice;
  shown = heard = "";
  $("work").hidden = !name;
  $("welcome").hidden = Boolean(name);
  for (const place of document.querySelectorAll("#work .command")) { place.hidden = true; delete place.dataset.text; }
  if (!name) return;
  location.hash = name;
  look();
}

async function look() {
  clearTimeout(timer);
  if (!name) return;
  const mine = name;
  try {
    const voice = await ask("GET", here());
    if (mine !== name) return;
    if ($("status").textContent === ENDED) status("");
    show(voice);
  } catch (error) { status(error.message); }
  timer = setTimeout(look, PERIOD);
}

function show(voice) {
  const now = JSON.stringify(voice);
  if (now === shown) return;
  const first = !shown;
  shown = now;
  showRecordings(voice.recordings, voice.speech);
  showConsent(voice.consent, first);
  showRun(voice.run, voice);
  showMade(voice.made);
  const speech = JSON.stringify([voice.speech, voice.run.state]);
  if (speech !== heard) { heard = speech; showPresets(); }
}

function showRecordings(recordings, speech) {
  const sounds = recordings.filter((one) => one.seconds).length;
  $("amount").textContent = sounds ? `${sounds} · ${clock(recordings.reduce((sum, one) => sum + one.seconds, 0))}` : "none yet";
  $("recordings").replaceChildren(...recordings.map((one) => {
    const item = make("li"), remove = make("button", "Remove", { type: "button", className: "small" });
    remove.setAttribute("aria-label", `Remove ${one.file}`);
    remove.onclick = () => confirm(`Remove ${one.file} from the folder?`) &&
      act("recordings", () => ask("DELETE", `${here()}/recordings/${encodeURIComponent(one.file)}`));
    item.append(make("span", one.file, { className: "name" }), make("span", one.seconds ? clock(one.seconds) : "", { className: "side" }));
    if (!one.file.includes("/")) item.append(remove);
    if (one.problem) item.append(make("small", one.problem, { className: "bad" }));
    return item;
  }));
}

async function send(files) {
  const list = [...files];
  $("sent").hidden = !list.length;
  const problems = [], done = [];
  for (const [place, file] of list.entries()) {
    $("sent").value = place / list.length;
    try { done.push((await ask("PUT", `${here()}/recordings/${encodeURIComponent(file.name)}`, file)).command); }
    catch (error) { problems.push(error.message); }
  }
  $("sent").hidden = true;
  $("files").value = "";
  if (done.length) command("recordings", done.join(" && "));
  status(problems.join("\n"));
  look();
}

function showConsent(consent, first) {
  $("terms").textContent = consent.words || (consent.problem ? "" : "none yet: without it nothing is made beyond the corpus");
  document.querySelector('[data-of=""]').textContent = consent.problem;
  const chosen = fields.evidence.value;
  fields.evidence.replaceChildren(new Option("none yet", ""), ...consent.evidence.map((one) => new Option(one, one)));
  fields.evidence.value = consent.evidence.includes(chosen) ? chosen : consent.evidence[0] || "";
  if (!first) return;
  const given = consent.given;
  for (const place of document.querySelectorAll("[data-of]:not([data-of=''])")) place.textContent = "";
  fields.myself.checked = Boolean(given.myself);
  for (const key of ["who", "scope", "expires"]) fields[key].value = given[key] || "";
  for (const key of ["purposes", "languages"]) fields[key].value = (given[key] || []).join(", ");
  if (given.evidence) fields.evidence.value = given.evidence;
  whose();
}

function whose() {
  $("others").hidden = fields.myself.checked;
  fields.scope.options[0].textContent = fields.myself.checked ? "all of this: it is mine" : "speak with it oneself, if nothing is said";
}

async function saveConsent(event) {
  event.preventDefault();
  const parts = (text) => text.split(",").map((part) => part.trim()).filter(Boolean), mine = fields.myself.checked;
  const others = mine ? {} : { who: fields.who.value.trim(), purposes: parts(fields.purposes.value), evidence: fields.evidence.value };
  const body = { myself: mine, ...others, scope: fields.scope.value, languages: parts(fields.languages.value), expires: fields.expires.value };
  await act("consent", async () => {
    let wrong = {};
    try { return await ask("PUT", `${here()}/consent`, body); }
    catch (error) {
      if (!error.fields) throw error;
      wrong = error.fields;
    } finally {
      for (const place of document.querySelectorAll("[data-of]")) place.textContent = wrong[place.dataset.of] || "";
    }
    const field = Object.keys(wrong).find((key) => key in fields);
    if (field) fields[field].focus();
    throw new Error("The consent is not saved: see what is marked.");
  });
}

async function showPresets() {
  const mine = name;
  try {
    const told = await ask("GET", `${here()}/presets`);
    if (mine !== name) return;
    const focused = document.activeElement.name === "preset";
    $("speech").textContent = `for ${told.speech} of ${JSON.parse(shown).speech.found ? "speech" : "recordings"}`;
    const order = (one) => one.against.length * 2 + (one.name === "demo"); // what fits comes first
    told.choices.sort((a, b) => order(a) - order(b));
    $("presets").replaceChildren(...told.choices.map((one) => choice(one, told.chosen)));
    $("lacks").replaceChildren(...told.lacks.map((one) => make("p", `${one.what} → ${one.todo}`, { className: "bad" })));
    if (!$("command-preset").dataset.text) command("preset", told.command);
    if (focused) document.querySelector("[name=preset]:checked").focus();
  } catch (error) { status(error.message); }
}

function choice(one, chosen) {
  const label = make("label", "", { className: "tick choice" }), words = make("span");
  const input = make("input", "", { type: "radio", name: "preset", value: one.name, checked: one.name === chosen });
  input.onchange = () => act("preset", async () => {
    const done = await ask("PUT", `${here()}/preset`, { preset: one.name });
    await showPresets();
    return done;
  });
  words.append(make("strong", one.name), ` ${one.about} `);
  for (const text of one.against) words.append(make("small", `${text}. `, { className: "bad" }));
  if (one.name === chosen) for (const text of one.expect) words.append(make("small", `${text}. `));
  label.append(input, words);
  return label;
}

function showRun(run, voice) {
  const active = run.state === "running" || run.state === "stopping", other = active && run.voice !== voice.name;
  $("state").textContent = other ? `${RUN[run.state]}: ${run.voice}` : run.voice === voice.name ? RUN[run.state] : "";
  $("start").textContent = ["stopped", "failed"].includes(run.state) && run.voice === voice.name ? "Continue" : "Start";
  $("start").disabled = $("corpus").disabled = active || !voice.recordings.some((one) => one.seconds);
  $("stop").disabled = !active;
  $("stop").textContent = run.state === "stopping" ? "Stop at once" : "Stop";
  $("unlock").hidden = active || !run.locked;
  $("said").hidden = !run.said;
  $("said").textContent = run.said;
  $("stages").replaceChildren(...run.stages.map(stage));
  command("run", run.command);
}

function stage(one) {
  const item = make("li"), title = make("span", one.name, { className: "name" });
  item.dataset.state = one.state;
  title.append(make("small", `  ${ABOUT[one.name] || ""}`));
  const jobs = one.planned > 1 ? `${one.finished} of ${one.planned}` : "";
  const step = one.state === "running" && one.total ? [`${one.done}/${one.total}`, one.note.trim()] : [];
  const took = one.state === "finished" && one.seconds ? clock(one.seconds) : "";
  item.append(title, make("span", [jobs, ...step, took, one.state === "finished" ? "" : one.state].filter(Boolean).join(" · "), { className: "side" }));
  if (one.state === "running" && one.total) {
    const bar = make("progress", "", { max: one.total, value: one.done });
    bar.setAttribute("aria-label", one.name);
    item.append(bar);
  }
  if (one.log) item.append(make("pre", one.log));
  return item;
}

function showMade(made) {
  $("none").hidden = made.review || made.report || made.bundle;
  $("review").hidden = $("corrected").hidden = !made.review;
  $("review").href = `review/${name}/`;
  $("report").hidden = !made.report;
  $("report").href = `report/${name}`;
  $("speak").hidden = !made.bundle || made.refusal || made.speaks;
  $("speaks").hidden = !made.speaks;
  if (made.speaks) { $("speaks").href = made.speaks; $("speak").disabled = false; $("speak").textContent = "Speak"; }
  $("refusal").textContent = made.refusal ? `No page that speaks: ${made.refusal}.` : "";
  if (!$("command-made").dataset.text || made.refusal) command("made", made.say || (made.review ? made.review_command : ""));
}

function start() {
  $("new").onsubmit = (event) => {
    event.preventDefault();
    const wanted = $("name").value.trim();
    act("new", async () => {
      const done = await ask("POST", "api/voices", { name: wanted });
      $("name").value = "";
      await listVoices(wanted);
      return done;
    });
  };
  $("voice").onchange = () => choose($("voice").value);
  $("files").onchange = () => send($("files").files);
  for (const kind of ["dragover", "drop", "dragleave"]) {
    $("drop").addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") send(event.dataTransfer.files);
    });
  }
  fields.myself.onchange = whose;
  $("consent").onsubmit = saveConsent;
  $("proof").onchange = () => act("consent", async () => {
    const file = $("proof").files[0];
    if (!file) return null;
    const done = await ask("PUT", `${here()}/evidence/${encodeURIComponent(file.name)}`, file);
    fields.evidence.add(new Option(done.file, done.file));
    fields.evidence.value = done.file;
    $("proof").value = "";
    return done;
  });
  $("start").onclick = () => act("run", () => ask("POST", `${here()}/run`, { until: "voice" }));
  $("corpus").onclick = () => act("run", () => ask("POST", `${here()}/run`, { until: "corpus" }));
  $("stop").onclick = () => ($("stop").textContent === "Stop" || confirm("What is not saved yet would be lost. Stop at once?")) &&
    act("run", () => ask("POST", "api/stop"));
  $("unlock").onclick = () => confirm("Only after a power cut or a kill, when no workflow runs here. Unlock?") &&
    act("run", () => ask("POST", "api/unlock"));
  $("speak").onclick = () => {
    $("speak").disabled = true;
    $("speak").textContent = "It is being loaded …";
    act("made", () => ask("POST", `${here()}/speaking`));
  };
  listVoices().catch((error) => status(error.message));
}

start();
