// A chat: what is said, and what was.

import { at, line, make, say, show } from "./elements.js";
import { Fault, ask, events } from "./server.js";
import { clean } from "./text.js";

let messages = [];

function turn(kind, name, text) {
  const words = make("p", { dir: "auto" }, clean(text));
  at("said").append(make("div", { class: kind }, make("b", {}, clean(name)), words));
  return words;
}

export function anew() {
  messages = [];
  at("said").replaceChildren();
  show("stop", false);
  say("");
}

// What is sent: the instructions, what was said, and what is said now.
function sent(text) {
  const system = at("system").value.trim();
  const before = system ? [{ role: "system", content: system }] : [];
  return [...before, ...messages, { role: "user", content: text }];
}

// Yields the pieces of a reply.
async function* pieces(body, signal) {
  const reply = await ask("v1/chat/completions", body, signal);
  for await (const event of events(reply.body)) {
    if (event.error) throw new Fault(500, event.error.message);
    if (event.choices.length) yield event.choices[0];
  }
}

export async function talk(run, signal) {
  const text = at("message").value;
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
    const body = { model: run.id, messages: sent(text), stream: true };
    for await (const { delta, finish_reason: finish } of pieces(body, signal)) {
      said += delta.content ?? "";
      end = finish ?? end;
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
