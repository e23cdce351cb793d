// How every page shows a job: its link, and its state with a sign.
import { JobState } from "./cluster_words.js";
import { element, setAttribute, setText } from "./dom.js";
import { words } from "./format.js";

export function jobLink({ id, name }) {
  return element("a", { className: "link", href: `/jobs/${Number(id)}`, textContent: name });
}

export function stateEntry() {
  return element("span", { className: "state-word" }, element("i", { attributes: { "aria-hidden": "true" } }), element("span"));
}

/** With the reason of a failed job, and with a cancel that a running one has yet to follow. */
export function showState(entry, job) {
  setAttribute(entry, "data-state", job.state);
  setText(entry.lastElementChild, stateWord(job));
}

export function stateWord(job) {
  if (job.state === JobState.FAILED && job.reason) return `${job.state}: ${words(job.reason)}`;
  if (job.state === JobState.RUNNING && job.cancel_requested) return `${job.state}, cancel requested`;
  if (job.state === JobState.QUEUED && job.attempt > 1) return `${job.state}, attempt ${job.attempt}`;
  return job.state;
}
