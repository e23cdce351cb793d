// The form that submits jobs: fields from the parameters of the job type, errors from the API beside their fields.
import { ask } from "../shared/api_client.js";
import { element, setText } from "../shared/dom.js";
import { paramFields, showError, valueIn } from "./param_fields.js";
import "../shared/theme.js";

const byId = (id) => document.getElementById(id);
const { jobs: jobsUrl, types: typesUrl } = document.body.dataset;
const [form, type, params, refusal] = ["submit", "type", "params", "refusal"].map(byId);
const button = form.querySelector("[type=submit]");
const types = new Map();
/** The last request and its idempotency key: sent again after an error, it submits no second job. */
let sent = { body: "", key: "" };

async function start() {
  const [answer, problem] = await ask("GET", typesUrl);
  if (problem) {
    setText(byId("params-empty"), "");
    setText(refusal, problem);
    return;
  }
  for (const each of answer.job_types) types.set(each.name, each);
  type.replaceChildren(...[...types.keys()].map((name) => element("option", { textContent: name })));
  const query = new URLSearchParams(location.search);
  if (types.has(query.get("type"))) type.value = query.get("type");
  await fillFrom(query.get("from"));
  type.disabled = button.disabled = false;
}

/** Fills the form with the values of an earlier job, for "Change and run again". */
async function fillFrom(id) {
  if (!/^\d+$/.test(id ?? "")) return showType({});
  const [job, problem] = await ask("GET", `${jobsUrl}/${id}`);
  if (problem || !types.has(job.type)) {
    setText(refusal, problem ?? `Job ${id} has the type ${job.type}, which is no longer known.`);
    return showType({});
  }
  setText(byId("from"), `with the values of job ${job.id}`);
  type.value = job.type;
  for (const name of ["priority", "time_limit_seconds", "max_failures"]) byId(name).value = String(job[name]);
  byId("accepts_faults").checked = job.accepts_faults;
  return showType(job.params);
}

function showType(values) {
  const chosen = types.get(type.value);
  setText(byId("type-hint"), chosen.summary);
  const fields = paramFields(chosen.params_schema, values);
  params.replaceChildren(...(fields.length > 0 ? fields : [element("p", { className: "quiet", textContent: "This job type has no parameters." })]));
}

function controls() {
  return [...form.querySelectorAll("[data-field]")].map((field) => [field.dataset.field, field.querySelector("input, select, textarea")]);
}

/** The body of POST /api/jobs, or null with the errors shown. */
function readForm() {
  const body = { type: type.value, priority: byId("priority").value, params: {} };
  const errors = [];
  for (const [field, control] of controls()) {
    if (field in body) continue;
    const [value, wrong] = valueIn(control);
    if (wrong) errors.push({ field, message: wrong });
    const name = field.startsWith("params.") ? field.slice("params.".length) : null;
    if (value !== undefined) (name === null ? body : body.params)[name ?? field] = value;
  }
  showErrors(errors);
  return errors.length > 0 ? null : body;
}

/** Shows each error beside the field that it names or that contains it; the others above the form. */
function showErrors(errors) {
  const found = new Map(controls());
  for (const control of found.values()) showError(control, "");
  const rest = [];
  let first = null;
  for (const { field, message } of errors) {
    const owner = [...found.keys()].find((name) => field === name || field.startsWith(`${name}.`));
    if (!owner) rest.push(`${field}: ${message}`);
    else {
      const control = found.get(owner);
      showError(control, field === owner ? message : `${field.slice(owner.length + 1)}: ${message}`);
      first ??= control;
    }
  }
  first?.focus();
  setText(refusal, rest.join("; "));
}

async function submit(event) {
  event.preventDefault();
  const body = readForm();
  if (body === null) return;
  const text = JSON.stringify(body);
  if (sent.body !== text) sent = { body: text, key: newKey() };
  button.disabled = true;
  const [answer, problem, details] = await ask("POST", jobsUrl, body, { "Idempotency-Key": sent.key });
  button.disabled = false;
  if (problem === null) {
    sent = { body: "", key: "" };
    location.assign(answer.ids.length === 1 ? `/jobs/${Number(answer.ids[0])}` : "/jobs");
    return;
  }
  const errors = details?.errors ?? [];
  if (errors.length > 0) showErrors(errors);
  else setText(refusal, problem);
}

/** Not randomUUID, which browsers do not offer to pages without TLS. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

type.addEventListener("change", () => {
  showErrors([]);
  showType({});
});
form.addEventListener("submit", submit);
start();
