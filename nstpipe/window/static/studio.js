// The first page: whatever changes asks for a preview, and the newest one is shown while it grows.

import { choosing } from "./choose.js";
import { comparison } from "./compare.js";
import { follow, isRefused } from "./stream.js";

const WAIT_MILLISECONDS = 120;
const KEPT = "nstpipe-look";

const at = (id) => document.getElementById(id);
const words = at("studio").dataset;
const form = at("look");
const split = comparison(at("compare"));
let stop = () => {};
let asking = null;
let timer = 0;
let losses = [];
let wasMoved = false;

at("split").addEventListener("input", () => { wasMoved = true; });

function say(text) { if (at("status").textContent !== text) at("status").textContent = text; }
function complain(error, isOfUpload = false) {
  at("problem").hidden = !error;
  at("problem").dataset.isOfUpload = isOfUpload;
  // Messages of nstpipe itself are in English.
  at("problem").lang = error && error.next_step ? "en" : document.documentElement.lang;
  at("problem").textContent = error ? [error.problem, error.next_step].filter(Boolean).join(" ") : "";
}
function filled(text, values) { return text.replace(/\{(\w+)\}/g, (_, name) => values[name]); }

// What the sliders stand for: powers of two, because twice as much looks like one step.
function power(slider) { return 2 ** Number(slider.value); }
function showPowers() {
  for (const slider of form.querySelectorAll("[data-power]")) {
    const shown = power(slider).toFixed(2).replace(/\.?0+$/, "");
    at(`${slider.id}-shown`).textContent = `${shown} ×`;
    slider.setAttribute("aria-valuetext", shown);
  }
}

function settings(iterations) {
  const values = new URLSearchParams(new FormData(form));
  if (iterations) values.set("iterations", iterations);
  for (const slider of form.querySelectorAll("[data-power]")) values.set(slider.dataset.power, power(slider).toFixed(4));
  return values;
}

function ask() {
  showPowers();
  keep();
  clearTimeout(timer);
  if (!form.elements.input.value || !form.elements.painting.value) return;
  timer = setTimeout(() => request(), WAIT_MILLISECONDS);
}

async function request(iterations) {
  asking?.abort();
  asking = new AbortController();
  // Of several files that were dropped, one may be wrong, while a preview of the others begins.
  if (at("problem").dataset.isOfUpload !== "true") complain(null);
  say(words.waiting);
  at("empty").classList.add("waiting");
  at("progress").hidden = false;
  at("progress").removeAttribute("value");
  let values;
  try {
    const answer = await fetch("/preview", { method: "POST", body: settings(iterations), signal: asking.signal });
    if (isRefused(answer)) return;
    values = await answer.json();
  } catch (error) {
    if (error.name !== "AbortError") { say(words.lost); at("again").hidden = false; at("progress").hidden = true; }
    return;
  }
  if (values.number === undefined) { say(""); at("progress").hidden = true; complain(values); return; }
  show(values.number);
}

function show(number) {
  stop();
  let pictures = 0;
  let hasBefore = false;
  at("again").hidden = at("save").hidden = at("finer").hidden = true;
  stop = follow(`/preview/${number}/events`, {
    opened: () => { losses = []; },
    lost: () => say(words.lost),
    message: (now) => {
      losses.push(...now.losses);
      draw(now);
      if (now.before && !hasBefore) { hasBefore = true; at("before").src = `/preview/${number}/before`; }
      if (now.picture > pictures) { pictures = now.picture; turn(`/preview/${number}/picture?${pictures}`); }
      tell(now);
      if (now.state === "done") {
        at("save").href = `/preview/${number}/picture?download`;
        at("save").hidden = at("make-job").hidden = false;
        at("finer").hidden = now.iterations >= Math.min(now.most, words.finer);
        at("frame-box").dataset.state = "done";
      }
      if (now.state === "failed") complain(now);
      if (now.state === "superseded" || now.state === "failed") at("again").hidden = false;
    },
  });
}

async function turn(address) {
  const next = new Image();
  next.src = address;
  try { await next.decode(); } catch { return; }
  at("after").src = next.src;
  at("compare").style.setProperty("--aspect", next.naturalWidth / next.naturalHeight);
  at("compare").hidden = false;
  at("empty").hidden = true;
  if (!wasMoved) split.set(0);
}

function tell(now) {
  const isOver = ["done", "failed", "superseded"].includes(now.state);
  at("progress").hidden = isOver;
  if (now.most) at("progress").value = Math.min(1, now.iterations / now.most);
  const seconds = Math.round(now.seconds || 0);
  say(now.state === "failed" ? "" : filled(words[now.state] || "", { ...now, seconds }));
}

function draw(now) {
  at("curve").hidden = losses.length < 2;
  if (losses.length < 2) return;
  const logs = losses.map(([, loss]) => Math.log(Math.max(loss, 1e-12)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const most = losses.length - 1;
  const points = logs.map((log, index) => `${(300 * index / most).toFixed(1)},${(56 - 52 * (log - low) / (high - low || 1)).toFixed(1)}`);
  at("curve").querySelector("polyline").setAttribute("points", points.join(" "));
  at("loss-shown").textContent = ` ${losses.at(-1)[1].toPrecision(3)}`;
}

async function choose(name, path) {
  form.elements[name].value = path;
  for (const tile of form.querySelectorAll(`[data-${name}]`)) tile.setAttribute("aria-pressed", String(tile.dataset[name] === path));
  complain(null);
  if (name === "painting") {
    const known = [...form.querySelectorAll("[data-painting]:not(.own)")].find((tile) => tile.dataset.painting === path);
    const own = form.querySelector(".tile.own");
    own.hidden = Boolean(known);
    own.dataset.painting = known ? "" : path;
    own.setAttribute("aria-pressed", String(!known));
    own.querySelector("img").alt = path.split(/[/\\]/).pop();
    if (!known) own.querySelector("img").src = `/small?path=${encodeURIComponent(path)}`;
    at("painting-chosen").textContent = (known || own).querySelector("img").alt;
  } else {
    at("input-chosen").textContent = path.split(/[/\\]/).pop();
    say(words.waiting);  // to look at a large file takes some seconds
    try {
      const answer = await fetch(`/describe?path=${encodeURIComponent(path)}`);
      if (isRefused(answer)) return;
      const seen = await answer.json();
      if (form.elements[name].value !== path) return;
      if (!answer.ok) { say(""); complain(seen); return; }
      at("input-chosen").textContent = `${seen.name}: ${seen.described}`;
      at("frame-field").hidden = !seen.several;
      if (!seen.several) form.elements.frame.value = 1;
    } catch { say(words.lost); return; }
  }
  say("");
  ask();
}

function keep() {
  const radios = Object.fromEntries([...form.querySelectorAll("input[type=radio]:checked")].map((one) => [one.name, one.value]));
  const sliders = Object.fromEntries([...form.querySelectorAll("[data-power]")].map((one) => [one.id, one.value]));
  const { input, painting, size, frame } = form.elements;
  sessionStorage.setItem(KEPT, JSON.stringify({ radios, sliders, input: input.value, painting: painting.value, size: size.value, frame: frame.value }));
}

async function restore() {
  let kept;
  try { kept = JSON.parse(sessionStorage.getItem(KEPT)); } catch { kept = null; }
  if (!kept) return;
  for (const [name, value] of Object.entries(kept.radios)) form.elements[name].value = value;
  for (const [id, value] of Object.entries(kept.sliders)) at(id).value = value;
  form.elements.size.value = kept.size;
  form.elements.frame.value = kept.frame;
  showPowers();
  if (kept.painting) await choose("painting", kept.painting);
  if (kept.input) await choose("input", kept.input);
}

form.addEventListener("input", ask);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("click", (event) => {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  if (tile.dataset.input !== undefined) choose("input", tile.dataset.input);
  else if (tile.dataset.painting) choose("painting", tile.dataset.painting);
});
at("again").addEventListener("click", () => request());
at("finer").addEventListener("click", () => request(words.finer));
at("make-job").addEventListener("click", () => {
  const post = document.createElement("form");
  post.method = "post";
  post.action = "/jobs/new";
  for (const [name, value] of settings()) post.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  document.body.append(post);
  post.submit();
});
choosing({
  chosen: choose,
  busy: (name, number, count) => { complain(null); say(filled(words.uploading, { name, number, count })); },
  tooMany: (count) => complain({ problem: filled(words.uploadMost, { count }) }, true),
  failed: (error) => { say(""); complain(error.next_step ? error : { problem: `${words.uploadFailed} ${error.problem}`, next_step: "" }, true); },
});
showPowers();
restore();
