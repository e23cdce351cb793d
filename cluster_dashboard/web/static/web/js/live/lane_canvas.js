// Draws one lane: hatching while the GPU takes no job, job spans by type, how they ended, and utilisation on top.
import { FONT, MONO, begin } from "../shared/canvas.js";
import { EventKind, GpuState } from "../shared/cluster_words.js";
import { canvasColor, typeColor } from "../shared/colors.js";
import { SPAN_S } from "./store.js";

// The marks at the end of a span; a job that succeeded has none.
export const MARKS = {
  [EventKind.FAILED]: { sign: "✕", color: "--bad" },
  [EventKind.REQUEUED]: { sign: "↩", color: "--warn" },
  [EventKind.CANCELLED]: { sign: "–", color: "--ink3" },
};
const GAP_S = 5;
// Of the 11 px monospace face, in pixels.
const LETTER_WIDTH = 6.7;

export function drawLane(canvas, lane, now) {
  const drawing = begin(canvas);
  if (!drawing) return;
  const [context, width, height] = drawing;
  const x = (t) => (1 - (now - t) / SPAN_S) * width;
  context.save();
  context.fillStyle = canvasColor("--panel2");
  context.beginPath();
  context.roundRect(0, 0, width, height, 4);
  context.fill();
  context.clip();
  for (const period of lane.off) drawHatch(context, x(period.from), x(period.to ?? now), height, period);
  drawSpans(context, lane, now, x, height);
  context.restore();
  drawUtilization(context, lane.utilization, x, height);
  drawNames(context, lane, now, x, height);
}

function drawSpans(context, lane, now, x, height) {
  let drawnTo = -1;
  lane.spans.forEach((span, i) => {
    const left = Math.max(0, x(span.started_at));
    const right = x(lane.endOf(i, now));
    // Thousands of short jobs may share a pixel: it is drawn once, but no mark is skipped.
    if (right < drawnTo + 0.5 && !MARKS[span.outcome]) return;
    drawnTo = right;
    drawSpan(context, span, left, Math.max(1, right - left - 1), height);
    if (MARKS[span.outcome]) drawMark(context, MARKS[span.outcome], left, right, height);
  });
}

function drawSpan(context, span, left, width, height) {
  const color = canvasColor(typeColor(span.type));
  context.fillStyle = canvasColor("--panel2");
  context.fillRect(left, 0, width, height);
  context.fillStyle = color;
  // Work that was lost is paler than work that counts.
  context.globalAlpha = span.outcome === EventKind.REQUEUED ? 0.12 : 0.26;
  context.fillRect(left, 0, width, height);
  context.globalAlpha = span.outcome === EventKind.REQUEUED ? 0.5 : 1;
  context.fillRect(left, height - 3, width, 3);
  context.globalAlpha = 1;
}

/** Over the utilisation line, with an outline, so that both stay readable where they cross. */
function drawNames(context, lane, now, x, height) {
  if (height < 30) return;
  context.font = `11px ${MONO}`;
  context.fillStyle = canvasColor("--ink2");
  context.strokeStyle = canvasColor("--panel2");
  context.lineWidth = 3;
  lane.spans.forEach((span, i) => {
    const left = Math.max(0, x(span.started_at));
    const letters = Math.floor((x(lane.endOf(i, now)) - left - (MARKS[span.outcome] ? 24 : 12)) / LETTER_WIDTH);
    if (letters < 6) return;
    const name = span.name.length > letters ? `${span.name.slice(0, letters - 1)}…` : span.name;
    context.globalAlpha = 0.6;
    context.strokeText(name, left + 6, height - 10);
    context.globalAlpha = 1;
    context.fillText(name, left + 6, height - 10);
  });
}

function drawMark(context, { sign, color }, left, right, height) {
  context.fillStyle = canvasColor(color);
  context.fillRect(Math.max(left, right - 3), 0, 3, height);
  if (right - left < 16) return;
  context.font = `bold 11px ${FONT}`;
  context.fillText(sign, right - 14, 12);
}

function drawHatch(context, left, right, height, { state, note }) {
  context.save();
  context.beginPath();
  context.rect(left, 0, right - left, height);
  context.clip();
  context.strokeStyle = canvasColor(state === GpuState.FAULT || state === GpuState.OFFLINE ? "--bad" : "--ink3");
  context.globalAlpha = 0.45;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = Math.max(left, 0) - height; at < right; at += 7) {
    context.moveTo(at, height);
    context.lineTo(at + height, 0);
  }
  context.stroke();
  context.globalAlpha = 1;
  drawNote(context, note || state, Math.max(left, 0), right, height);
  context.restore();
}

/** Why the GPU takes no job, if there is room for the text. */
function drawNote(context, text, left, right, height) {
  context.font = `11px ${FONT}`;
  const width = context.measureText(text).width;
  if (height < 30 || right - left < width + 24) return;
  context.fillStyle = canvasColor("--panel2");
  context.fillRect(left + 8, height / 2 - 10, width + 8, 16);
  context.fillStyle = canvasColor("--ink2");
  context.fillText(text, left + 12, height / 2 + 2);
}

function drawUtilization(context, points, x, height) {
  context.beginPath();
  let previous = null;
  for (const [t, percent] of points) {
    if (percent !== null) {
      const y = height - 3 - (percent / 100) * (height - 6);
      if (previous !== null && t - previous <= GAP_S) context.lineTo(x(t), y);
      else context.moveTo(x(t), y);
    }
    previous = percent === null ? null : t;
  }
  context.strokeStyle = canvasColor("--ink");
  context.globalAlpha = 0.75;
  context.lineWidth = 1.1;
  context.lineJoin = "round";
  context.stroke();
  context.globalAlpha = 1;
}
