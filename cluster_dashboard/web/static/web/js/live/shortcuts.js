// Keyboard shortcuts and the dialog that lists them; they can be switched off there.
import { choosePreset, togglePause } from "./controls.js";
import { switchTheme } from "../shared/theme.js";

const KEY = "gpu-cluster-shortcuts";
const dialog = document.getElementById("shortcuts");
const on = document.getElementById("shortcuts-on");

try {
  on.checked = localStorage.getItem(KEY) !== "off";
} catch {
  on.checked = true; // storage is forbidden: the default applies
}
on.addEventListener("change", () => {
  try {
    localStorage.setItem(KEY, on.checked ? "on" : "off");
  } catch {
    // Storage is forbidden in this browser: the choice holds until the page is left.
  }
});

document.getElementById("help").addEventListener("click", () => dialog.showModal());
document.addEventListener("keydown", (event) => {
  if (!on.checked || dialog.open || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const act = actionOf(event.key);
  if (!act) return;
  event.preventDefault();
  act();
});

function actionOf(key) {
  if (key === "?") return () => dialog.showModal();
  if (key === "t") return switchTheme;
  if (key === "p") return togglePause;
  return /^[1-9]$/.test(key) ? () => choosePreset(Number(key) - 1) : null;
}

function isTyping(target) {
  return target.matches?.("input:not([type=radio], [type=range]), textarea, select, [contenteditable]");
}
