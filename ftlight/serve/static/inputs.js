// What is asked about: fields of texts, or an image.

import { at, line, make } from "./elements.js";
import { Fault } from "./server.js";
import { clean } from "./text.js";

export const SIDE = 1024; // pixels of an image that is made smaller

let photo = null; // the image that is asked about

export const hasPhoto = () => photo !== null;

// What is sent with some options: JSON of a row, or a form if it holds an image.
export const body = (options) => (photo ? form(options) : { ...options, rows: [row()] });

function form(options) {
  const made = new FormData();
  for (const [name, value] of Object.entries(options)) made.append(name, JSON.stringify(value));
  made.append("image", photo);
  return made;
}

export const areas = () => [...at("fields").querySelectorAll("textarea")];
const row = () => Object.fromEntries(areas().map((area) => [area.dataset.column, area.value]));

// Asks for what a run takes; `choose` is called with a file that is chosen.
export function lay({ columns, images }, choose) {
  photo = null;
  const inside = images.length ? [chooser(choose)] : columns.flatMap(field);
  at("fields").replaceChildren(...inside);
}

function field(column, place, { length }) {
  const isHistory = length === 1 && column === "history";
  const hint = isHistory ? ": what was had, in words, or ids with | between" : "";
  const rows = place === length - 1 ? 4 : 2;
  const area = make("textarea", { id: `field-${place}`, rows, dir: "auto" });
  area.dataset.column = column;
  return [make("label", { for: area.id }, clean(column) + hint), area];
}

function chooser(choose) {
  const file = make("input", { id: "file", type: "file", accept: "image/*" });
  file.addEventListener("change", () => file.files[0] && choose(file.files[0]));
  const view = make("img", { id: "photo", class: "photo", alt: "", hidden: "" });
  const hint = line("quiet", "or drop or paste one here");
  return make("div", { class: "drop" }, make("label", { for: "file" }, "Image"), file, hint, view);
}

export function take(file) {
  photo = file;
  const view = at("photo");
  URL.revokeObjectURL(view.src);
  view.src = URL.createObjectURL(file);
  view.alt = `The image that is asked about: ${clean(file.name)}`;
  view.hidden = false;
}

export async function shrink() {
  const first = photo;
  const made = await smaller(first);
  if (photo === first) photo = made; // else another one, or another run, was chosen meanwhile
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
