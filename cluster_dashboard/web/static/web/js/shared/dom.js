// Creates and updates elements. Data enter as text or attribute only, never as HTML.

/** An element with properties, `data` and `attributes`, and its children (nodes or text). */
export function element(tag, { data = {}, attributes = {}, ...properties } = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties);
  Object.assign(node.dataset, data);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Writes only a changed text, so that a selection or a screen reader is not disturbed twice a second. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** A value with its unit; null is shown as a dash with the title "unknown". */
export function setValue(node, value, unit = "") {
  const shown = `${value}|${unit}`;
  if (node.shownValue === shown) return;
  node.shownValue = shown;
  if (value === null) node.replaceChildren(element("abbr", { title: "unknown", textContent: "–" }));
  else node.replaceChildren(unit ? `${value}\u202f` : value, ...(unit ? [element("small", { textContent: unit })] : []));
}

/** Makes `parent` hold one row for each item, in order; rows of items that remain are kept. */
export function keepRows(parent, items, { key, create, update }) {
  parent.rowsByKey ??= new Map();
  const rows = parent.rowsByKey;
  const wanted = new Set(items.map((item) => String(key(item))));
  for (const [name, row] of rows) {
    if (wanted.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  items.forEach((item, position) => {
    const name = String(key(item));
    if (!rows.has(name)) rows.set(name, create(item));
    const row = rows.get(name);
    if (parent.children[position] !== row) parent.insertBefore(row, parent.children[position] ?? null);
    update(row, item);
  });
}
