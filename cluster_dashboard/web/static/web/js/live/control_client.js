// Sends changes of the load to PATCH /api/control: one request at a time, the newest change wins.
import { ask } from "../shared/api_client.js";

export class ControlClient {
  #change = null;
  #sending = false;
  #onAnswer;
  #onRefused;

  /** onAnswer: called with the control of the server after the change. onRefused: called with an error message. */
  constructor({ onAnswer, onRefused }) {
    this.#onAnswer = onAnswer;
    this.#onRefused = onRefused;
  }

  get busy() {
    return this.#sending;
  }

  change(patch) {
    const wanted = { ...this.#change, ...patch };
    // A preset sets the rate: only the later of the two counts.
    if ("preset" in patch) delete wanted.rate_per_minute;
    if ("rate_per_minute" in patch) delete wanted.preset;
    this.#change = wanted;
    if (!this.#sending) void this.#send();
  }

  async #send() {
    this.#sending = true;
    while (this.#change) {
      const patch = this.#change;
      this.#change = null;
      const [answer, refusal] = await ask("PATCH", document.body.dataset.control, patch);
      // A newer change overrides this answer.
      if (this.#change) continue;
      this.#sending = false;
      if (refusal) this.#onRefused(refusal);
      else this.#onAnswer(answer);
    }
    this.#sending = false;
  }
}
