// Draws one job: facts, the bar of its life, its steps, attempts, outcome and parameters.
import { typeColor, typeEntry } from "../shared/colors.js";
import { element, keepRows, setAttribute, setText, setValue } from "../shared/dom.js";
import { duration, fineDuration, fixed, gibibytes, moment, parseTime, plural, preciseClock, words } from "../shared/format.js";
import { attemptsOf, segmentsOf, stepsOf } from "./job_story.js";
import { COSTLY, EventKind, JobState, TERMINAL } from "../shared/cluster_words.js";
import { showState, stateEntry } from "../shared/job_words.js";

const byId = (id) => document.getElementById(id);
const state = stateEntry();

/** now: the server's time in seconds. */
export function renderJob(job, now) {
  if (!state.isConnected) byId("job-state").replaceChildren(state);
  showState(state, job);
  renderFacts(job, now);
  renderProgress(job);
  renderLife(job, now);
  renderSteps(job);
  renderAttempts(job, now);
  renderOutcome(job);
  renderValues(byId("params"), Object.entries(job.params).map(([name, value]) => [name, shown(value)]));
  byId("params-empty").hidden = Object.keys(job.params).length > 0;
  renderLimits(job);
}

/** The fact that is a sentence: it has a line for itself. */
const SENTENCE = "Waits because";

function renderFacts(job, now) {
  const segments = segmentsOf(job, now);
  const time = (state) => fineDuration(segments.filter((each) => each.state === state).reduce((sum, each) => sum + each.to - each.from, 0));
  const facts = [
    ["Type", typeEntry(job.type), job.type],
    ["Priority", job.priority],
    ["GPU", job.gpu === null ? null : String(job.gpu)],
    ["Attempt", String(job.attempt)],
    ["Failures", `${job.failures} of ${job.max_failures}`],
    ["Waited", time(JobState.QUEUED)],
    ["Ran", segments.some((each) => each.state === JobState.RUNNING) ? time(JobState.RUNNING) : null],
    ["Submitted", moment(parseTime(job.submitted_at))],
    ["Source", job.source],
    ["Owner", job.owner || null],
    ...(job.waits_because ? [[SENTENCE, job.waits_because]] : []),
  ];
  keepRows(byId("facts"), facts, {
    key: ([name]) => name,
    create: ([name]) => element("div", { className: name === SENTENCE ? "sentence" : "" }, element("dt", { textContent: name }), element("dd")),
    update: (row, [, value, key]) => {
      const cell = row.lastElementChild;
      if (!(value instanceof Node)) setValue(cell, value);
      else if (cell.dataset.key !== key) {
        cell.dataset.key = key;
        cell.replaceChildren(value);
      }
    },
  });
}

export function renderProgress({ state: now, progress }) {
  const shownNow = now === JobState.RUNNING && progress !== null;
  byId("progress").hidden = !shownNow;
  if (!shownNow) return;
  byId("progress-bar").value = progress;
  setText(byId("progress-text"), `${fixed(progress * 100)} %`);
}

function renderLife(job, now) {
  const segments = segmentsOf(job, now);
  const [first, last] = [segments[0], segments.at(-1)];
  const life = byId("life");
  byId("running-ink").style.background = typeColor(job.type);
  const longest = last.to - first.from || 1;
  keepRows(life, segments.map((each, position) => ({ ...each, position })), {
    key: ({ position }) => position,
    create: (segment) => element("i", { className: segment.state === JobState.QUEUED ? "waiting" : "" }),
    update: (bar, segment) => {
      bar.style.flexGrow = String(Math.max((segment.to - segment.from) / longest, 0.0001));
      if (segment.state === JobState.RUNNING) bar.style.background = typeColor(job.type);
      bar.classList.toggle("unlucky", segment.state === JobState.RUNNING && COSTLY.has(segment.outcome));
      setAttribute(bar, "title", segmentText(segment));
    },
  });
  setAttribute(life, "aria-label", segments.map(segmentText).join("; "));
  setText(byId("life-start"), moment(first.from));
  setText(byId("life-end"), TERMINAL.has(job.state) ? moment(last.to) : "now");
  setText(byId("story-span"), `${fineDuration(last.to - first.from)} ${TERMINAL.has(job.state) ? "in all" : "so far"}`);
}

function segmentText({ state: during, from, to, gpu, outcome, reason }) {
  const time = fineDuration(to - from);
  if (during === JobState.QUEUED) return `waited ${time}`;
  const end = outcome === null ? "" : `, ${words(outcome)}${reason ? ` (${words(reason)})` : ""}`;
  return `ran ${time} on GPU ${gpu ?? "unknown"}${end}`;
}

function renderSteps(job) {
  byId("story-empty").hidden = job.events.length > 0;
  keepRows(byId("steps"), stepsOf(job), { key: (step) => step.n, create: createStep, update: () => {} });
}

function createStep(step) {
  const where = step.kind === EventKind.STARTED ? ` on GPU ${step.gpu}, attempt ${step.attempt}` : "";
  const why = step.reason ? `: ${words(step.reason)}` : "";
  const bad = step.kind === EventKind.FAILED || step.charged;
  const text = element("p", {}, element("b", { className: bad ? "bad" : "", textContent: `${words(step.kind)}${where}${why}` }));
  if (step.charged) text.append(", a failure is charged");
  // Left out if it only repeats the reason.
  if (step.detail && step.detail !== words(step.reason)) text.append(element("span", { className: "detail", textContent: ` · ${step.detail}` }));
  const at = element("time", { textContent: preciseClock(step.at), dateTime: new Date(step.at * 1000).toISOString(), title: moment(step.at) });
  return element("li", {}, at, element("span", { className: "since", textContent: step.since === null ? "" : `+ ${fineDuration(step.since)}` }), text);
}

function renderAttempts(job, now) {
  const attempts = attemptsOf(job, now);
  byId("attempts-table").hidden = attempts.length === 0;
  byId("attempts-empty").hidden = attempts.length > 0;
  setText(byId("attempts-empty"), TERMINAL.has(job.state) ? "The job never started." : "The job has not started yet.");
  setText(byId("attempts-count"), attempts.length > 0 ? plural(attempts.length, "attempt") : "");
  const cells = ["attempt", "gpu", "started", "waited", "ran"];
  keepRows(byId("attempts"), attempts, {
    key: ({ attempt }) => attempt,
    create: () => element("tr", {}, ...cells.map((of) => element("td", { className: "n", data: { of } })), element("td", { data: { of: "ended" } })),
    update: (row, attempt) => {
      const cell = (of) => row.querySelector(`[data-of=${of}]`);
      setValue(cell("attempt"), String(attempt.attempt));
      setValue(cell("gpu"), attempt.gpu === null ? null : String(attempt.gpu));
      setValue(cell("started"), moment(attempt.started));
      setValue(cell("waited"), fineDuration(attempt.waited));
      setValue(cell("ran"), fineDuration(attempt.ran));
      const word = words(attempt.outcome ?? JobState.RUNNING);
      setValue(cell("ended"), attempt.reason ? `${word}: ${words(attempt.reason)}` : word);
      cell("ended").classList.toggle("bad", COSTLY.has(attempt.outcome));
    },
  });
}

function renderOutcome(job) {
  const error = byId("error");
  error.hidden = !job.error;
  setText(error, job.error);
  const result = job.result;
  const entries = result !== null && typeof result === "object" && !Array.isArray(result) ? Object.entries(result) : result === null ? [] : [["result", result]];
  renderValues(byId("result"), entries.map(([name, value]) => [name, shown(value)]));
  const empty = byId("outcome-empty");
  empty.hidden = Boolean(job.error) || entries.length > 0;
  setText(empty, TERMINAL.has(job.state) ? "The job returned no result." : "The job has not ended yet.");
}

function renderLimits(job) {
  renderValues(byId("limits"), [
    ["GPU memory", `${gibibytes(job.gpu_memory_mib)} GiB`],
    ["Time limit", duration(job.time_limit_seconds)],
    ["Maximum failures", String(job.max_failures)],
    ["Accepts random faults", job.accepts_faults ? "yes" : "no"],
  ]);
}

function renderValues(list, entries) {
  keepRows(list, entries.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]), {
    key: ([tag, name]) => `${tag} ${name}`,
    create: ([tag]) => element(tag),
    update: (node, [, , text]) => setText(node, text),
  });
}

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}
