// Asks for an answer, and shows it: what is announced of it, and what stands below.

import { at, bar, data, line, make, quiet, say, show } from "./elements.js";
import { SIDE, areas, body, hasPhoto, shrink } from "./inputs.js";
import { Fault, ask } from "./server.js";
import { clean, cut, letters, number, short } from "./text.js";
import { reason } from "./why.js";

const SHOWN = 10; // labels in sight; the others unfold
const LONG = 60; // characters of an answer in large letters

async function predict(run, options, signal) {
  const reply = await ask("predict", body({ model: run.id, ...options }), signal);
  return (await reply.json()).answers[0];
}

export async function answer(run, signal) {
  if (run.inputs.images.length && !hasPhoto()) throw new Fault(400, "choose an image first");
  clear();
  say("Asking …");
  let note = "";
  const found = await predict(run, {}, signal).catch(async (error) => {
    if (error.status !== 413 || !hasPhoto()) throw error;
    await shrink();
    note = `The file is larger than the server takes: sent with ${SIDE} pixels a side at most.`;
    return predict(run, {}, signal);
  });
  const [headline, more] = shown(found);
  at("headline").replaceChildren(...headline);
  at("more").replaceChildren(...more, line("quiet", note));
  show("h-answer", true);
  say("");
  if (found.error || !at("shade").checked || !run.inputs.explains) return;
  say("Looking for what decides …");
  const { why } = await predict(run, { explain: true, fields: ["why"] }, signal);
  const reasons = await Promise.all(why.map(reason));
  at("why").replaceChildren(...reasons);
  show("reasons", reasons.length);
  say("");
}

export function clear() {
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
