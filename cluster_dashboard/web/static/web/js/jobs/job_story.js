// A job's history from its events: steps, attempts, and when it was waiting or running.
import { JobState, STATE_AFTER } from "../shared/cluster_words.js";
import { parseTime } from "../shared/format.js";

/** [{...event, at, since}], at in seconds; since: seconds since the previous event, null for the first one. */
export function stepsOf(job) {
  let before = null;
  return job.events.map((event) => {
    const at = parseTime(event.at);
    const since = before === null ? null : Math.max(0, at - before);
    before = at;
    return { ...event, at, since };
  });
}

/** [{state: queued or running, from, to, attempt, gpu, outcome, reason}]; `to` of the state that lasts is `now`. */
export function segmentsOf(job, now) {
  const segments = [];
  for (const step of stepsOf(job)) {
    const open = segments.at(-1);
    const state = STATE_AFTER[step.kind];
    if (!state) continue;
    if (open) Object.assign(open, { to: step.at, outcome: step.kind, reason: step.reason });
    if (state === JobState.RUNNING) segments.push({ state, from: step.at, to: null, attempt: step.attempt, gpu: step.gpu, outcome: null, reason: "" });
    else if (state === JobState.QUEUED) segments.push({ state, from: step.at, to: null, attempt: step.attempt, gpu: null, outcome: null, reason: "" });
  }
  const last = segments.at(-1);
  if (last && last.to === null) last.to = Math.max(last.from, now);
  return segments;
}

/** One for each attempt: {attempt, gpu, started, waited, ran, outcome, reason, detail}; outcome null while it runs. */
export function attemptsOf(job, now) {
  const steps = stepsOf(job);
  const segments = segmentsOf(job, now);
  return segments.flatMap((segment, position) => {
    if (segment.state !== JobState.RUNNING) return [];
    const before = segments[position - 1];
    const end = steps.find((step) => step.kind === segment.outcome && step.at === segment.to && step.attempt === segment.attempt);
    return [{
      attempt: segment.attempt,
      gpu: segment.gpu,
      started: segment.from,
      waited: before ? before.to - before.from : 0,
      ran: segment.to - segment.from,
      outcome: segment.outcome,
      reason: segment.reason,
      detail: end?.detail ?? "",
    }];
  });
}
