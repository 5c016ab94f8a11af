// A region is painted with a brush on the first frame of the job: with a pointer, or with the arrow keys and the space bar.

const region = document.getElementById("region");
const canvas = document.getElementById("mask");
const frame = document.getElementById("mask-frame");
const brush = document.getElementById("brush-size");
const status = document.getElementById("region-status");
let painted = null; // white where the region is, on black
let last = null;
let cursor = null;

function start() {
  painted = Object.assign(document.createElement("canvas"), { width: frame.naturalWidth, height: frame.naturalHeight });
  canvas.width = frame.naturalWidth;
  canvas.height = frame.naturalHeight;
  cursor = { x: canvas.width / 2, y: canvas.height / 2 };
  draw();
}

function draw() {
  const shown = canvas.getContext("2d");
  shown.globalCompositeOperation = "source-over";
  shown.clearRect(0, 0, canvas.width, canvas.height);
  shown.drawImage(painted, 0, 0);
  shown.globalCompositeOperation = "source-in";
  shown.fillStyle = "#e0a100";
  shown.fillRect(0, 0, canvas.width, canvas.height);
  shown.globalCompositeOperation = "source-over";
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    shown.beginPath();
    shown.arc(cursor.x, cursor.y, radius(), 0, 2 * Math.PI);
    shown.lineWidth = 3;
    shown.strokeStyle = "#ffffff";
    shown.stroke();
    shown.lineWidth = 1;
    shown.strokeStyle = "#000000";
    shown.stroke();
  }
}

function radius() { return Number(brush.value) * canvas.width / 1280; }

function stroke(from, to) {
  const ink = painted.getContext("2d");
  const isErasing = region.querySelector("input[name=tool]:checked").value === "erase";
  ink.globalCompositeOperation = isErasing ? "destination-out" : "source-over";
  ink.strokeStyle = "#ffffff";
  ink.lineCap = "round";
  ink.lineWidth = 2 * radius();
  ink.beginPath();
  ink.moveTo(from.x, from.y);
  ink.lineTo(to.x + 0.01, to.y);
  ink.stroke();
  draw();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * canvas.width / box.width, y: (event.clientY - box.top) * canvas.height / box.height };
}

region?.addEventListener("toggle", () => {
  const input = document.getElementById("f-input")?.value;
  // In the file, a $ stands twice.
  if (region.open && input) frame.src = `/small?large&path=${encodeURIComponent(input.replaceAll("$$", () => "$"))}`;
});
frame?.addEventListener("error", async () => { status.textContent = await (await fetch(frame.src)).text(); });
frame?.addEventListener("load", start);
canvas?.addEventListener("pointerdown", (event) => {
  if (!painted) return;
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  stroke(last, last);
});
canvas?.addEventListener("pointermove", (event) => {
  if (!last) return;
  const next = place(event);
  stroke(last, next);
  last = next;
});
for (const name of ["pointerup", "pointercancel"]) canvas?.addEventListener(name, () => { last = null; });
for (const name of ["focus", "blur"]) canvas?.addEventListener(name, () => { if (painted) draw(); });
canvas?.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] };
  if (!painted || !(event.key in steps)) return;
  event.preventDefault();
  const [x, y] = steps[event.key].map((step) => step * Math.max(4, radius() / 2));
  cursor = { x: Math.min(canvas.width, Math.max(0, cursor.x + x)), y: Math.min(canvas.height, Math.max(0, cursor.y + y)) };
  if (event.key === " ") stroke(cursor, cursor); else draw();
});
document.getElementById("clear-mask")?.addEventListener("click", () => { if (painted) start(); });

const adding = document.getElementById("add-region");
adding?.addEventListener("click", async () => {
  if (!painted) return;
  adding.disabled = true;  // a second click would add it twice
  try { await add(); } finally { adding.disabled = false; }
});

async function add() {
  const black = Object.assign(document.createElement("canvas"), { width: painted.width, height: painted.height });
  const ink = black.getContext("2d");
  ink.fillRect(0, 0, black.width, black.height);
  ink.drawImage(painted, 0, 0);
  const content = await new Promise((done) => black.toBlob(done, "image/png"));
  const name = encodeURIComponent(document.getElementById("f-name").value);
  const answer = await (await fetch("/jobs/mask", { method: "POST", body: content, headers: { "X-Mask-Name": name } })).json();
  if (!answer.path) { status.textContent = `${answer.problem} ${answer.next_step}`; return; }
  status.textContent = answer.path;
  const style = document.getElementById("region-style").value;
  const one = `{mask: ${JSON.stringify(answer.path)}, style: ${JSON.stringify(style)}}`;
  const field = document.getElementById("f-regions");
  const others = field.value.trim().replace(/^\[|\]$/g, "").trim();
  field.value = `[${others ? `${others}, ` : ""}${one}]`;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}
