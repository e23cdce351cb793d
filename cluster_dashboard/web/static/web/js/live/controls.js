// The load panel: presets, rate slider, pause. Follows the server unless the slider is being moved.
import { ControlClient } from "./control_client.js";
import { setText, setValue } from "../shared/dom.js";
import { rate as rateText } from "../shared/format.js";

const SEND_EVERY_MS = 250;
// For this time after a change, snapshots from before it may still arrive.
const SETTLE_MS = 1500;

const byId = (id) => document.getElementById(id);
const slider = byId("rate");
const STEPS = Number(slider.max);
const [LOWEST, HIGHEST] = [slider.dataset.lowest, slider.dataset.highest].map(Number);
const shown = byId("rate-shown");
const pause = byId("pause");
const pausedNote = byId("paused-note");
const error = byId("load-error");
const presets = [...document.querySelectorAll("#presets input")];
export const mayControl = document.body.dataset.staff === "true";

let control = null;
let held = false;
let settledAt = 0;
let sendTimer = 0;
const client = new ControlClient({ onAnswer: answered, onRefused: refused });

/** Shows the control of a snapshot, unless a change from this page is not yet in it. */
export function followControl(server) {
  const settling = performance.now() < settledAt && Object.keys(control).some((name) => control[name] !== server[name]);
  if (held || client.busy || sendTimer || settling) return;
  control = server;
  show(server);
}

function show({ rate_per_minute: rate, preset, paused }) {
  showRate(rate);
  // The slider is not moved if its position already means the server's rate: rounding would shift it.
  if (rateAt(slider.valueAsNumber) !== rate) slider.value = String(positionOf(rate));
  for (const input of presets) input.checked = input.value === preset;
  setText(pause, paused ? "Resume arrivals" : "Pause arrivals");
  pausedNote.hidden = !paused;
}

function showRate(rate) {
  const text = rateText(rate);
  setValue(shown, text, "jobs / min");
  slider.setAttribute("aria-valuetext", `${text ?? "unknown"} jobs per minute`);
}

/** The rate at a position of the slider, rounded as shown. */
function rateAt(position) {
  const rate = LOWEST * (HIGHEST / LOWEST) ** (position / STEPS);
  const digits = rate < 1 ? 2 : rate < 10 ? 1 : 0;
  return Number(rate.toFixed(digits));
}

/** Rates above the slider's maximum (load tests) are shown at its maximum. */
function positionOf(rate) {
  const share = Math.log(Math.max(rate, LOWEST) / LOWEST) / Math.log(HIGHEST / LOWEST);
  return Math.min(STEPS, Math.round(share * STEPS));
}

function change(patch) {
  clearTimeout(sendTimer);
  sendTimer = 0;
  setText(error, "");
  client.change(patch);
}

function answered(server) {
  control = { rate_per_minute: server.rate_per_minute, preset: server.preset, paused: server.paused };
  settledAt = performance.now() + SETTLE_MS;
  if (!held) show(control);
}

function refused(text) {
  setText(error, text);
  if (control && !held) show(control);
}

export function togglePause() {
  if (mayControl && control) change({ paused: !control.paused });
}

export function choosePreset(position) {
  if (!mayControl || !presets[position]) return;
  presets[position].checked = true;
  change({ preset: presets[position].value });
}

slider.addEventListener("input", () => {
  for (const input of presets) input.checked = false;
  showRate(rateAt(slider.valueAsNumber));
  sendTimer ||= setTimeout(() => change({ rate_per_minute: rateAt(slider.valueAsNumber) }), SEND_EVERY_MS);
});
slider.addEventListener("change", () => change({ rate_per_minute: rateAt(slider.valueAsNumber) }));
slider.addEventListener("pointerdown", () => (held = true));
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => (held = false));
pause.addEventListener("click", togglePause);
for (const [position, input] of presets.entries()) input.addEventListener("change", () => choosePreset(position));
