// The filters of the list: in the URL, with the names of the API, and in the form.
import { words } from "../shared/format.js";

const TIMES = ["since", "until"];
const form = document.getElementById("filters");
const TEXTS = { gpu: (index) => `GPU ${index}`, owner: (name) => name };
for (const option of form.querySelectorAll("option:not([value=''])")) option.textContent = (TEXTS[option.parentElement.name] ?? words)(option.value);

// On a small screen they are folded, unless the URL has some.
const fold = document.getElementById("fold");
const small = matchMedia("(max-width: 640px)");
const unfold = () => (fold.open = !small.matches || [...wanted().keys()].some((name) => name !== "before"));
small.addEventListener("change", unfold);
unfold();

/** The filters in the URL, as URLSearchParams. */
export function wanted() {
  return new URLSearchParams([...new URLSearchParams(location.search)].filter(([, value]) => value !== ""));
}

/** Fills the form from the URL; a value that the form does not offer (a removed job type) is added. */
export function showInForm() {
  const filters = wanted();
  for (const field of form.elements) {
    if (!field.name) continue;
    const value = filters.get(field.name) ?? "";
    if (field.tagName === "SELECT" && value && ![...field.options].some((option) => option.value === value)) field.add(new Option(value, value));
    field.value = TIMES.includes(field.name) ? localTime(value) : value;
    field.classList.toggle("set", value !== "");
  }
}

/** listener: called when the filters have changed, after the URL. */
export function whenChanged(listener) {
  const change = (filters) => {
    history.pushState(null, "", filters.size > 0 ? `?${filters}` : location.pathname);
    showInForm();
    listener();
  };
  form.addEventListener("change", (event) => event.target.name !== "name" && change(fromForm()));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = form.elements.name.value.trim();
    if (/^[1-9]\d{0,18}$/.test(text)) location.assign(`/jobs/${text}`);
    else change(fromForm());
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    change(new URLSearchParams());
  });
  for (const id of ["older", "newest"]) {
    document.getElementById(id).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      change(new URLSearchParams(new URL(event.currentTarget.href).search));
      scrollTo(0, 0);
    });
  }
  addEventListener("popstate", () => {
    showInForm();
    listener();
  });
}

/** Without `before`: changed filters start at the newest job. */
function fromForm() {
  const filters = new URLSearchParams();
  for (const { name, value } of form.elements) {
    if (!name || !value.trim()) continue;
    filters.set(name, TIMES.includes(name) ? new Date(value).toISOString() : value.trim());
  }
  return filters;
}

function localTime(iso) {
  const at = new Date(iso);
  if (!iso || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
