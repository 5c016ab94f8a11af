// Chooses files: in a dialog that lists the folders of the server's machine, from this device, or by dropping them.

import { isRefused } from "./stream.js";

const MOST_FILES = 500;

export function choosing({ chosen, busy = () => {}, failed = () => {}, tooMany = () => {} }) {
  const dialog = document.getElementById("browser");
  const listing = document.getElementById("listing");
  let wanted = "input";
  let asking = null;

  // Parts of a page are renewed, and their buttons with them.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-browse]");
    if (!button) return;
    asking = button;
    wanted = button.dataset.browse;
    listing.replaceChildren();
    htmx.ajax("GET", `/browse?for=${wanted}`, { target: "#listing", swap: "innerHTML" });
    dialog.showModal();
  });
  listing.addEventListener("click", (event) => {
    const button = event.target.closest("[data-choose]");
    if (!button) return;
    dialog.close();
    chosen(wanted, button.dataset.choose, { field: asking?.dataset.field, written: button.dataset.written, isCollection: "collection" in button.dataset });
  });
  for (const field of document.querySelectorAll("[data-upload]")) {
    field.addEventListener("change", () => { send(field.dataset.upload, [...field.files].map((file) => ({ file, folder: "" }))); field.value = ""; });
  }
  for (const target of document.querySelectorAll("[data-drop]")) {
    target.addEventListener("dragover", (event) => { event.preventDefault(); target.classList.add("dragged"); });
    target.addEventListener("dragleave", () => target.classList.remove("dragged"));
    target.addEventListener("drop", async (event) => {
      event.preventDefault();
      target.classList.remove("dragged");
      send(target.dataset.drop, await dropped(event.dataTransfer));
    });
  }
  // A file that misses its place must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

  async function send(name, files) {
    if (!files.length) return;
    const isFolder = files.length > 1 && name === "input";
    const into = isFolder ? files[0].folder || `dropped-${new Date().toISOString().slice(0, 19).replace(/\D/g, "")}` : "";
    let last = null;
    let problem = null;
    for (const [index, { file }] of files.slice(0, MOST_FILES).entries()) {
      busy(file.name, index + 1, Math.min(files.length, MOST_FILES));
      const answer = await upload(file, into);
      if (answer.path) last = answer; else problem = answer;
    }
    if (last) chosen(name, isFolder ? last.folder : last.path);
    if (problem) failed(problem); else if (files.length > MOST_FILES) tooMany(MOST_FILES);
  }
}

async function upload(file, folder) {
  const headers = { "X-File-Name": encodeURIComponent(file.name), "X-File-Folder": encodeURIComponent(folder) };
  try {
    const answer = await fetch("/upload", { method: "POST", body: file, headers });
    if (isRefused(answer)) return { problem: "", next_step: "" };
    if ((answer.headers.get("content-type") || "").includes("json")) return await answer.json();
    return { problem: await answer.text(), next_step: "" };
  } catch {
    return { problem: file.name, next_step: "" };
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, folder: "" }));
  const found = [];
  for (const entry of entries) await collect(entry, entry.isDirectory ? entry.name : "", found);
  return found;
}

async function collect(entry, folder, found) {
  if (found.length > MOST_FILES || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    found.push({ file: await new Promise((done, fail) => entry.file(done, fail)), folder });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return;
    for (const one of some) await collect(one, folder, found);
  }
}
