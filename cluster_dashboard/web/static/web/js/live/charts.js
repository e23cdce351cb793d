// Line charts and sparklines over the last five minutes.
import { FONT, begin } from "../shared/canvas.js";
import { canvasColor } from "../shared/colors.js";
import { fixed } from "../shared/format.js";
import { SPAN_S } from "./store.js";

// A longer time between two points is drawn as a gap. While no page is open, the server adds a point only about
// every five seconds.
const GAP_S = 12;
const GUTTER = 36;
const FOOT = 16;

/** One line; null breaks it. x and y map a time and a value to pixels. */
function trace(context, times, values, x, y) {
  context.beginPath();
  let previous = null;
  values.forEach((value, i) => {
    if (value !== null) {
      const joined = previous !== null && times[i] - previous <= GAP_S;
      if (joined) context.lineTo(x(times[i]), y(value));
      else context.moveTo(x(times[i]), y(value));
    }
    previous = value === null ? null : times[i];
  });
  context.stroke();
}

/** A small line with a dot at the last value, scaled to the range of the values. */
export function sparkline(canvas, times, values, now, color) {
  const drawing = begin(canvas);
  if (!drawing) return;
  const [context, width, height] = drawing;
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return;
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  const x = (t) => (1 - (now - t) / SPAN_S) * (width - 4);
  const y = (value) => (high === low ? height / 2 : height - 3 - ((value - low) / (high - low)) * (height - 6));
  context.strokeStyle = context.fillStyle = canvasColor(color);
  context.lineWidth = 1.4;
  context.lineJoin = "round";
  trace(context, times, values, x, y);
  const last = values.at(-1);
  if (last === null) return;
  context.beginPath();
  context.arc(x(times.at(-1)), y(last), 2, 0, 2 * Math.PI);
  context.fill();
}

/** lines: [{values, color}], drawn in order; values are divided by `unit`. */
export function lineChart(canvas, times, lines, now, unit = 1) {
  const drawing = begin(canvas);
  if (!drawing) return;
  const [context, width, height] = drawing;
  const [top, step] = scale(largest(lines) / unit);
  const x = (t) => GUTTER + (1 - (now - t) / SPAN_S) * (width - GUTTER - 2);
  const y = (value) => (height - FOOT) * (1 - value / unit / top) * 0.94 + 6;
  context.font = `11px ${FONT}`;
  context.textBaseline = "middle";
  grid(context, width, height, top, step, (value) => y(value * unit));
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  for (const { values, color } of lines) {
    context.strokeStyle = canvasColor(color);
    trace(context, times, values, x, y);
  }
}

export function largest(lines) {
  return lines.reduce((most, { values }) => values.reduce((a, b) => Math.max(a, b ?? 0), most), 0);
}

/** The top of the axis and the step of its grid: at most four steps of 1, 2 or 5 times a power of ten. */
function scale(most) {
  const wanted = Math.max(most * 1.05, 1);
  const power = 10 ** Math.floor(Math.log10(wanted / 4));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => wanted / n <= 4);
  return [Math.ceil(wanted / step) * step, step];
}

function grid(context, width, height, top, step, y) {
  context.lineWidth = 1;
  context.strokeStyle = canvasColor("--line");
  context.fillStyle = canvasColor("--ink3");
  context.textAlign = "right";
  for (let n = 0; n * step <= top * 1.001; n += 1) {
    const line = Math.round(y(n * step)) + 0.5;
    context.beginPath();
    context.moveTo(GUTTER, line);
    context.lineTo(width, line);
    context.stroke();
    context.fillText(axisLabel(n * step, step), GUTTER - 7, line);
  }
  context.textAlign = "center";
  ["-5 m", "-4", "-3", "-2", "-1", "now"].forEach((text, i) => {
    context.fillText(text, GUTTER + 12 + ((width - GUTTER - 28) * i) / 5, height - 5);
  });
}

/** At most four characters, so that they fit the gutter: 0.5, 150, 1.5k, 20k. */
function axisLabel(value, step) {
  if (value >= 1000) return `${fixed(value / 1000, step % 1000 === 0 ? 0 : 1)}k`;
  return fixed(value, step < 1 ? 1 : 0);
}
