// The list of dead letters: polls the API while the tab is visible, and drops one letter or all.
// The content of a letter is not trusted: it enters the page as text only.
import { ask } from "../shared/api_client.js";
import { element, keepRows, setAttribute, setText } from "../shared/dom.js";
import { clock, fixed, moment, parseTime, plural } from "../shared/format.js";
import "../shared/theme.js";

const EVERY_MS = 5_000;
const LIMIT = 50;
const byId = (id) => document.getElementById(id);
const { letters: url, staff } = document.body.dataset;
const offset = Math.max(0, Math.trunc(Number(new URLSearchParams(location.search).get("offset"))) || 0);
const dropAll = byId("drop-all");
const sure = byId("sure");
let timer = 0;

async function load() {
  clearTimeout(timer);
  const [page, refusal] = await ask("GET", `${url}?limit=${LIMIT}&offset=${offset}`);
  setText(byId("letters-error"), refusal ?? "");
  setAttribute(byId("connection"), "data-state", refusal ? "stale" : "live");
  setText(byId("connection-state"), refusal ? "No response" : "Live");
  setText(byId("connection-detail"), refusal ? "" : ` · ${clock(Date.now() / 1000)}`);
  if (refusal) setText(byId("letters-empty"), "Nothing to show.");
  else show(page);
  if (!document.hidden) timer = setTimeout(load, EVERY_MS);
}

function show({ dead_letters: letters, kept, total, next_offset: next }) {
  setText(byId("letters-shown"), kept > 0 ? `${fixed(kept)} kept of ${fixed(total)}, newest first` : `${fixed(total)} so far`);
  byId("letters-empty").hidden = letters.length > 0;
  setText(byId("letters-empty"), offset > 0 ? "No more dead letters." : "There are no dead letters.");
  if (dropAll) dropAll.hidden = kept === 0;
  byId("newest").hidden = offset === 0;
  byId("older").hidden = next === null;
  setAttribute(byId("older"), "href", `/dead-letters?offset=${Number(next)}`);
  keepRows(byId("letters"), letters, { key: (letter) => letter.id, create: createLetter, update: () => {} });
}

function createLetter(letter) {
  const drop = element("button", { className: "button", type: "button", textContent: "Drop", attributes: { "aria-label": `Drop letter ${letter.id}` } });
  drop.addEventListener("click", () => remove(`${url}/${encodeURIComponent(letter.id)}`, drop));
  const cut = letter.is_whole ? "Content" : "Content (truncated)";
  return element(
    "li",
    {},
    element(
      "div",
      { className: "letter-head" },
      element("span", { className: "wrong", textContent: letter.reason }),
      element("span", { className: "about", textContent: `queue ${letter.queue || "unknown"} · ${plural(letter.size, "byte")}` }),
      element("time", { dateTime: letter.at, textContent: moment(parseTime(letter.at)) }),
      ...(staff === "true" ? [drop] : []),
    ),
    element("details", {}, element("summary", { textContent: cut }), element("pre", { textContent: letter.content, tabIndex: 0, attributes: { role: "region", "aria-label": `Content of letter ${letter.id}` } })),
  );
}

async function remove(path, button) {
  button.disabled = true;
  const [, refusal] = await ask("DELETE", path);
  button.disabled = false;
  await load();
  if (refusal) setText(byId("letters-error"), refusal);
}

dropAll?.addEventListener("click", () => {
  sure.returnValue = "";
  sure.showModal();
});
sure?.addEventListener("close", () => sure.returnValue === "drop" && remove(url, dropAll));
document.addEventListener("visibilitychange", () => !document.hidden && load());
load();
