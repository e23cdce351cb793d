// Dark or light: follows the system until the reader chooses, and remembers the choice.
const KEY = "gpu-cluster-theme";
const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const button = document.getElementById("theme");
const listeners = [];

const systemTheme = () => (system.matches ? "dark" : "light");
const shownTheme = () => root.dataset.theme ?? systemTheme();

export function onThemeChange(listener) {
  listeners.push(listener);
}

export function switchTheme() {
  const wanted = shownTheme() === "dark" ? "light" : "dark";
  // The system's own theme is not stored: the page then follows the system again.
  const chosen = wanted === systemTheme() ? null : wanted;
  if (chosen) root.dataset.theme = chosen;
  else delete root.dataset.theme;
  remember(chosen);
  changed();
}

function remember(chosen) {
  try {
    if (chosen) localStorage.setItem(KEY, chosen);
    else localStorage.removeItem(KEY);
  } catch {
    // Storage is forbidden in this browser: the choice holds until the page is left.
  }
}

function changed() {
  button?.setAttribute("aria-label", `Theme: switch to ${shownTheme() === "dark" ? "light" : "dark"}`);
  for (const listener of listeners) listener();
}

button?.addEventListener("click", switchTheme);
system.addEventListener("change", changed);
changed();
