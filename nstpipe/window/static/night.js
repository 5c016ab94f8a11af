// The page of the run: asks for its changing part whenever the server says that something has changed.

import { follow } from "./stream.js";

const progress = document.getElementById("progress");
const connection = document.getElementById("connection");

if (progress) {
  follow("/night/events", {
    opened: () => { connection.hidden = true; },
    lost: () => { connection.hidden = false; },
    message: () => {
      // Whoever is typing a time is not interrupted.
      if (document.activeElement?.id !== "until") htmx.trigger(progress, "changed");
    },
  });
}
