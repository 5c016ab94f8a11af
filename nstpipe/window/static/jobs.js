// The page of the jobs: keeps the place of the cursor and the open details while the editor is renewed.

import { choosing } from "./choose.js";
import { follow } from "./stream.js";

let kept = null;
let saved = document.getElementById("yaml")?.value ?? "";

// Whoever leaves the page with a text that is not saved is asked. The browser has its own words for it.
window.addEventListener("beforeunload", (event) => {
  const text = document.getElementById("yaml");
  if (text && text.value !== saved) event.preventDefault();
});

// A field that changes is written into the text by the server: one after the other, for each answer renews the whole editor.
let changes = Promise.resolve();
let waiting = 0;
document.body.addEventListener("change", (event) => {
  const key = event.target.dataset?.key;
  if (!key) return;
  delete event.target.dataset.typed;
  const value = event.target.value;
  waiting += 1;
  changes = changes.then(() => {
    const editor = document.getElementById("editor");
    const values = { ...Object.fromEntries(new FormData(editor)), key, [`value:${key}`]: value };
    return htmx.ajax("POST", "/jobs/edit", { target: "#editor", swap: "outerHTML", values });
  }).catch(() => { /* it is told below */ }).then(() => { waiting -= 1; });
});

// Whoever goes on to type in the next field keeps it. The browser sees no change in it, for a script has put it there.
document.body.addEventListener("focusout", (event) => {
  if (event.target.isConnected && event.target.dataset?.typed) event.target.dispatchEvent(new Event("change", { bubbles: true }));
});

// What was changed a moment before is saved, too.
document.body.addEventListener("input", (event) => { if (event.target.closest("#editor")) document.getElementById("save-file").disabled = false; });
document.body.addEventListener("htmx:confirm", (event) => {
  if (event.detail.path !== "/jobs/save" || !waiting) return;
  event.preventDefault();
  changes.then(() => document.getElementById("save-file")?.click());
});

// A file that was chosen in the dialog is written into its field; a folder of paintings into that of collections.
if (document.getElementById("browser")) {
  choosing({
    chosen: (wanted, path, { field: id, written, isCollection }) => {
      const field = document.getElementById(wanted === "painting" && isCollection ? "f-style-collection" : id);
      if (!field) return;
      field.value = wanted === "painting" && !isCollection ? `[${JSON.stringify(written)}]` : written;
      field.dispatchEvent(new Event("change", { bubbles: true }));
    },
  });
}

// The Enter key ends a field; it sends nothing by itself.
document.body.addEventListener("submit", (event) => { if (event.target.id === "editor") event.preventDefault(); });

document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target?.id !== "editor") return;
  const active = document.activeElement;
  const text = document.getElementById("yaml");
  const sent = event.detail.requestConfig.parameters;
  const isTypedSince = active === text && text.value !== sent.text;
  const isTyping = active?.dataset.key && active.defaultValue !== undefined && active.value !== active.defaultValue
    && !(sent.key === active.dataset.key && sent[`value:${sent.key}`] === active.value);
  kept = {
    id: active?.id, from: active?.selectionStart, to: active?.selectionEnd, text: isTypedSince ? text.value : null, value: isTyping ? active.value : null,
    top: text?.scrollTop ?? 0, place: scrollY, open: document.getElementById("advanced")?.open ?? false,
  };
});

document.body.addEventListener("htmx:afterSettle", () => {  // before, the new text does not listen
  if (!kept || !document.getElementById("editor")) return;
  const text = document.getElementById("yaml");
  const advanced = document.getElementById("advanced");
  if (advanced) advanced.open = kept.open;
  // What was typed while the answer was on its way is newer than the answer.
  if (kept.text !== null && kept.text !== text.value) { text.value = kept.text; text.dispatchEvent(new Event("input", { bubbles: true })); }
  const active = kept.id && document.getElementById(kept.id);
  if (active) {
    if (kept.value !== null) { active.value = kept.value; active.dataset.typed = "yes"; document.getElementById("save-file").disabled = false; }
    active.focus({ preventScroll: true });
    if (typeof kept.from === "number") try { active.setSelectionRange(kept.from, kept.to); } catch { /* not a text */ }
  }
  text.scrollTop = kept.top;
  scrollTo(0, kept.place);
  kept = null;
});

document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.pathInfo?.requestPath !== "/jobs/save") return;
  const isSaved = document.querySelector("#saved .good") !== null;
  document.getElementById("save-file").disabled = isSaved;
  if (isSaved) saved = event.detail.requestConfig.parameters.text;
});

// If the server has ended, knows this browser no more, or cannot take the text, it must not look as if it were saved.
function tellUnsaved(words) {
  const told = Object.assign(document.createElement("span"), { className: "bad", textContent: words });
  document.getElementById("saved")?.replaceChildren(told);
  const button = document.getElementById("save-file");
  if (button) button.disabled = false;
}
function tellLost() { tellUnsaved(document.getElementById("editor")?.dataset.lost ?? ""); }
document.body.addEventListener("htmx:sendError", tellLost);
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail;
  if (xhr.status !== 403 && !(xhr.status >= 400 && ["editor", "saved"].includes(target.id))) return;
  event.detail.shouldSwap = false;
  if (xhr.status === 403) tellLost(); else tellUnsaved(xhr.responseText);
});

document.body.addEventListener("click", (event) => {
  const line = event.target.closest?.("[data-line]")?.dataset.line;
  if (!line) return;
  const text = document.getElementById("yaml");
  const lines = text.value.split("\n");
  const from = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
  text.focus();
  text.setSelectionRange(from, from + (lines[line - 1] ?? "").length);
  text.scrollTop = (line - 4) * parseFloat(getComputedStyle(text).lineHeight);
});

const proof = document.getElementById("proof");
for (const select of proof?.querySelectorAll("select") ?? []) {
  const values = proof.elements[`${select.name}-values`];
  const begin = () => { values.value = select.selectedOptions[0]?.dataset.values ?? ""; values.disabled = !select.value; };
  select.addEventListener("change", begin);
  begin();
}
proof?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const status = document.getElementById("proof-status");
  const sheet = document.getElementById("proof-sheet");
  const values = new URLSearchParams(new FormData(proof));
  values.set("job", document.getElementById("job")?.value ?? "0");
  const answer = await (await fetch("/jobs/proof", { method: "POST", body: values })).json();
  if (answer.number === undefined) { status.textContent = `${answer.problem} ${answer.next_step}`; return; }
  follow(`/preview/${answer.number}/events`, {
    message: (now) => {
      if (now.state === "superseded") { status.textContent = proof.dataset.superseded; return; }
      status.textContent = now.state === "done" ? "" : now.problem ? `${now.problem} ${now.next_step}` : `${proof.dataset.painting} ${now.iterations ?? 0}/${now.most ?? "…"}`;
      if (now.state === "done") { sheet.src = `/preview/${answer.number}/picture?${Date.now()}`; sheet.hidden = false; }
    },
  });
});
