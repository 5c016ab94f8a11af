// The page of the run: asks for its changing part whenever the server says that something has changed.

import { follow, isRefused } from "./stream.js";

const progress = document.getElementById("progress");
const connection = document.getElementById("connection");

document.body.addEventListener("htmx:beforeSwap", (event) => { if (isRefused(event.detail.xhr)) event.detail.shouldSwap = false; });

if (progress) {
  // The part that changes is replaced as a whole. What is focused keeps the focus by its id; where it is gone, as a button that
  // was pressed, the keyboard goes on from the run's state, which is then read out.
  let hadFocus = false;
  progress.addEventListener("htmx:beforeSwap", () => { hadFocus = hadFocus || progress.contains(document.activeElement); });
  progress.addEventListener("htmx:beforeRequest", () => { hadFocus = hadFocus || progress.contains(document.activeElement); });
  progress.addEventListener("htmx:afterSettle", () => {
    if (hadFocus && document.activeElement === document.body) document.getElementById("run-state")?.focus();
    hadFocus = false;
  });
  // A screen reader hears of a new state, and not of every frame.
  const announced = document.getElementById("announced");
  const stateNow = () => document.getElementById("run-state")?.textContent ?? "";
  let known = stateNow();
  progress.addEventListener("htmx:afterSettle", () => {
    if (stateNow() === known) return;
    known = stateNow();
    announced.textContent = known;
  });
  // A frame that is kept no more, for its video is long and finished, leaves no hole.
  progress.addEventListener("error", (event) => event.target.closest(".newest li")?.remove(), true);
  follow("/night/events", {
    opened: () => { connection.hidden = true; },
    lost: () => { connection.hidden = false; },
    message: () => {
      // Whoever is typing a time is not interrupted.
      if (document.activeElement?.id !== "until") htmx.trigger(progress, "changed");
    },
  });
}
