// The six key figures with their sparklines, and the two charts.
import { GpuState } from "../shared/cluster_words.js";
import { largest, lineChart, sparkline } from "./charts.js";
import { setAttribute, setText, setValue } from "../shared/dom.js";
import { duration, durationParts, fixed, plural, rate, words } from "../shared/format.js";

const cards = new Map(
  [...document.querySelectorAll("[data-kpi]")].map((card) => [
    card.dataset.kpi,
    { figure: card.querySelector(".figure"), canvas: card.querySelector("canvas"), sub: card.querySelector(".sub") },
  ]),
);
const orDash = (text) => text ?? "–";

export function renderKpis(store) {
  const { kpi, gpus, queues, point } = store.snapshot;
  const waiting = point.queued;
  const oldest = Object.values(queues).reduce((most, queue) => Math.max(most, queue.oldest_s ?? 0), 0);
  const show = (name, [value, unit], sub, series, color) => {
    const card = cards.get(name);
    setValue(card.figure, value, unit);
    setText(card.sub, sub);
    setAttribute(card.sub, "title", sub);
    sparkline(card.canvas, store.series.t, store.series[series], store.at, color);
  };
  show("utilization", [fixed(kpi.utilization_percent), "%"], stateCounts(kpi, gpus), "utilization_percent", "--accent");
  show("queued", [fixed(waiting), waiting === 1 ? "job" : "jobs"], waitingText(waiting, oldest), "queued", "--accent");
  show("wait", durationParts(kpi.wait_p95_s), `median ${orDash(duration(kpi.wait_p50_s))}`, "wait_p95_s", "--amber");
  show("finished", [perMinute(kpi.finished_per_minute), "/ min"], `arriving ${orDash(perMinute(kpi.arrived_per_minute))} / min`, "finished_per_minute", "--teal");
  show("failed", [fixed(point.failed_percent, 1), "%"], failedText(kpi), "failed_percent", "--bad");
  show("power", power(kpi.power_w), kpi.power_limit_w === null ? "limit unknown" : `of ${power(kpi.power_limit_w).join(" ")} limit`, "power_w", "--ink2");
}

/** One decimal below 100, so that the width of the figure does not change at each tick. */
function perMinute(value) {
  return value !== null && value < 100 ? fixed(value, 1) : rate(value);
}

function power(watts) {
  return watts !== null && watts >= 1000 ? [fixed(watts / 1000, 2), "kW"] : [fixed(watts), "W"];
}

function waitingText(waiting, oldest) {
  if (waiting === null) return "unknown";
  return waiting > 0 ? `oldest ${duration(oldest)}` : "no job is waiting";
}

/** 6 of 8 busy, 1 draining, 1 fault */
function stateCounts(kpi, gpus) {
  const others = Object.values(GpuState)
    .filter((state) => state !== GpuState.BUSY && state !== GpuState.IDLE)
    .map((state) => [gpus.filter((gpu) => gpu.state === state).length, state])
    .filter(([count]) => count > 0)
    .map(([count, state]) => `${count} ${state}`);
  return [`${orDash(kpi.busy)} of ${gpus.length} busy`, ...others].join(", ");
}

function failedText({ failed_last_hour: failed, finished_last_hour: finished, failed_top_reason: top }) {
  if (failed === null || finished === null) return "unknown";
  if (finished === 0) return "no job has finished";
  return `${fixed(failed)} of ${fixed(finished)}${top ? `, most: ${words(top)}` : ""}`;
}

const flow = document.getElementById("flow");
const wait = document.getElementById("wait");
const waitUnit = document.getElementById("wait-unit");

export function renderCharts({ series, at, snapshot }) {
  const { kpi } = snapshot;
  lineChart(flow, series.t, [
    { values: series.arrived_per_minute, color: "--accent" },
    { values: series.finished_per_minute, color: "--teal" },
  ], at);
  setAttribute(flow, "aria-label", `Now ${rate(kpi.arrived_per_minute) ?? "unknown"} jobs arrive and ${rate(kpi.finished_per_minute) ?? "unknown"} finish per minute`);

  const lines = [
    { values: series.wait_p95_s, color: "--amber" },
    { values: series.wait_p50_s, color: "--ink2" },
  ];
  const [unit, name] = waitScale(largest(lines));
  lineChart(wait, series.t, lines, at, unit);
  setText(waitUnit, name);
  setAttribute(wait, "aria-label", `Wait before start now: median ${duration(kpi.wait_p50_s) ?? "unknown"}, 95th percentile ${duration(kpi.wait_p95_s) ?? "unknown"}; ${plural(snapshot.counts.queued ?? 0, "job")} waiting`);
}

function waitScale(most) {
  if (most < 900) return [1, "seconds"];
  return most < 3 * 3600 ? [60, "minutes"] : [3600, "hours"];
}
