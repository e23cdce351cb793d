// The last five minutes: history and snapshots merged, and trimmed to bound the memory.
import { OFF_STATES } from "../shared/cluster_words.js";

export const SPAN_S = 300;
const MAX_SPANS_PER_GPU = 5000;

export class Store {
  snapshot = null;
  at = 0;
  /** Values by the server's names of the series; `t` holds their times. */
  series = { t: [] };
  #lanes = new Map();

  /** A history message replaces everything, so that a reconnect fills the gap. */
  mergeHistory(message) {
    this.at = message.at;
    this.snapshot = null;
    for (const lane of this.#lanes.values()) lane.clear();
    for (const { index, utilization } of message.gpus) this.lane(index).utilization = utilization.slice();
    for (const span of message.spans) this.lane(span.gpu).merge(span);
    this.series = structuredClone(message.series);
    this.#trim();
  }

  mergeSnapshot(message) {
    this.at = message.at;
    this.snapshot = message;
    for (const gpu of message.gpus) {
      const lane = this.lane(gpu.index);
      lane.utilization.push([message.at, gpu.utilization_percent]);
      for (const span of gpu.spans) lane.merge(span);
      lane.noteState(gpu, message.at);
    }
    this.#appendPoint(message.point);
    this.#trim();
  }

  lane(index) {
    if (!this.#lanes.has(index)) this.#lanes.set(index, new Lane());
    return this.#lanes.get(index);
  }

  /** Job types that are on a lane or waiting, in alphabetical order. */
  types() {
    const seen = new Set((this.snapshot?.next ?? []).map((job) => job.type));
    for (const lane of this.#lanes.values()) for (const span of lane.spans) seen.add(span.type);
    return [...seen].sort();
  }

  #appendPoint(point) {
    const length = this.series.t.length;
    for (const [name, value] of Object.entries(point)) {
      this.series[name] ??= Array(length).fill(null);
      this.series[name].push(value);
    }
  }

  #trim() {
    const from = this.at - SPAN_S;
    const old = firstIndex(this.series.t, (t) => t >= from);
    if (old > 0) for (const values of Object.values(this.series)) values.splice(0, old);
    for (const lane of this.#lanes.values()) lane.trim(from);
  }
}

/** The last five minutes of one GPU. spans: sorted by start. off: periods in which it took no job; `to` is null while open. */
class Lane {
  utilization = [];
  spans = [];
  off = [];
  #byKey = new Map();
  #seen = false;

  merge(span) {
    const key = `${span.job}/${span.attempt}`;
    const known = this.#byKey.get(key);
    if (known) {
      Object.assign(known, span);
      return;
    }
    const added = { ...span };
    this.#byKey.set(key, added);
    let place = this.spans.length;
    while (place > 0 && this.spans[place - 1].started_at > added.started_at) place -= 1;
    this.spans.splice(place, 0, added);
  }

  /** When a span ended. A GPU runs one job at a time, so an end that was missed is the start of the next span. */
  endOf(position, now) {
    return this.spans[position].ended_at ?? this.spans[position + 1]?.started_at ?? now;
  }

  /** Forgets what a history message contains; only this page knows the periods in `off`. */
  clear() {
    this.utilization = [];
    this.spans = [];
    this.#byKey.clear();
  }

  noteState({ state, note }, at) {
    const open = this.off.at(-1)?.to === null ? this.off.at(-1) : null;
    if (open?.state === state) open.note = note;
    else {
      if (open) open.to = at;
      if (OFF_STATES.has(state)) this.off.push({ state, note, from: this.#seen ? at : this.#idleSince(at), to: null });
    }
    this.#seen = true;
  }

  /** A GPU that is off in the first message has run nothing since its last job. */
  #idleSince(at) {
    return this.spans.length > 0 ? Math.min(at, this.endOf(this.spans.length - 1, at)) : at - SPAN_S;
  }

  trim(from) {
    const old = firstIndex(this.utilization, ([t]) => t >= from);
    if (old > 0) this.utilization.splice(0, old);
    let gone = 0;
    while (gone < this.spans.length && this.endOf(gone, Infinity) < from) gone += 1;
    gone = Math.max(gone, this.spans.length - MAX_SPANS_PER_GPU);
    for (const span of this.spans.splice(0, gone)) this.#byKey.delete(`${span.job}/${span.attempt}`);
    while (this.off.length > 0 && this.off[0].to !== null && this.off[0].to < from) this.off.shift();
  }
}

/** The index of the first value that passes, or the length. */
function firstIndex(values, passes) {
  const index = values.findIndex(passes);
  return index === -1 ? values.length : index;
}
