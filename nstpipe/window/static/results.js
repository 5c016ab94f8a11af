// The page of the results: a dialog with a slider for pictures, and two videos that play as one.

import { comparison } from "./compare.js";

const viewer = document.getElementById("viewer");

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id !== "one") return;
  viewer.showModal();
  for (const box of viewer.querySelectorAll(".compare")) comparison(box);
  const pair = viewer.querySelector(".pair");
  if (pair) together([...pair.querySelectorAll("video")]);
  viewer.querySelector(".compare input, [data-play]")?.focus();  // the arrow keys or the space bar work at once
});
viewer.addEventListener("close", () => document.getElementById("one").replaceChildren());

// Closing the dialog interrupts a video that is about to play, which is no fault.
function play(video) { video.play().catch(() => {}); }

function together([original, result]) {
  const button = viewer.querySelector("[data-play]");
  const place = viewer.querySelector(".player input");
  const shown = viewer.querySelector(".player output");
  const time = () => `${result.currentTime.toFixed(1)} / ${(result.duration || 0).toFixed(1)} s`;
  button.addEventListener("click", () => { if (result.paused) { if (result.ended) result.currentTime = 0; play(result); } else result.pause(); });
  result.addEventListener("play", () => { original.currentTime = result.currentTime; play(original); button.textContent = button.dataset.pause; });
  for (const name of ["pause", "ended"]) result.addEventListener(name, () => { original.pause(); button.textContent = button.dataset.again; });
  result.addEventListener("loadedmetadata", () => { shown.textContent = time(); });
  result.addEventListener("timeupdate", () => {
    place.value = result.duration ? result.currentTime / result.duration : 0;
    shown.textContent = time();
    // The original follows the result: a shift of more than a frame or two shows.
    if (Math.abs(original.currentTime - result.currentTime) > 0.08) original.currentTime = result.currentTime;
  });
  place.addEventListener("input", () => { result.currentTime = place.value * (result.duration || 0); original.currentTime = result.currentTime; });
  for (const video of [original, result]) video.addEventListener("error", () => { viewer.querySelector("[data-unplayable]").hidden = false; });
}
