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

/** Jobs a minute: decimals only where they say something (0.25, 2.5, 12, 100,000). */
export function rate(value) {
  if (!known(value)) return null;
  return formatter(0, value < 1 ? 2 : value < 10 ? 1 : 0).format(value);
}

/** Gigabytes as NVML's tools print them, from MiB. */
export function gigabytes(mib) {
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

const clockFormat = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** The reader's local time, 12:04:31. */
export function clock(seconds) {
  return known(seconds) ? clockFormat.format(seconds * 1000) : null;
}

/** out_of_memory -> out of memory. */
export function words(name) {
  return (name ?? "").replaceAll("_", " ");
}

export function plural(count, one, many = `${one}s`) {
  return `${fixed(count)} ${count === 1 ? one : many}`;
}
