// The queue panel: shares by priority, waiting counts, and the jobs that start next.
import { typeEntry } from "../shared/colors.js";
import { element, keepRows, setAttribute, setText, setValue } from "../shared/dom.js";
import { duration, fixed, plural } from "../shared/format.js";
import { jobLink } from "../shared/job_words.js";

const total = document.getElementById("queue-total");
const share = document.getElementById("share");
const rows = document.querySelectorAll("#priorities tr");
const next = document.getElementById("next");
const nextTable = next.closest("table");
const letters = document.getElementById("dead-letters");
const nextEmpty = document.getElementById("next-empty");

export function renderQueue({ queues, next: jobs, counts, dead_letters: deadLetters }) {
  const waiting = Object.values(queues).reduce((sum, queue) => sum + (queue.waiting ?? 0), 0);
  setText(total, `${fixed(counts.queued ?? waiting)} waiting`);
  for (const part of share.children) {
    const count = queues[part.dataset.priority]?.waiting ?? 0;
    part.hidden = count === 0;
    part.style.flexGrow = String(count);
  }
  setAttribute(share, "aria-label", `Waiting jobs: ${Object.entries(queues).map(([name, queue]) => `${name} ${queue.waiting ?? "unknown"}`).join(", ")}`);
  for (const row of rows) updatePriority(row, queues[row.dataset.priority]);
  letters.hidden = !deadLetters;
  setText(letters.firstElementChild, plural(deadLetters ?? 0, "dead letter"));
  nextTable.hidden = jobs.length === 0;
  nextEmpty.hidden = jobs.length > 0;
  keepRows(next, jobs, { key: (job) => job.id, create: createJob, update: updateJob });
}

function updatePriority(row, queue) {
  const cell = (of) => row.querySelector(`[data-of=${of}]`);
  setValue(cell("waiting"), fixed(queue?.waiting ?? null));
  // An empty queue has no oldest job. That is known, so the cell is empty, not unknown.
  if (queue?.waiting === 0) setValue(cell("oldest"), "");
  else setValue(cell("oldest"), duration(queue?.oldest_s ?? null));
  setValue(cell("redis"), fixed(queue?.in_redis ?? null));
}

function createJob(job) {
  const kind = element("div", { className: "kind" }, typeEntry(job.type), job.priority);
  const name = element("div", { className: "mono name", title: job.name }, jobLink(job));
  return element("tr", {}, element("td", {}, name, kind), element("td", { className: "n" }));
}

function updateJob(row, job) {
  setValue(row.lastElementChild, duration(job.waiting_s));
}
