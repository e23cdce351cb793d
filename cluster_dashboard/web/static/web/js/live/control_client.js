// Sends changes of the load to PATCH /api/control: one request at a time, the newest wish wins.
import { ask } from "../shared/api_client.js";

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
      const [answer, refusal] = await ask("PATCH", document.body.dataset.control, patch);
      // A wish that came meanwhile overrides what this answer says.
      if (this.#wish) continue;
      this.#sending = false;
      if (refusal) this.#onRefused(refusal);
      else this.#onAnswer(answer);
    }
    this.#sending = false;
  }
}
