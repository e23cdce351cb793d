// The page of one job: follows it, draws it, and sends cancel and run again.
import { ask } from "../shared/api_client.js";
import { element, setAttribute, setText } from "../shared/dom.js";
import { clock, parseTime } from "../shared/format.js";
import { JobStream } from "./job_stream.js";
import { renderJob, renderProgress } from "./job_view.js";
import { JobState, TERMINAL } from "../shared/cluster_words.js";
import { stateWord } from "../shared/job_words.js";
import "../shared/theme.js";

const STALE_MS = 3_000;
const WAIT_READ_MS = 2_000;
const TITLES = { connecting: "Connecting", live: "Live", stale: "Stale", ended: "Ended" };
const byId = (id) => document.getElementById(id);
const url = document.body.dataset.job;
const name = byId("job-name").textContent;
const cancel = byId("cancel");
const again = byId("run-again");
let job = null;
let readAt = 0;
let staleTimer = 0;

new JobStream(`${url}/events`, { job: heardJob, progress: heardProgress, state: showConnection });
setInterval(() => job && !TERMINAL.has(job.state) && !document.hidden && draw(), 1000);

function heardJob(detail) {
  job = detail;
  readAt = performance.now();
  document.title = `${stateWord(job)} · ${name} · GPU cluster`;
  if (cancel) cancel.hidden = TERMINAL.has(job.state) || job.cancel_requested;
  draw();
}

/** What a waiting job waits for changes without an event of its own. */
setInterval(readWait, WAIT_READ_MS);

async function readWait() {
  if (job?.state !== JobState.QUEUED || document.hidden) return;
  const [answer] = await ask("GET", url);
  if (answer?.state !== JobState.QUEUED || job.state !== JobState.QUEUED) return;
  job.waits_because = answer.waits_because;
  draw();
}

function heardProgress(progress) {
  job.progress = progress;
  renderProgress(job);
}

/** The server's time: the clock of this computer may be wrong. */
function now() {
  return parseTime(job.at) + (performance.now() - readAt) / 1000;
}

function draw() {
  renderJob(job, now());
}

function showConnection(state) {
  setAttribute(byId("connection"), "data-state", state === "ended" ? "idle" : state);
  setText(byId("connection-state"), TITLES[state]);
  clearTimeout(staleTimer);
  if (state === "stale") staleTimer = setTimeout(() => showStale(true), STALE_MS);
  else showStale(false);
}

/** Called with a delay: most interruptions are over before anybody could read about them. */
function showStale(stale) {
  document.body.classList.toggle("stale", stale);
  const since = job === null ? "" : ` The data below are from ${clock(now())}.`;
  setText(byId("banner-text"), stale ? `The server does not answer.${since} Trying again…` : "");
}

cancel?.addEventListener("click", () => send(cancel, "cancel", () => "Cancel requested. The page shows when the job has ended."));
again?.addEventListener("click", () =>
  send(again, "run-again", ({ ids: [id] }) => element("span", {}, "Submitted as ", element("a", { className: "link", href: `/jobs/${Number(id)}`, textContent: `job ${id}` }), ".")),
);

async function send(button, action, words) {
  button.disabled = true;
  setText(byId("job-error"), "");
  byId("job-note").replaceChildren();
  const [answer, refusal] = await ask("POST", `${url}/${action}`);
  button.disabled = false;
  if (refusal) setText(byId("job-error"), refusal);
  else byId("job-note").replaceChildren(words(answer));
}
