// The faults panel: injects a fault on one GPU, by POST /api/gpus/N/faults. Rendered only for users with the permission.
import { ask } from "../shared/api_client.js";
import { setText } from "../shared/dom.js";

const form = document.getElementById("faults");

async function inject(event) {
  event.preventDefault();
  const [gpu, kind, said] = ["fault-gpu", "fault-kind", "fault-said"].map((id) => document.getElementById(id));
  const button = form.querySelector("button");
  button.disabled = true;
  const [answer, refusal] = await ask("POST", `/api/gpus/${gpu.value}/faults`, { kind: kind.value });
  button.disabled = false;
  said.classList.toggle("bad", refusal !== null);
  setText(said, refusal ?? `GPU ${answer.gpu}: ${answer.label}`);
}

if (form) {
  form.addEventListener("submit", inject);
  // Disabled in the template: without this script the browser itself would submit the form.
  form.querySelector("button").disabled = false;
}
