// Shows why an answer is given: what decides, in shades.

import { data, drawn, line, make, quiet } from "./elements.js";
import { clean, cut, letters, number, short } from "./text.js";

const SHADES = 5; // as report/shades.py, as is the least share of the greatest weight
const LEAST = 0.05;
const STRONG = 5; // words that are named beside the shades

function shade(weight, most) {
  const share = most ? Math.abs(weight) / most : 0;
  if (share < LEAST) return "";
  return (weight > 0 ? "f" : "a") + Math.max(1, Math.min(SHADES, Math.round(share * SHADES)));
}

export async function reason(why, place) {
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
