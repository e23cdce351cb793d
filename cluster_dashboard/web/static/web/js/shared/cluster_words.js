// The cluster's words: states, kinds of events, and what they mean. The server writes them into each page (web/words.py).
const words = JSON.parse(document.getElementById("words").textContent);

export const { JobState, EventKind, GpuState } = words;
/** The state of a job after an event; none after an event that moves no job. */
export const STATE_AFTER = words.STATE_AFTER;
export const TERMINAL = new Set(words.TERMINAL_STATES);
/** States in which a GPU takes no job. */
export const OFF_STATES = new Set(words.OFF_STATES);
/** Ends of an attempt that cost work. */
export const COSTLY = new Set([EventKind.FAILED, EventKind.REQUEUED]);
