// How texts and numbers are written; what cannot be seen in a text is written out.

// as UNSEEN of ftlight/utils/printable.py, but for the joiners of Persian, Hindi and emoji
const UNSEEN = new RegExp(
  "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff\\u{e0000}-\\u{e007f}]",
  "gu",
);

export function clean(text) {
  return String(text).replace(UNSEEN, (c) => {
    const code = c.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

export function short(value) {
  const digits = Math.abs(value).toFixed(2);
  const shown = digits.startsWith("0") && digits !== "0.00" ? digits.slice(1) : digits;
  return value < 0 && digits !== "0.00" ? `−${shown}` : shown;
}

export const number = (value) =>
  Number.isFinite(value) ? String(Number(value.toPrecision(4))).replace("-", "−") : "–";

// Characters are counted as Python does, not in halves of them.
export const letters = (text) => Array.from(text);
export const cut = (text, from, to) => clean(text.slice(from, to).join(""));
