// Numbers, durations and times as text. Unknown (null) stays null; dom.js shows it as a dash.
const byDigits = new Map();

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

function formatter(minimum, maximum) {
  const key = `${minimum}-${maximum}`;
  if (!byDigits.has(key)) {
    byDigits.set(key, new Intl.NumberFormat("en", { minimumFractionDigits: minimum, maximumFractionDigits: maximum }));
  }
  return byDigits.get(key);
}

/** A number with exactly `digits` decimals. */
export function fixed(value, digits = 0) {
  return known(value) ? formatter(digits, digits).format(value) : null;
}

/** Jobs a minute, with decimals for small values only (0.25, 2.5, 12, 100,000). */
export function rate(value) {
  if (!known(value)) return null;
  return formatter(0, value < 1 ? 2 : value < 10 ? 1 : 0).format(value);
}

/** Whole GiB from MiB. */
export function gibibytes(mib) {
  return known(mib) ? formatter(0, 0).format(mib / 1024) : null;
}

/** Value and unit of a duration: ["8.3", "s"], ["2m 29s", ""]. */
export function durationParts(seconds) {
  if (!known(seconds)) return [null, ""];
  const whole = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  if (seconds < 9.95) return [formatter(0, 1).format(Math.max(0, seconds)), "s"];
  if (whole < 60) return [String(whole), "s"];
  if (whole < 3600) return [`${Math.floor(whole / 60)}m ${two(whole % 60)}s`, ""];
  if (whole < 86400) return [`${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`, ""];
  return [`${Math.floor(whole / 86400)}d ${two(Math.floor((whole % 86400) / 3600))}h`, ""];
}

export function duration(seconds) {
  const [value, unit] = durationParts(seconds);
  return value === null ? null : unit ? `${value} ${unit}` : value;
}

/** The same with milliseconds below one second: a claim takes a few of them. */
export function fineDuration(seconds) {
  return known(seconds) && seconds < 0.95 ? `${Math.max(0, Math.round(seconds * 1000))} ms` : duration(seconds);
}

const clockFormat = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** The reader's local time, 12:04:31. */
export function clock(seconds) {
  return known(seconds) ? clockFormat.format(seconds * 1000) : null;
}

const preciseFormat = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });

/** The same to the millisecond, 12:04:31.250. */
export function preciseClock(seconds) {
  return known(seconds) ? preciseFormat.format(seconds * 1000) : null;
}

const dayFormat = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

/** The time alone for today, else after the day: 3 Mar 12:04:31. */
export function moment(seconds) {
  if (!known(seconds)) return null;
  const day = dayFormat.format(seconds * 1000);
  return day === dayFormat.format(Date.now()) ? clock(seconds) : `${day} ${clock(seconds)}`;
}

/** Seconds since the epoch from the API's text; null stays null. */
export function parseTime(text) {
  return text === null ? null : Date.parse(text) / 1000;
}

/** out_of_memory -> out of memory. */
export function words(name) {
  return (name ?? "").replaceAll("_", " ");
}

export function plural(count, one, many = `${one}s`) {
  return `${fixed(count)} ${count === 1 ? one : many}`;
}
