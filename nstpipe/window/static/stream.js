// A window that was started again knows this browser no more: loaded again, the page says how to come in.
export function isRefused(answer) {
  if (answer.status === 403) location.reload();
  return answer.status === 403;
}

// Follows a stream of server-sent events while the page is in view: a browser allows few connections to one server.

export function follow(address, { opened = () => {}, message, lost = () => {}, ended = () => {} }) {
  let source = null;
  let isOver = false;

  function open() {
    source = new EventSource(address);
    source.onopen = opened;
    source.onmessage = (event) => message(JSON.parse(event.data));
    source.addEventListener("end", () => { stop(); ended(); });
    source.onerror = () => {
      lost();
      // The browser tries again by itself unless it was refused; then we do.
      if (source && source.readyState === EventSource.CLOSED && !isOver) {
        setTimeout(reopen, 3000);
        fetch(location.href).then(isRefused, () => {});
      }
    };
  }
  function reopen() { if (!isOver && !document.hidden && (!source || source.readyState === EventSource.CLOSED)) open(); }
  function close() { if (source) { source.close(); source = null; } }
  function seen() { if (document.hidden) close(); else if (!source) reopen(); }
  function stop() { isOver = true; close(); document.removeEventListener("visibilitychange", seen); }

  document.addEventListener("visibilitychange", seen);
  if (!document.hidden) open();
  return stop;
}
