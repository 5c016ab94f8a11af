"use strict";
document.documentElement.classList.add("with-script");
for (const slider of document.querySelectorAll(".frames input")) {
  const frames = slider.parentElement;
  frames.style.setProperty("--ratio", frames.style.aspectRatio);
  slider.addEventListener("input", () => frames.style.setProperty("--cut", slider.value + "%"));
}
for (const button of document.querySelectorAll(".loop button")) {
  const loop = button.closest(".loop");
  const show = (playing) => {
    loop.classList.toggle("playing", playing);
    loop.classList.toggle("paused", !playing);
    button.textContent = playing ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(playing));
  };
  button.hidden = false;
  button.addEventListener("click", () => show(loop.classList.contains("paused")));
  show(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}
const copy = document.getElementById("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("yaml").textContent);
    copy.textContent = "Copied";
  });
}
