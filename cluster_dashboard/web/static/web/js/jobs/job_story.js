// A job's events as its story: steps with the time since the one before, attempts, and what it did when.
import { parseTime } from "../shared/format.js";

const ENDS = new Set(["requeued", "succeeded", "failed", "cancelled"]);

/** [{...event, at, since}], at in seconds; since: seconds after the event before, null for the first one. */
export function stepsOf(job) {
  let before = null;
  return job.events.map((event) => {
    const at = parseTime(event.at);
    const since = before === null ? null : Math.max(0, at - before);
    before = at;
    return { ...event, at, since };
  });
}

/** [{kind: "waiting" | "running", from, to, attempt, gpu, outcome, reason}]; `to` of what still lasts is `now`. */
export function segmentsOf(job, now) {
  const segments = [];
  for (const step of stepsOf(job)) {
    const open = segments.at(-1);
    if (step.kind === "cancel_requested") continue;
    if (open) Object.assign(open, { to: step.at, outcome: step.kind, reason: step.reason });
    if (step.kind === "started") segments.push({ kind: "running", from: step.at, to: null, attempt: step.attempt, gpu: step.gpu, outcome: null, reason: "" });
    else if (step.kind === "submitted" || step.kind === "requeued") segments.push({ kind: "waiting", from: step.at, to: null, attempt: step.attempt, gpu: null, outcome: null, reason: "" });
  }
  const last = segments.at(-1);
  if (last && last.to === null) last.to = Math.max(last.from, now);
  return segments;
}

/** One for each start: {attempt, gpu, started, waited, ran, outcome, reason, detail}; outcome null while it runs. */
export function attemptsOf(job, now) {
  const steps = stepsOf(job);
  const segments = segmentsOf(job, now);
  return segments.flatMap((segment, position) => {
    if (segment.kind !== "running") return [];
    const before = segments[position - 1];
    const end = steps.find((step) => ENDS.has(step.kind) && step.at === segment.to && step.attempt === segment.attempt);
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
