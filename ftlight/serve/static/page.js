// Asks the server of this page, and shows what it says. All texts are of others: they enter the
// page as text alone (its policy forbids anything else), with what cannot be seen written out.
"use strict";

// as UNSEEN of ftlight/utils/printable.py, but for the joiners of Persian, Hindi and emoji
const UNSEEN = new RegExp(
  "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff\\u{e0000}-\\u{e007f}]",
  "gu",
);
const SHADES = 5; // as report/shades.py, as is the least share of the greatest weight
const LEAST = 0.05;
const SHOWN = 10; // labels in sight; the others unfold
const LONG = 60; // characters of an answer in large letters
const STRONG = 5; // words that are named beside the shades
const SIDE = 1024; // pixels of an image that is made smaller

let token = ""; // here alone: neither stored nor in an address
let runs = [];
let run = null; // the one that is asked
let photo = null; // the image that is asked about
let asking = new AbortController();
let messages = []; // of the chat

const at = (id) => document.getElementById(id);
const show = (id, is) => {
  at(id).hidden = !is;
};
const say = (text) => {
  at("state").textContent = text;
};

function clean(text) {
  return String(text).replace(UNSEEN, (c) => {
    const code = c.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

function short(value) {
  const digits = Math.abs(value).toFixed(2);
  const shown = digits.startsWith("0") && digits !== "0.00" ? digits.slice(1) : digits;
  return value < 0 && digits !== "0.00" ? `−${shown}` : shown;
}

const number = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "−") : "–";

function make(name, given = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

const data = (text) => make("bdi", {}, clean(text));
const line = (kind, ...inside) => make("p", { class: kind }, ...inside);
const quiet = (...inside) => make("span", { class: "quiet" }, ...inside);

function drawn(name, given, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

function bar(share) {
  const length = 100 * Math.min(1, Math.max(0, share));
  const box = { viewBox: "0 0 100 10", preserveAspectRatio: "none" };
  const given = { class: "span", "aria-hidden": "true", ...box };
  const rail = drawn("path", { class: "rail", d: "M0 5H100" });
  return drawn("svg", given, rail, drawn("path", { class: "bar", d: `M0 5H${length}` }));
}

// The server

class Fault extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
  }
}

async function ask(path, body, signal) {
  const options = { signal, method: body ? "POST" : "GET", credentials: "omit", headers: {} };
  if (token) options.headers.authorization = `Bearer ${token}`;
  if (body) options.body = body instanceof FormData ? body : JSON.stringify(body);
  const reply = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Fault(0, "the server cannot be reached");
  });
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => ({}));
  throw new Fault(reply.status, said.error?.message ?? said.error ?? `status ${reply.status}`);
}

async function predict(options, signal) {
  const given = { model: run.id, ...options };
  const reply = await ask("predict", photo ? form(given) : { ...given, rows: [row()] }, signal);
  return (await reply.json()).answers[0];
}

function form(options) {
  const made = new FormData();
  for (const [name, value] of Object.entries(options)) made.append(name, JSON.stringify(value));
  made.append("image", photo);
  return made;
}

const areas = () => [...at("fields").querySelectorAll("textarea")];
const row = () => Object.fromEntries(areas().map((area) => [area.dataset.column, area.value]));

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
    if (!token) return;
  }
  at("fault").textContent = clean(error.message);
  show("fault", true);
}

// An answer: what is announced of it, and what stands below

async function answer(signal) {
  if (run.inputs.images.length && !photo) throw new Fault(400, "choose an image first");
  clear();
  say("Asking …");
  let note = "";
  const found = await predict({}, signal).catch(async (error) => {
    if (error.status !== 413 || !photo) throw error;
    photo = await smaller(photo);
    note = `The file is larger than the server takes: sent with ${SIDE} pixels a side at most.`;
    return predict({}, signal);
  });
  const [headline, more] = shown(found);
  at("headline").replaceChildren(...headline);
  at("more").replaceChildren(...more, line("quiet", note));
  show("h-answer", true);
  say("");
  if (found.error || !at("shade").checked || !run.inputs.explains) return;
  say("Looking for what decides …");
  const { why } = await predict({ explain: true, fields: ["why"] }, signal);
  const reasons = await Promise.all(why.map(reason));
  at("why").replaceChildren(...reasons);
  show("reasons", reasons.length);
  say("");
}

function clear() {
  for (const id of ["headline", "more", "why"]) at(id).replaceChildren();
  for (const id of ["h-answer", "reasons"]) show(id, false);
  say("");
}

function shown(found) {
  const said = found.prediction;
  const score = sure(found.score);
  if (found.error) return [[line("warning", data(found.error))], []];
  if (found.probabilities) return [[big(said || "none of the labels", score)], labels(found)];
  if (found.items) return [[line("", counted(found.items.length, "item"))], items(found)];
  if (said?.[0]?.type) return entities(said);
  if (Array.isArray(said)) return [[big(said.join(", ") || "nothing found", score)], []];
  if ("start" in found) return span(found);
  if (typeof said === "number") return [[big(number(said), "")], []];
  return [[big(said || "an empty text", score)], []];
}

const counted = (count, one, several = `${one}s`) => `${count} ${count === 1 ? one : several}`;
const sure = (score) => (typeof score === "number" ? ` p ${short(score)}` : "");

function big(text, score) {
  const size = text.length > LONG ? "big long" : "big";
  return line("", make("span", { class: size, dir: "auto" }, clean(text)), quiet(score));
}

function labels(found) {
  const sorted = Object.entries(found.probabilities).sort((a, b) => b[1] - a[1]);
  const rest = sorted.length - SHOWN;
  const first = table(sorted.slice(0, SHOWN), "Probability of each label");
  if (rest <= 0) return [first];
  const others = table(sorted.slice(SHOWN), "The other labels");
  return [first, make("details", {}, make("summary", {}, `${rest} more`), others)];
}

function table(pairs, caption) {
  const rows = pairs.map(([label, p]) => {
    const cells = [make("td", { class: "bars" }, bar(p)), make("td", { class: "num" }, short(p))];
    return make("tr", {}, make("th", { scope: "row" }, data(label)), ...cells);
  });
  const body = make("tbody", {}, ...rows);
  return make("table", { class: "labels" }, make("caption", {}, caption), body);
}

const list = (pairs) =>
  make("ol", { class: "found" }, ...pairs.map(([text, side]) => make("li", {}, text, " ", side)));

function items({ items }) {
  const id = (item) => ("id" in item ? [", ", data(item.id)] : []);
  return [list(items.map((item) => [data(item.text), quiet(short(item.score), ...id(item))]))];
}

// Characters are counted as Python does, not in halves of them.
const letters = (text) => Array.from(text);
const cut = (text, from, to) => clean(text.slice(from, to).join(""));

// Finds the field that holds a piece of text at a place.
function holder({ text, start, end }) {
  const held = areas().reverse().map((area) => letters(area.value));
  return held.find((found) => found.slice(start, end).join("") === text) ?? held[0];
}

function entities(found) {
  const text = holder(found[0]);
  const parts = [];
  let here = 0;
  for (const one of [...found].sort((a, b) => a.start - b.start)) {
    const start = Math.max(one.start, here);
    const kind = make("span", { class: "kind" }, data(one.type));
    parts.push(cut(text, here, start));
    parts.push(make("mark", { class: "entity" }, cut(text, start, one.end), kind));
    here = Math.max(one.end, here);
  }
  const whole = make("p", { class: "shaded", dir: "auto" }, ...parts, cut(text, here));
  const each = found.map((one) => [data(one.text), quiet(data(one.type), sure(one.score))]);
  return [[line("", counted(found.length, "entity", "entities"))], [whole, list(each)]];
}

function span(found) {
  const { prediction, start, end, no_answer: none } = found;
  const doubt = none === undefined ? "" : `No answer in the text: p ${short(none)}`;
  if (start === null) return [[big("no answer", "")], [line("quiet", doubt)]];
  const text = holder({ text: prediction, start, end });
  const parts = [cut(text, 0, start), make("mark", { class: "answer" }, cut(text, start, end))];
  const whole = make("p", { class: "shaded", dir: "auto" }, ...parts, cut(text, end));
  return [[big(prediction, sure(found.score))], [whole, line("quiet", doubt)]];
}

// Why an answer is given

function shade(weight, most) {
  const share = most ? Math.abs(weight) / most : 0;
  if (share < LEAST) return "";
  return (weight > 0 ? "f" : "a") + Math.max(1, Math.min(SHADES, Math.round(share * SHADES)));
}

async function reason(why, place) {
  const words = why.sides.flatMap((side) => named(side));
  const weights = [...words, ...(why.picture?.cells ?? [])].map((part) => Math.abs(part.weight));
  const most = Math.max(0, ...weights);
  const parts = why.sides.map((side) => shaded(side, most, why.sides.length > 1));
  if (why.picture) parts.push(await picture(why, most));
  const strong = words.filter((word) => short(word.weight) !== "0.00");
  strong.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const said = strong.slice(0, STRONG).map((word) => `${clean(word.text)} ${short(word.weight)}`);
  if (said.length) parts.push(line("quiet", `Weighs most: ${said.join(", ")}`));
  parts.push(...trust(why, why.picture ? "parts" : "words"));
  const score = `${why.unit} ${why.unit === "p" ? short(why.score) : number(why.score)}`;
  const head = [data(why.answer), quiet(` ${score}`)];
  if (place === 0) return make("div", { class: "why" }, make("h3", {}, ...head), ...parts);
  return make("details", {}, make("summary", {}, ...head), ...parts);
}

function named(side) {
  const text = letters(side.text);
  return side.words.map((word) => ({ ...word, text: text.slice(word.start, word.end).join("") }));
}

function trust({ check, unit }, what) {
  if (!check) return [];
  const share = Math.round((100 * check.removed) / check.of);
  const falls = `${number(check.fall)}; at random by ${number(check.by_chance)}`;
  const value = unit === "value" ? "the value" : unit;
  const found = `Removing the top ${share} % of the ${what} lowers ${value} by ${falls}.`;
  if (check.holds) return [line("quiet", found)];
  const doubt = "what weighs most here does no better than parts drawn at random.";
  return [line("quiet", found), line("warning", make("b", {}, "Not to be trusted: "), doubt)];
}

function shaded(side, most, hasName) {
  const text = letters(side.text);
  const parts = hasName ? [make("b", {}, data(side.name), ": ")] : [];
  const [from, to] = side.span ?? [0, 0];
  const marks = side.words.flatMap((word) => [word.start, word.end]);
  const places = [...new Set([0, text.length, from, to, ...marks])].sort((a, b) => a - b);
  places.slice(1).forEach((end, i) => {
    const start = places[i];
    const word = side.words.find((one) => one.start <= start && start < one.end);
    const kinds = [word && shade(word.weight, most), from <= start && start < to && "answer"];
    const kind = kinds.filter(Boolean).join(" ");
    const piece = cut(text, start, end);
    parts.push(kind ? make("mark", { class: kind }, piece) : piece);
  });
  return make("p", { class: "shaded", dir: "auto" }, ...parts);
}

async function picture(why, most) {
  const image = new Image();
  image.src = `data:image/jpeg;base64,${why.picture.jpeg}`;
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const veils = why.picture.cells.map((cell) =>
    drawn("rect", {
      class: `veil ${shade(cell.weight, most) || "f0"}`,
      x: cell.left * width,
      y: cell.top * height,
      width: (cell.right - cell.left) * width,
      height: (cell.bottom - cell.top) * height,
    }),
  );
  const name = drawn("title", {}, `${clean(why.answer)}, parts shaded by how much they decide`);
  const given = { class: "picture", viewBox: `0 0 ${width} ${height}`, role: "img" };
  return drawn("svg", given, name, drawn("image", { href: image.src, width, height }), ...veils);
}

// What is asked about

function field(column, place, { length }) {
  const isHistory = length === 1 && column === "history";
  const hint = isHistory ? ": what was had, in words, or ids with | between" : "";
  const rows = place === length - 1 ? 4 : 2;
  const area = make("textarea", { id: `field-${place}`, rows, dir: "auto" });
  area.dataset.column = column;
  return [make("label", { for: area.id }, clean(column) + hint), area];
}

function chooser() {
  const file = make("input", { id: "file", type: "file", accept: "image/*" });
  file.addEventListener("change", () => file.files[0] && choose(file.files[0]));
  const view = make("img", { id: "photo", class: "photo", alt: "", hidden: "" });
  const hint = line("quiet", "or drop or paste one here");
  return make("div", { class: "drop" }, make("label", { for: "file" }, "Image"), file, hint, view);
}

function choose(file) {
  photo = file;
  const view = at("photo");
  URL.revokeObjectURL(view.src);
  view.src = URL.createObjectURL(file);
  view.alt = `The image that is asked about: ${clean(file.name)}`;
  view.hidden = false;
  doing(answer);
}

async function smaller(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Fault(400, "this is no image that the browser can read");
  });
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.round(side * scale));
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

async function drop(event) {
  const file = event.dataTransfer?.files[0];
  if (!file || !run) return;
  event.preventDefault();
  if (run.inputs.images.length) return choose(file);
  const fields = run.inputs.chats ? [at("message"), at("system")] : areas();
  const area = fields.includes(event.target) ? event.target : fields[0];
  area.value = await file.text();
  if (fields.length === 1) doing(answer);
}

function use(id) {
  asking.abort();
  run = runs.find((one) => one.id === id);
  photo = null;
  clear();
  show("fault", false);
  const { columns, images, chats, embeds, explains } = run.inputs;
  at("name").textContent = document.title = clean(run.id);
  show("ask", !chats);
  show("talk", chats);
  show("shades", explains);
  show("of-words", !images.length);
  show("of-parts", images.length);
  show("keys", !images.length);
  at("go").textContent = embeds ? "Search" : "Answer";
  at("fields").replaceChildren(...(images.length ? [chooser()] : columns.flatMap(field)));
  anew();
}

// A chat

function turn(kind, name, text) {
  const words = make("p", { dir: "auto" }, clean(text));
  at("said").append(make("div", { class: kind }, make("b", {}, clean(name)), words));
  return words;
}

function anew() {
  asking.abort();
  messages = [];
  at("said").replaceChildren();
  show("stop", false);
  say("");
}

// Yields the values of server-sent events.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}

async function talk(signal) {
  const text = at("message").value;
  const system = at("system").value.trim();
  if (!text.trim()) return;
  at("message").value = "";
  const asked = turn("asked", "You", text).parentElement;
  const words = turn("reply", run.id, "…");
  const item = words.parentElement;
  item.setAttribute("aria-busy", "true"); // read out when it is whole
  item.scrollIntoView({ block: "nearest" });
  show("stop", true);
  let said = "";
  let end = "";
  try {
    const before = system ? [{ role: "system", content: system }] : [];
    const sent = [...before, ...messages, { role: "user", content: text }];
    const body = { model: run.id, messages: sent, stream: true };
    const reply = await ask("v1/chat/completions", body, signal);
    for await (const event of events(reply.body)) {
      if (event.error) throw new Fault(500, event.error.message);
      const choice = event.choices[0];
      said += choice?.delta.content ?? "";
      end = choice?.finish_reason ?? end;
      words.textContent = clean(said) || "…";
    }
  } catch (error) {
    if (!said && item.isConnected) {
      item.remove();
      asked.remove();
      at("message").value ||= text; // to be sent again
    }
    throw error;
  } finally {
    item.removeAttribute("aria-busy");
    if (document.activeElement === at("stop")) at("message").focus();
    show("stop", false);
    const both = [{ role: "user", content: text }, { role: "assistant", content: said }];
    if (said && item.isConnected) messages.push(...both);
  }
  if (!said) words.textContent = "(an empty reply, which is left out of what follows)";
  if (end === "length") item.append(line("quiet", "It ends here: the most tokens of a reply."));
}

// Begins

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

const submitted = (work) => (event) => {
  event.preventDefault();
  doing(work);
};
on("entry", "submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  at("token").value = "";
  doing(run ? async () => show("entry", false) : begin);
});
on("ask", "submit", submitted(answer));
on("ask", "keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit();
});
on("say", "submit", (event) => {
  event.preventDefault();
  if (at("stop").hidden) doing(talk); // one reply at a time, as each is part of what follows
});
on("message", "keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("say").requestSubmit();
});
on("run", "change", () => use(at("run").value));
on("stop", "click", () => asking.abort());
on("anew", "click", anew);
document.addEventListener("dragover", (event) => {
  if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
});
document.addEventListener("drop", drop);
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  if (file && run?.inputs.images.length) choose(file);
});
doing(begin);
