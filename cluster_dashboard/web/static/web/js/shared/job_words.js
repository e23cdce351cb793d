// How a job is shown wherever it is named: its link, its state with a sign.
import { element, setAttribute, setText } from "./dom.js";
import { words } from "./format.js";

export const TERMINAL = new Set(["succeeded", "failed", "cancelled"]);

export function jobLink({ id, name }) {
  return element("a", { className: "link", href: `/jobs/${Number(id)}`, textContent: name });
}

export function stateEntry() {
  return element("span", { className: "state-word" }, element("i", { attributes: { "aria-hidden": "true" } }), element("span"));
}

/** Failed jobs say why instead; a running one that was asked to stop says that. */
export function showState(entry, job) {
  setAttribute(entry, "data-state", job.state);
  setText(entry.lastElementChild, stateWord(job));
}

export function stateWord(job) {
  if (job.state === "failed" && job.reason) return `failed: ${words(job.reason)}`;
  if (job.state === "running" && job.cancel_requested) return "running, asked to stop";
  if (job.state === "queued" && job.attempt > 1) return `queued again`;
  return job.state;
}
