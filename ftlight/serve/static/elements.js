// Elements of the page, found and made. All texts are of others: they enter the page as text alone
// (its policy forbids anything else).

import { clean } from "./text.js";

export const at = (id) => document.getElementById(id);
export const show = (id, is) => {
  at(id).hidden = !is;
};
export const say = (text) => {
  at("state").textContent = text;
};

export function make(name, given = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

export const data = (text) => make("bdi", {}, clean(text));
export const line = (kind, ...inside) => make("p", { class: kind }, ...inside);
export const quiet = (...inside) => make("span", { class: "quiet" }, ...inside);

export function drawn(name, given, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

export function bar(share) {
  const length = 100 * Math.min(1, Math.max(0, share));
  const box = { viewBox: "0 0 100 10", preserveAspectRatio: "none" };
  const given = { class: "span", "aria-hidden": "true", ...box };
  const rail = drawn("path", { class: "rail", d: "M0 5H100" });
  return drawn("svg", given, rail, drawn("path", { class: "bar", d: `M0 5H${length}` }));
}
