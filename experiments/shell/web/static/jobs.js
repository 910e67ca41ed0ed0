// Jobs: their cards with live progress and a cancel, and the badge of the navigation.
import * as api from "./api.js";
import { fill, h, when } from "./dom.js";
import * as runs from "./runs.js";

const BUSY = ["queued", "running"];

export const busy = (job) => BUSY.includes(job.state);

/** A card of a job, kept up to date by its `update(job)`: what is focused or open stays so. */
export function card(job) {
  const state = h("span", {}),
    trouble = h("span", { class: "error", role: "alert" });
  const reached = h("div", {}),
    command = h("code", {}, job.command),
    log = h("pre", { class: "log" });
  const cancel = h(
    "button",
    {
      type: "button",
      class: "cancel",
      onclick: async () => {
        cancel.disabled = true;
        cancel.textContent = "Cancelling …";
        try {
          box.update(await api.post(`jobs/${job.job}/cancel`));
        } catch (error) {
          trouble.textContent = error.message;
        }
      },
    },
    "Cancel",
  );
  const box = h(
    "article",
    { "data-job": String(job.job) },
    h(
      "header",
      { class: "row" },
      h("b", {}, `Job ${job.job}: ${job.study}`),
      state,
      cancel,
      trouble,
    ),
    reached,
    h(
      "details",
      {},
      h("summary", {}, "Command and output"),
      command,
      log,
      h("p", { class: "muted" }, `created ${when(job.created)}`),
    ),
  );
  box.update = (now) => {
    box.className = `job ${now.state}`;
    state.className = `state ${now.state}`;
    state.textContent = now.state;
    cancel.hidden = !busy(now);
    log.textContent = now.log.join("\n") || "nothing yet";
    const bars = now.progress.map((run) =>
      h(
        "div",
        {},
        runs.progress(run),
        !run.stored
          ? null
          : run.unit === "rows"
            ? h("a", { href: runs.href("experiments", run.run) }, "its page")
            : h("a", { href: runs.href("table", "", { run: run.run }) }, "its table"),
      ),
    );
    const starting =
      now.state === "running" &&
      !bars.length &&
      h("p", { class: "muted" }, "starting: compiling the networks");
    const failure =
      now.state === "failed" &&
      h("p", { class: "error" }, now.log.filter(Boolean).pop() || "it ended without a word");
    const said = JSON.stringify([now.state, now.progress]);
    if (said !== box.said) fill(reached, bars, starting, failure);
    box.said = said;
    return box;
  };
  return box.update(job);
}

/** Asks for a job until it has ended; `seen(job)` each time. Resolves to the job's last state. */
export async function follow(number, seen, alive) {
  for (;;) {
    if (!alive()) return null;
    const job = await api.get(`jobs/${number}`);
    if (!alive()) return null;
    seen(job);
    if (!busy(job)) return job;
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
}

/** Shows how many jobs are at work, kept up to date while the page is open. */
let timer = null;
export function badge(link) {
  clearInterval(timer);
  const look = async () => {
    if (document.hidden) return;
    try {
      const count = (await api.get("jobs")).filter(busy).length;
      link.hidden = !count;
      fill(link, `${count} at work`);
    } catch {
      link.hidden = true;
    }
  };
  look();
  timer = setInterval(look, 4000);
}
