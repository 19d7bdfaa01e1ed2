// The page: which run is asked, and what follows from clicks, keys and files.

import { answer, clear } from "./answer.js";
import { anew, talk } from "./chat.js";
import { at, make, say, show } from "./elements.js";
import { areas, lay, take } from "./inputs.js";
import { ask, hasToken, setToken } from "./server.js";
import { clean } from "./text.js";

let runs = [];
let run = null; // the one that is asked
let asking = new AbortController();

// Does what takes a while; what ran before is dropped, and so is a fault of it.
async function doing(work) {
  asking.abort();
  const own = (asking = new AbortController());
  show("fault", false);
  try {
    await work(own.signal);
  } catch (error) {
    if (own === asking && error.name !== "AbortError") complain(error);
  }
}

function complain(error) {
  say("");
  if (error.status === 401) {
    show("entry", true);
    at("token").focus();
    if (!hasToken()) return;
  }
  at("fault").textContent = clean(error.message);
  show("fault", true);
}

const answering = (signal) => answer(run, signal);

function choose(file) {
  take(file);
  doing(answering);
}

async function drop(event) {
  const file = event.dataTransfer?.files[0];
  if (!file || !run) return;
  event.preventDefault();
  if (run.inputs.images.length) return choose(file);
  const fields = run.inputs.chats ? [at("message"), at("system")] : areas();
  const area = fields.includes(event.target) ? event.target : fields[0];
  area.value = await file.text();
  if (fields.length === 1) doing(answering);
}

function use(id) {
  asking.abort();
  run = runs.find((one) => one.id === id);
  clear();
  show("fault", false);
  const { images, chats, embeds, explains } = run.inputs;
  at("name").textContent = document.title = clean(run.id);
  show("ask", !chats);
  show("talk", chats);
  show("shades", explains);
  show("of-words", !images.length);
  show("of-parts", images.length);
  show("keys", !images.length);
  at("go").textContent = embeds ? "Search" : "Answer";
  lay(run.inputs, choose);
  anew();
}

async function begin(signal) {
  runs = (await (await ask("v1/models", undefined, signal)).json()).data;
  show("entry", false);
  at("run").replaceChildren(...runs.map((one) => make("option", { value: one.id }, clean(one.id))));
  show("choice", runs.length > 1);
  use(runs[0].id);
}

function on(id, event, then) {
  at(id).addEventListener(event, then);
}

on("entry", "submit", (event) => {
  event.preventDefault();
  setToken(at("token").value);
  at("token").value = "";
  doing(run ? async () => show("entry", false) : begin);
});
on("ask", "submit", (event) => {
  event.preventDefault();
  doing(answering);
});
on("ask", "keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
on("say", "submit", (event) => {
  event.preventDefault();
  if (!at("stop").hidden) return; // one reply at a time, as each is part of what follows
  doing((signal) => talk(run, signal));
});
on("message", "keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("say").requestSubmit();
});
on("run", "change", () => use(at("run").value));
on("stop", "click", () => asking.abort());
on("anew", "click", () => {
  asking.abort();
  anew();
});
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", drop);
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file && run?.inputs.images.length) choose(file);
});
doing(begin);
