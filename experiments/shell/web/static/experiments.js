// All runs: in progress, finished; of each its findings, figures and rows.
import * as api from "./api.js";
import { duration, empty, fill, h, section, when } from "./dom.js";
import * as jobs from "./jobs.js";
import * as run from "./run.js";
import * as runs from "./runs.js";

export async function show(page, { name, parameters, alive }) {
  return name ? run.show(page, name, parameters, alive) : all(page, alive);
}

async function all(page, alive) {
  const own = h("div", {}),
    others = h("div", {}),
    work = h("div", { id: "work" }, own, others),
    known = new Map();
  const table = h("div", { id: "runs" });
  const state = { text: "", sort: "started", descending: true, list: [] };
  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: "study, dataset, protocol, status",
    oninput: () => {
      state.text = search.value;
      paint();
    },
  });
  const paint = () => fill(table, state.list.length ? listed(state, paint) : runs.none());
  const look = async () => {
    const [list, queue] = await Promise.all([api.runs(), api.get("jobs")]);
    if (!alive()) return;
    const elsewhere = list.filter((r) => r.status === "running" && !r.job);
    const cards = [...queue.filter(jobs.busy), ...queue.filter((j) => !jobs.busy(j)).slice(0, 3)];
    const shown = cards.map((job) => {
      if (known.has(job.job)) return known.get(job.job).update(job);
      known.set(job.job, jobs.card(job));
      return known.get(job.job);
    });
    if (String([...own.children].map((c) => c.dataset.job)) !== String(cards.map((j) => j.job)))
      fill(own, shown);
    fill(
      others,
      elsewhere.map(foreign),
      !cards.length &&
        !elsewhere.length &&
        h(
          "p",
          { class: "muted" },
          "Nothing is being trained. Start something in the ",
          h("a", { href: "#/lab" }, "lab"),
          ".",
        ),
    );
    if (JSON.stringify(list) !== JSON.stringify(state.list)) {
      state.list = list;
      paint();
    }
  };
  fill(
    page,
    h("h1", {}, "Experiments"),
    section("Jobs", work),
    section("Runs", h("label", { class: "field" }, h("span", {}, "Search"), search), table),
  );
  await look();
  const timer = setInterval(() => look().catch(() => {}), 1500);
  return () => clearInterval(timer);
}

function foreign(run) {
  return h(
    "article",
    { class: "job running" },
    h(
      "header",
      { class: "row" },
      h("b", {}, run.title),
      h("span", { class: "state running" }, "running"),
    ),
    runs.progress(run),
    h(
      "p",
      { class: "muted" },
      `Started elsewhere (process ${run.writer ?? "unknown"}): cancel it there with Ctrl-C. `,
      h("a", { href: runs.href("table", "", { run: run.run }) }, "Its table so far"),
    ),
  );
}

const COLUMNS = [
  ["title", "study"],
  ["status", "status"],
  ["stored", "stored"],
  ["trials", "trials"],
  ["epochs", "epochs"],
  ["protocol", "protocol"],
  ["seconds", "took"],
  ["started", "started"],
];

function listed(state, paint) {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (r) =>
    [r.run, r.title, r.status, r.protocol, ...(r.datasets || [])].join(" ").toLowerCase();
  const rows = state.list.filter((r) => words.every((w) => text(r).includes(w)));
  const sign = state.descending ? -1 : 1;
  rows.sort((a, b) => {
    const [u, v] = [a[state.sort] ?? "", b[state.sort] ?? ""];
    return sign * (u < v ? -1 : u > v ? 1 : 0);
  });
  if (!rows.length) return empty(h("p", {}, `No run holds “${state.text}”.`));
  const head = COLUMNS.map(([key, title]) =>
    h(
      "th",
      {
        scope: "col",
        "aria-sort": state.sort !== key ? null : state.descending ? "descending" : "ascending",
      },
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            state.descending = state.sort === key ? !state.descending : false;
            state.sort = key;
            paint();
          },
        },
        title,
        state.sort === key ? (state.descending ? " ▾" : " ▴") : "",
      ),
    ),
  );
  const lines = rows.map((r) =>
    h(
      "tr",
      { "data-run": r.run },
      h(
        "th",
        { scope: "row" },
        h("a", { href: runs.href("experiments", r.run) }, r.title),
        h("small", {}, r.run.split("-").pop()),
      ),
      r.status === "unreadable"
        ? h("td", { colspan: "7", class: "error" }, r.error)
        : [
            r.status,
            r.size && r.status !== "finished"
              ? `${r.stored} of ${r.size}`
              : r.stored.toLocaleString("en"),
            r.trials,
            r.epochs,
            r.protocol,
            duration(r.seconds),
            when(r.started),
          ].map((t) => h("td", {}, t === null || t === undefined ? "" : String(t))),
    ),
  );
  return h(
    "div",
    { class: "scroll" },
    h("table", { class: "numbers" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, lines)),
  );
}
