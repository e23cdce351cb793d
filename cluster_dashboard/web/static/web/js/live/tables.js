// The jobs that finished last, and the events of the cluster.
import { JobState } from "../shared/cluster_words.js";
import { typeEntry } from "../shared/colors.js";
import { element, keepRows, setText, setValue } from "../shared/dom.js";
import { clock, duration, words } from "../shared/format.js";
import { jobLink } from "../shared/job_words.js";

const finished = document.getElementById("finished");
const finishedTable = finished.closest("table");
const finishedEmpty = document.getElementById("finished-empty");
const events = document.getElementById("events");
const eventsEmpty = document.getElementById("events-empty");
const SIGNS = { [JobState.SUCCEEDED]: "✓", [JobState.FAILED]: "✕", [JobState.CANCELLED]: "–" };

export function renderFinished({ recent, counts }) {
  finishedEmpty.hidden = recent.length > 0;
  finishedTable.hidden = recent.length === 0;
  setText(finishedEmpty, counts.submitted === 0 ? "No jobs yet. The generator submits jobs at the rate that is set under Load." : "No job has ended yet.");
  keepRows(finished, recent, { key: (job) => `${job.id}/${job.attempt}`, create: createJob, update: updateJob });
}

function createJob(job) {
  const name = element("td", { className: "mono name", title: job.name }, jobLink(job));
  if (job.attempt > 1) name.append(element("span", { className: "attempt", textContent: `attempt ${job.attempt}` }));
  return element(
    "tr",
    {},
    name,
    element("td", { className: "wide" }, typeEntry(job.type)),
    element("td", { className: "wide", textContent: job.priority }),
    element("td", { className: "n", data: { of: "gpu" } }),
    element("td", { className: "n wide", data: { of: "waited" } }),
    element("td", { className: "n", data: { of: "ran" } }),
    element("td", {}, element("span", { className: "result" })),
  );
}

function updateJob(row, job) {
  const cell = (of) => row.querySelector(`[data-of=${of}]`);
  setValue(cell("gpu"), job.gpu === null ? null : String(job.gpu));
  setValue(cell("waited"), duration(job.waited_s));
  setValue(cell("ran"), duration(job.ran_s));
  const result = row.querySelector(".result");
  const word = job.state === JobState.FAILED && job.reason ? words(job.reason) : job.state;
  result.classList.toggle("bad", job.state === JobState.FAILED);
  setText(result, `${SIGNS[job.state] ?? ""} ${word}`);
}

export function renderEvents(snapshot) {
  eventsEmpty.hidden = snapshot.events.length > 0;
  events.hidden = snapshot.events.length === 0;
  keepRows(events, snapshot.events, { key: (event) => event.id, create: createEvent, update: () => {} });
}

function createEvent(event) {
  const at = element("time", { textContent: clock(event.at), dateTime: new Date(event.at * 1000).toISOString() });
  return element("li", { data: { kind: event.kind } }, at, element("span", { textContent: event.message }));
}
