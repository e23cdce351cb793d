// Starts the live page: messages go to the store, and one frame is rendered for the newest snapshot.
import { whenCanvasesResize } from "../shared/canvas.js";
import { forgetColors } from "../shared/colors.js";
import { followControl } from "./controls.js";
import "./faults.js";
import { renderCharts, renderKpis } from "./kpis.js";
import { renderLanes } from "./lanes.js";
import { renderQueue } from "./queue.js";
import "./shortcuts.js";
import { LiveSocket } from "./socket.js";
import { Status } from "./status.js";
import { Store } from "./store.js";
import { renderEvents, renderFinished } from "./tables.js";
import { onThemeChange } from "../shared/theme.js";

// Of the messages that this page understands.
const VERSION = 3;
const store = new Store();
const status = new Status();
let frame = 0;

function receive(message) {
  if (message.version !== VERSION) status.heardOtherVersion();
  else if (message.type === "history") store.mergeHistory(message);
  else if (message.type === "snapshot") receiveSnapshot(message);
  else if (message.type === "unavailable") status.heardUnavailable(message);
  requestRender();
}

function receiveSnapshot(message) {
  store.mergeSnapshot(message);
  status.heardSnapshot(message);
}

/** At most one frame is pending, and none while the tab is hidden. */
function requestRender() {
  if (frame || document.hidden) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    render();
  });
}

function render() {
  status.show();
  if (!store.snapshot) return;
  renderKpis(store);
  renderLanes(store);
  renderCharts(store);
  renderFinished(store.snapshot);
  renderEvents(store.snapshot);
  renderQueue(store.snapshot);
  followControl(store.snapshot.control);
}

whenCanvasesResize(requestRender);
onThemeChange(() => {
  forgetColors();
  requestRender();
});
document.addEventListener("visibilitychange", requestRender);
new LiveSocket(document.body.dataset.live, receive);
