// Sends changes of the load to PATCH /api/control: one request at a time, the newest wish wins.

export class ControlClient {
  #wish = null;
  #sending = false;
  #onAnswer;
  #onRefused;

  /** onAnswer: called with the control as the server now has it. onRefused: with a text for people. */
  constructor({ onAnswer, onRefused }) {
    this.#onAnswer = onAnswer;
    this.#onRefused = onRefused;
  }

  get busy() {
    return this.#sending;
  }

  change(patch) {
    const wish = { ...this.#wish, ...patch };
    // A preset is a rate too: only the later one of the two counts.
    if ("preset" in patch) delete wish.rate_per_minute;
    if ("rate_per_minute" in patch) delete wish.preset;
    this.#wish = wish;
    if (!this.#sending) void this.#send();
  }

  async #send() {
    this.#sending = true;
    while (this.#wish) {
      const patch = this.#wish;
      this.#wish = null;
      const [answer, refusal] = await request(patch);
      // A wish that came meanwhile overrides what this answer says.
      if (this.#wish) continue;
      this.#sending = false;
      if (refusal) this.#onRefused(refusal);
      else this.#onAnswer(answer);
    }
    this.#sending = false;
  }
}

async function request(patch) {
  try {
    const response = await fetch(document.body.dataset.control, {
      method: "PATCH",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrfToken() },
      credentials: "same-origin",
      body: JSON.stringify(patch),
    });
    return response.ok ? [await response.json(), null] : [null, await refusalText(response)];
  } catch {
    return [null, "The server was not reached: the change may not have been made."];
  }
}

/** The cookie first: signing in again in another tab makes the token in this page worthless. */
function csrfToken() {
  const name = `${document.body.dataset.csrfCookie}=`;
  const cookie = document.cookie.split("; ").find((each) => each.startsWith(name));
  return cookie ? cookie.slice(name.length) : document.body.dataset.csrf;
}

async function refusalText(response) {
  if (response.status === 401 || response.status === 403) return "You are no longer signed in as staff. Reload the page and sign in.";
  const problem = await response.json().catch(() => ({}));
  const fields = (problem.errors ?? []).map(({ field, message }) => `${field}: ${message}`);
  return fields.join("; ") || problem.detail || problem.title || `The server refused the change (${response.status}).`;
}
