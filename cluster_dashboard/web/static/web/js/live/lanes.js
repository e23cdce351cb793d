// The GPU list: one row for each GPU with its state, lane and readings, and the legend above them.
import { COSTLY, EventKind, GpuState, JobState } from "../shared/cluster_words.js";
import { typeEntry } from "../shared/colors.js";
import { element, keepRows, setAttribute, setText, setValue } from "../shared/dom.js";
import { clock, duration, fixed, gibibytes, plural, words } from "../shared/format.js";
import { MARKS, drawLane } from "./lane_canvas.js";
import { SPAN_S } from "./store.js";

const list = document.getElementById("lanes");
const legend = document.getElementById("legend");
const empty = document.getElementById("lanes-empty");
// Readings closer than this to the limit are highlighted.
const NEAR_LIMIT_C = 5;

export function renderLanes(store) {
  const gpus = store.snapshot.gpus;
  empty.hidden = gpus.length > 0;
  setText(empty, "No GPU worker has registered yet.");
  keepRows(list, gpus, {
    key: (gpu) => gpu.index,
    create: (gpu) => createRow(gpu.index),
    update: (row, gpu) => updateRow(row, gpu, store),
  });
  renderLegend(store);
}

function createRow(index) {
  const mark = element("span", { className: "mark", attributes: { "aria-hidden": "true" } });
  const word = element("span");
  const state = element("span", { className: "state" }, mark, word);
  const canvas = element("canvas", { attributes: { role: "img" } });
  const fill = element("i");
  const memory = element("div");
  const reading = (name) => element("div", { className: `reading ${name}` });
  const [use, temperature, power] = [reading("use"), reading("temperature"), reading("power")];
  const row = element(
    "li",
    { className: "lane", data: { gpu: index } },
    element("div", { className: "id" }, element("span", { textContent: `GPU ${index}` }), state),
    element("div", { className: "jobs" }, canvas),
    use,
    element("div", { className: "memory" }, element("div", { className: "track", attributes: { "aria-hidden": "true" } }, fill), memory),
    temperature,
    power,
  );
  row.parts = { mark, word, state, canvas, fill, memory, use, temperature, power };
  canvas.addEventListener("pointermove", (event) => setAttribute(canvas, "title", spanUnder(row, event.offsetX)));
  return row;
}

function updateRow(row, gpu, store) {
  const { parts } = row;
  row.lane = store.lane(gpu.index);
  row.now = store.at;
  setAttribute(row, "data-state", gpu.state);
  setAttribute(parts.mark, "data-state", gpu.state);
  setText(parts.word, gpu.state);
  setAttribute(parts.state, "title", [gpu.note, gpu.worker].filter(Boolean).join(" · "));
  drawLane(parts.canvas, row.lane, store.at);
  setAttribute(parts.canvas, "aria-label", laneText(gpu, row.lane));
  setValue(parts.use, fixed(gpu.utilization_percent), "%");
  setMemory(parts, gpu);
  setValue(parts.temperature, fixed(gpu.temperature_c), "°C");
  const near = gpu.state === GpuState.HOT || (gpu.temperature_c ?? 0) > (gpu.temperature_limit_c ?? Infinity) - NEAR_LIMIT_C;
  parts.temperature.classList.toggle("hot", near);
  const limit = fixed(gpu.temperature_limit_c);
  if (gpu.temperature_c !== null && limit !== null) setAttribute(parts.temperature, "title", `above ${limit} °C it takes no job`);
  setValue(parts.power, fixed(gpu.power_w), "W");
}

function setMemory(parts, { memory_used_mib: used, memory_total_mib: total }) {
  parts.fill.style.transform = `scaleX(${used !== null && total ? Math.min(1, used / total) : 0})`;
  const text = used === null ? null : total === null ? gibibytes(used) : `${gibibytes(used)} / ${gibibytes(total)}`;
  setValue(parts.memory, text === null ? null : `${text} GiB`);
}

/** What the lane shows, for screen readers. */
function laneText(gpu, lane) {
  const count = (outcome) => lane.spans.filter((span) => span.outcome === outcome).length;
  return [
    `GPU ${gpu.index}: ${gpu.state}`,
    gpu.note,
    gpu.job ? `runs ${gpu.job.name}, ${words(gpu.job.type)}` : "runs no job",
    `${fixed(gpu.utilization_percent) ?? "unknown"} percent utilisation`,
    `${plural(lane.spans.length, "job")} in 5 minutes, ${count(EventKind.FAILED)} failed, ${count(EventKind.REQUEUED)} requeued`,
  ].filter(Boolean).join(", ");
}

function spanUnder(row, offsetX) {
  const at = row.now - SPAN_S * (1 - offsetX / row.parts.canvas.clientWidth);
  const index = row.lane.spans.findIndex((span, i) => span.started_at <= at && at <= row.lane.endOf(i, row.now));
  if (index === -1) return "";
  const span = row.lane.spans[index];
  const ran = duration(row.lane.endOf(index, row.now) - span.started_at);
  const outcome = span.outcome ?? (span.ended_at === null ? JobState.RUNNING : "");
  return [
    `${span.name} · ${words(span.type)}${span.attempt > 1 ? ` · attempt ${span.attempt}` : ""}`,
    `${clock(span.started_at)}, ${ran}`,
    [words(outcome), words(span.reason)].filter(Boolean).join(": "),
  ].join("\n");
}

function renderLegend(store) {
  const types = store.types().map((type) => ({ key: type }));
  const marks = [...COSTLY].map((outcome) => ({ key: `mark ${outcome}`, label: words(outcome), ...MARKS[outcome] }));
  keepRows(legend, [...types, ...marks], {
    key: (item) => item.key,
    create: (item) => (item.sign ? markEntry(item) : typeEntry(item.key)),
    update: () => {},
  });
}

function markEntry({ sign, color, label }) {
  const mark = element("b", { textContent: `${sign} `, attributes: { "aria-hidden": "true" } });
  mark.style.color = `var(${color})`;
  return element("span", {}, mark, label);
}
