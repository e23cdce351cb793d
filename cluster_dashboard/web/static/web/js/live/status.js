// Shows how old the data are: connection state, stale banner and dimming, tab title.
import { setAttribute, setText } from "../shared/dom.js";
import { clock } from "../shared/format.js";

const STALE_MS = 3_000;
const TITLES = { connecting: "Connecting", live: "Live", stale: "Stale", unavailable: "Unavailable", outdated: "Reload needed" };
const WHAT_NOW = { connecting: "Connecting…", stale: "Reconnecting…", unavailable: "Trying again…", outdated: "" };
const byId = (id) => document.getElementById(id);

export class Status {
  #connection = byId("connection");
  #state = byId("connection-state");
  #detail = byId("connection-detail");
  #banner = byId("banner");
  #text = byId("banner-text");
  #alert = byId("banner-alert");
  #startedAt = performance.now();
  #heardAt = null;
  #arrivals = [];
  #dataAt = null;
  #busy = "";
  #unavailable = null;
  #outdated = false;
  #refusal = "";

  constructor() {
    setInterval(() => this.show(), 500);
    document.addEventListener("visibilitychange", () => this.show());
  }

  heardSnapshot(snapshot) {
    this.#heardAt = performance.now();
    this.#arrivals = [...this.#arrivals.slice(-9), this.#heardAt];
    this.#dataAt = snapshot.at;
    this.#unavailable = null;
    this.#refusal = snapshot.no_room ? `New jobs are refused: ${snapshot.no_room.words}` : "";
    this.#busy = `${snapshot.kpi.busy ?? "–"}/${snapshot.gpus.length} busy`;
  }

  heardUnavailable(message) {
    this.#unavailable = message.message;
    this.#arrivals = [];
  }

  /** The messages of the server have another version: the page must be reloaded. */
  heardOtherVersion() {
    this.#outdated = true;
  }

  show() {
    const state = this.#now();
    const title = [state === "live" ? this.#busy : "", TITLES[state], "GPU cluster"].filter(Boolean).join(" · ");
    if (document.title !== title) document.title = title;
    // Of a hidden tab only the title is visible.
    if (document.hidden) return;
    const old = state !== "live" && (state !== "connecting" || this.#silence() >= STALE_MS);
    setAttribute(this.#connection, "data-state", state);
    setText(this.#state, TITLES[state]);
    setText(this.#detail, this.#details(state));
    document.body.classList.toggle("stale", old);
    this.#banner.classList.toggle("shown", this.#refusal !== "");
    setText(this.#text, old ? `${this.#reason(state)} ${this.#from()} ${WHAT_NOW[state]}`.trim() : this.#refusal);
    // Announced once for each state: a counting age would be read aloud every second.
    setText(this.#alert, old ? this.#spoken(state) : this.#refusal);
  }

  #now() {
    if (this.#outdated) return "outdated";
    if (this.#unavailable !== null) return "unavailable";
    if (this.#heardAt === null) return "connecting";
    return this.#silence() >= STALE_MS ? "stale" : "live";
  }

  #silence() {
    return performance.now() - (this.#heardAt ?? this.#startedAt);
  }

  #age() {
    return `${Math.floor(this.#silence() / 1000)} s`;
  }

  #details(state) {
    if (state === "live") return `${this.#hertz()} · ${clock(this.#dataAt)}`;
    return this.#heardAt === null ? "" : ` · last update ${this.#age()} ago`;
  }

  #hertz() {
    // The first two arrive close together: the newest snapshot at once, the next one at its tick.
    if (this.#arrivals.length < 5) return "";
    const seconds = (this.#arrivals.at(-1) - this.#arrivals[1]) / 1000;
    return seconds > 0 ? ` · ${((this.#arrivals.length - 2) / seconds).toFixed(0)} Hz` : "";
  }

  #reason(state) {
    if (state === "outdated") return "The server was updated. Reload this page.";
    if (state === "unavailable") return `The cluster's data cannot be read: ${this.#unavailable}`;
    return `No data for ${this.#age()}`;
  }

  #spoken(state) {
    return state === "stale" || state === "connecting" ? "No new data. The numbers below are old. Reconnecting." : this.#reason(state);
  }

  #from() {
    return this.#dataAt === null ? "— nothing to show yet." : `— numbers below are from ${clock(this.#dataAt)}.`;
  }
}
