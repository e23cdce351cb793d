// Form fields for the parameters of a job type, from their JSON schema. A parameter without a field type is JSON text.
import { element, setAttribute, setText } from "../shared/dom.js";

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 12 });

/** A field for each parameter, with its value in `values` or else its default. */
export function paramFields(schema, values) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, described]) => {
    const kind = kindOf(described, schema);
    const value = Object.hasOwn(values, name) ? values[name] : described.default;
    return paramField(name, described, { ...kind, required: required.has(name) }, value);
  });
}

/** The value to send for a control: [value, null], [undefined, null] to leave it out, or [undefined, error]. */
export function valueIn(control) {
  const { kind, options } = control.dataset;
  const text = control.value;
  if (control.type === "checkbox") return [control.checked, null];
  if (kind === "choice") return [JSON.parse(options)[control.selectedIndex], null];
  if (kind === "text") return [text, null];
  if (text.trim() === "") return [undefined, null];
  if (kind === "optional") return [text, null];
  // A text that is no number is sent unchanged: the error of the API names the accepted values.
  if (kind === "number" || kind === "integer") return [numberOr(text), null];
  try {
    return [JSON.parse(text), null];
  } catch (error) {
    return [undefined, `is not valid JSON: ${error.message}`];
  }
}

export function showError(control, text) {
  setText(document.getElementById(`${control.id}-error`), text);
  if (text) setAttribute(control, "aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

function numberOr(text) {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : text;
}

/** kind: choice, boolean, integer, number, text, optional (text that may be left out) or json; with its schema. */
function kindOf(described, root) {
  const options = described.anyOf ?? [described];
  const some = options.filter((each) => each.type !== "null");
  const mayBeNull = some.length < options.length;
  const only = some.length === 1 ? resolved(some[0], root) : {};
  if (Array.isArray(only.enum)) return { kind: "choice", only, choices: [...(mayBeNull ? [null] : []), ...only.enum] };
  if (only.type === "string") return { kind: mayBeNull ? "optional" : "text", only };
  if (only.type === "boolean") return mayBeNull ? { kind: "choice", only, choices: [null, true, false] } : { kind: "boolean", only };
  if (only.type === "integer" || only.type === "number") return { kind: only.type, only };
  return { kind: "json", only };
}

function resolved(schema, root) {
  const reference = schema.$ref ?? (schema.allOf?.length === 1 ? schema.allOf[0].$ref : undefined);
  return reference ? { ...root.$defs?.[reference.split("/").at(-1)] } : schema;
}

function paramField(name, described, { kind, only, choices, required }, value) {
  const id = `param-${name}`;
  const attributes = { "aria-describedby": `${id}-hint ${id}-error`, ...(required ? { "aria-required": "true" } : {}) };
  const control = controlFor(kind, { id, attributes, data: { kind } }, choices, value, described.default);
  const label = element("label", { htmlFor: id, textContent: name });
  if (kind === "boolean") label.prepend(control);
  return element(
    "div",
    { className: kind === "json" ? "field whole" : kind === "boolean" ? "field check" : "field", data: { field: `params.${name}` } },
    label,
    ...(kind === "boolean" ? [] : [control]),
    element("p", { className: "hint", id: `${id}-hint`, textContent: hint(described, only, kind, required) }),
    element("p", { className: "error", id: `${id}-error` }),
  );
}

function controlFor(kind, { data, ...common }, choices, value, standard) {
  if (kind === "choice") {
    const select = element("select", { ...common, data: { ...data, options: JSON.stringify(choices) } }, ...choices.map((each) => element("option", { textContent: each === null ? "none" : String(each) })));
    select.selectedIndex = Math.max(0, choices.indexOf(value ?? null));
    return select;
  }
  if (kind === "boolean") return element("input", { type: "checkbox", checked: value === true, ...common, data });
  const text = value === undefined || value === null ? "" : kind === "json" ? JSON.stringify(value, null, 1) : String(value);
  const shared = { value: text, autocomplete: "off", spellcheck: false, ...common, data };
  if (kind === "json") return element("textarea", { rows: 3, ...shared });
  const inputMode = kind === "integer" ? "numeric" : kind === "number" ? "decimal" : "text";
  const placeholder = kind === "text" || standard === undefined || standard === null ? "" : String(standard);
  return element("input", { type: "text", inputMode, placeholder, ...shared });
}

function hint(described, only, kind, required) {
  const said = [described.description ?? only.description, range({ ...only, ...described })];
  if (kind === "json") said.push(described.default === undefined && !required ? "as JSON; left empty: the default" : "as JSON");
  if (required) said.push("required");
  return said.filter(Boolean).join(" · ");
}

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum !== undefined ? `${number.format(minimum)} or more` : exclusiveMinimum !== undefined ? `above ${number.format(exclusiveMinimum)}` : "";
  const high = maximum !== undefined ? `${number.format(maximum)} at most` : exclusiveMaximum !== undefined ? `below ${number.format(exclusiveMaximum)}` : "";
  if (minimum !== undefined && maximum !== undefined) return `${number.format(minimum)} to ${number.format(maximum)}`;
  return [low, high].filter(Boolean).join(", ");
}
