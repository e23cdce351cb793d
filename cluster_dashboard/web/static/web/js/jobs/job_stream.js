// Follows one job by server-sent events: each change arrives at once, and the stream ends with the job.
// Only while the tab is visible: a browser has six connections to a host, and many job pages may be open.
import { TERMINAL } from "../shared/cluster_words.js";

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 10_000;

export class JobStream {
  #url;
  #listener;
  #source = null;
  #retry = 0;
  #delay = FIRST_DELAY_MS;
  #ended = false;

  /** listener: { job(detail), progress(share), state("connecting" | "live" | "stale" | "ended") }. */
  constructor(url, listener) {
    this.#url = url;
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.#open()));
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", () => this.#open());
    this.#open();
  }

  #open() {
    if (this.#source || this.#ended || document.hidden) return;
    clearTimeout(this.#retry);
    const source = new EventSource(this.#url);
    this.#source = source;
    source.addEventListener("job", (event) => this.#heardJob(JSON.parse(event.data)));
    source.addEventListener("progress", (event) => this.#listener.progress(JSON.parse(event.data).progress));
    source.addEventListener("error", () => this.#failed());
  }

  #heardJob(job) {
    this.#delay = FIRST_DELAY_MS;
    this.#ended = TERMINAL.has(job.state);
    // The server now ends the stream, and the browser would open it again.
    if (this.#ended) this.#close();
    this.#listener.job(job);
    this.#listener.state(this.#ended ? "ended" : "live");
  }

  #failed() {
    this.#close();
    if (this.#ended) return;
    this.#listener.state("stale");
    // A random part, so that not all pages reconnect in the same instant after a restart.
    this.#retry = setTimeout(() => this.#open(), this.#delay * (0.5 + Math.random() / 2));
    this.#delay = Math.min(this.#delay * 2, LAST_DELAY_MS);
  }

  #close() {
    this.#source?.close();
    this.#source = null;
  }
}
