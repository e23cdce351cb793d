// Colours of job types, with the swatch that shows one, and CSS colours of the current theme for a canvas.
import { element } from "./dom.js";
import { words } from "./format.js";

const style = getComputedStyle(document.documentElement);
const resolved = new Map();
const probe = document.createElement("i");
probe.hidden = true;
document.body.append(probe);

/** The CSS colour of a job type: the stylesheet's token where it has one, else one computed from the name. */
export function typeColor(type) {
  if (style.getPropertyValue(`--t-${type}`)) return `var(--t-${type})`;
  // Greens and pinks: blue, amber and red already have a meaning on this page.
  const free = hash(type) % 180;
  const hue = free < 120 ? 65 + free : 290 + (free - 120);
  return `light-dark(hsl(${hue} 55% 40%), hsl(${hue} 55% 64%))`;
}

/** A swatch with the type's name. */
export function typeEntry(type) {
  const swatch = element("i", { attributes: { "aria-hidden": "true" } });
  swatch.style.background = typeColor(type);
  return element("span", { className: "swatch" }, swatch, words(type));
}

/** A CSS colour (or "--token") as a canvas expects it. */
export function canvasColor(color) {
  if (!resolved.has(color)) {
    probe.style.color = color.startsWith("--") ? `var(${color})` : color;
    resolved.set(color, getComputedStyle(probe).color);
  }
  return resolved.get(color);
}

/** Must be called when the theme changes. */
export function forgetColors() {
  resolved.clear();
}

/** FNV-1a, mixed once more, so that the hues of similar names differ. */
function hash(text) {
  let value = 2166136261;
  for (const char of text) value = Math.imul(value ^ char.codePointAt(0), 16777619);
  value = Math.imul(value ^ (value >>> 15), 2246822519);
  return (value ^ (value >>> 13)) >>> 0;
}
