// The list of jobs: polls the API with the filters in the URL while the tab is visible.
// Polling, since there is no stream of a whole list, whose jobs change, appear and disappear.
import { ask } from "../shared/api_client.js";
import { typeEntry } from "../shared/colors.js";
import { element, keepRows, setAttribute, setText, setValue } from "../shared/dom.js";
import { clock, fineDuration, moment, parseTime, plural } from "../shared/format.js";
import { showInForm, wanted, whenChanged } from "./jobs_filters.js";
import { jobLink, showState, stateEntry } from "../shared/job_words.js";
import "../shared/theme.js";

const EVERY_MS = 2_000;
const byId = (id) => document.getElementById(id);
const { jobs: url, limit } = document.body.dataset;
let asked = 0;
let timer = 0;

async function load() {
  clearTimeout(timer);
  asked += 1;
  const mine = asked;
  const filters = wanted();
  const query = new URLSearchParams(filters);
  query.set("limit", limit);
  const [page, refusal] = await ask("GET", `${url}?${query}`);
  // The filters have changed meanwhile: a newer answer will follow.
  if (mine !== asked) return;
  if (refusal) showRefusal(refusal);
  else show(page, filters);
  if (!document.hidden) timer = setTimeout(load, EVERY_MS);
}

function show({ jobs, next_before: nextBefore }, filters) {
  showConnection("live", `· ${clock(Date.now() / 1000)}`);
  setText(byId("jobs-error"), "");
  document.body.classList.remove("stale");
  byId("jobs-table").hidden = jobs.length === 0;
  byId("jobs-empty").hidden = jobs.length > 0;
  setText(byId("jobs-empty"), filters.size > 0 ? "No job matches these filters." : "No jobs yet. The generator submits jobs at the rate that is set on the live page.");
  setText(byId("jobs-shown"), jobs.length > 0 ? `${plural(jobs.length, "job")}, newest first` : "");
  keepRows(byId("jobs"), jobs, { key: (job) => job.id, create: createJob, update: updateJob });
  link(byId("newest"), filters.has("before") ? null : undefined, filters);
  link(byId("older"), nextBefore ?? undefined, filters);
}

/** before: undefined hides the link, null leaves it out of the URL. */
function link(anchor, before, filters) {
  anchor.hidden = before === undefined;
  const query = new URLSearchParams(filters);
  query.delete("before");
  if (before) query.set("before", before);
  setAttribute(anchor, "href", query.size > 0 ? `/jobs?${query}` : "/jobs");
}

function showRefusal(text) {
  showConnection("stale", "");
  setText(byId("jobs-error"), text);
  document.body.classList.toggle("stale", !byId("jobs-table").hidden);
  if (byId("jobs-table").hidden) setText(byId("jobs-empty"), "Nothing to show.");
}

function showConnection(state, detail) {
  setAttribute(byId("connection"), "data-state", state);
  setText(byId("connection-state"), state === "live" ? "Live" : "No response");
  setText(byId("connection-detail"), detail ? ` ${detail}` : "");
}

function createJob(job) {
  const cell = (of, className = "n wide") => element("td", { className, data: { of } });
  return element(
    "tr",
    {},
    element("td", { className: "n wide number", textContent: String(job.id) }),
    element("td", { className: "mono name", title: job.name }, jobLink(job)),
    element("td", { className: "wide" }, typeEntry(job.type)),
    element("td", { className: "wide", textContent: job.priority }),
    element("td", {}, stateEntry()),
    cell("gpu", "n"),
    cell("attempt"),
    element("td", { className: "n wide", textContent: moment(parseTime(job.submitted_at)) }),
    cell("waited"),
    cell("ran", "n"),
  );
}

function updateJob(row, job) {
  const cell = (of) => row.querySelector(`[data-of=${of}]`);
  showState(row.querySelector(".state-word"), job);
  // A job that has not started has no GPU. That is known, so the cells are empty, not unknown.
  setValue(cell("gpu"), job.gpu === null ? "" : String(job.gpu));
  setValue(cell("attempt"), String(job.attempt));
  const [queued, started, finished] = [job.queued_at, job.started_at, job.finished_at].map(parseTime);
  const ranThisTime = started !== null && started >= queued;
  setValue(cell("waited"), ranThisTime ? fineDuration(started - queued) : "");
  setValue(cell("ran"), ranThisTime && finished !== null ? fineDuration(finished - started) : "");
}

whenChanged(load);
document.addEventListener("visibilitychange", () => !document.hidden && load());
showInForm();
load();
