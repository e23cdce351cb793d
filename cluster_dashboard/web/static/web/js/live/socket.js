// The connection to /ws/live: connects, reconnects with back-off, and drops a silent connection.
const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 10_000;
// A snapshot arrives every 0.5 s; a connection without one for this time is half-open (sleep, lost network).
const SILENCE_MS = 6_000;

export class LiveSocket {
  #url;
  #onMessage;
  #socket = null;
  #delay = FIRST_DELAY_MS;
  #retry = 0;
  #heardAt = 0;

  /** onMessage: called with each parsed message. */
  constructor(path, onMessage) {
    this.#url = new URL(path, location.href);
    this.#url.protocol = this.#url.protocol === "https:" ? "wss:" : "ws:";
    this.#onMessage = onMessage;
    setInterval(() => this.#watch(), 1000);
    addEventListener("online", () => this.#connectNow());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#connectNow());
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#heardAt = performance.now();
    socket.addEventListener("message", (event) => {
      if (socket !== this.#socket) return;
      this.#heardAt = performance.now();
      this.#delay = FIRST_DELAY_MS;
      this.#onMessage(JSON.parse(event.data));
    });
    socket.addEventListener("close", () => socket === this.#socket && this.#connectLater());
  }

  #connectLater() {
    this.#socket = null;
    if (this.#retry) return;
    // A random part, so that not all pages reconnect in the same instant after a restart.
    this.#retry = setTimeout(() => this.#connect(), this.#delay * (0.5 + Math.random() / 2));
    this.#delay = Math.min(this.#delay * 2, LAST_DELAY_MS);
  }

  /** Skips the rest of the back-off: the network or the reader is back. */
  #connectNow() {
    if (!this.#retry) return;
    this.#delay = FIRST_DELAY_MS;
    this.#connect();
  }

  #watch() {
    if (!this.#socket || performance.now() - this.#heardAt < SILENCE_MS) return;
    const silent = this.#socket;
    // Not on its close event: closing a half-open connection may take a minute.
    this.#connectLater();
    silent.close();
  }
}
