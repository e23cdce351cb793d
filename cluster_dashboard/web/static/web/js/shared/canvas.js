// Canvases in the size of their box and the pixels of the screen, measured outside of rendering.
const sizes = new WeakMap();
let onResize = () => {};

const observer = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) sizes.set(target, [contentRect.width, contentRect.height]);
  onResize();
});

export function whenCanvasesResize(listener) {
  onResize = listener;
}

/** Clears the canvas and returns [context, width, height] in CSS pixels; null while the canvas is not shown. */
export function begin(canvas) {
  if (!sizes.has(canvas)) {
    const box = canvas.getBoundingClientRect();
    sizes.set(canvas, [box.width, box.height]);
    observer.observe(canvas);
  }
  const [width, height] = sizes.get(canvas);
  if (width < 1 || height < 1) return null;
  const scale = devicePixelRatio || 1;
  const [pixelsWide, pixelsHigh] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) {
    canvas.width = pixelsWide;
    canvas.height = pixelsHigh;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return [context, width, height];
}

const style = getComputedStyle(document.documentElement);
export const FONT = style.getPropertyValue("--font").trim();
export const MONO = style.getPropertyValue("--mono").trim();
