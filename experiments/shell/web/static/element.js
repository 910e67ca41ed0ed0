// An element: its boundaries, curves, layers, results and neighbours.
import * as api from "./api.js";
import * as boundary from "./boundary.js";
import { empty, estimate, failed, fill, h, section, select } from "./dom.js";
import * as evolution from "./evolution.js";
import * as runs from "./runs.js";

export async function show(page, { name, parameters }) {
  if (!name) throw new Error("No element is named here: choose one in the table");
  const [list, about] = await Promise.all([
    api.runs(),
    api.get(`elements/${encodeURIComponent(name)}`),
  ]);
  const holding = list.filter((r) => about.runs.includes(r.run) && r.stored);
  const run = runs.chosen(holding, parameters.get("run"));
  const title = h("h1", {}, h("span", { class: "symbol" }, about.symbol), ` ${about.activation}`);
  const facts = h(
    "p",
    { class: "muted" },
    `${about.depth} hidden ${about.depth === 1 ? "layer" : "layers"} of `,
    `${about.widths.join(", ")} units${about.skip ? " with skip connections" : ""} · `,
    `${about.parameters} parameters · ${about.family} · ${about.reference}`,
  );
  if (!run) {
    fill(
      page,
      title,
      facts,
      empty(
        h("p", {}, `No stored run has trained ${about.symbol}.`),
        h(
          "p",
          {},
          h("a", { href: runs.href("lab", "", { symbol: about.symbol }) }, "Train it in the lab"),
          ".",
        ),
      ),
      neighbours(about, null, null),
    );
    return null;
  }
  runs.remember(run);
  const details = await api.details(run);
  const arms = details.arms.filter((a) => a.element === about.symbol);
  if (!arms.length)
    throw new Error(
      `${about.symbol} is not stored in this run yet: its first results are still to come`,
    );
  const asked = parameters.get("arm");
  const state = {
    run,
    arm: arms.some((a) => a.arm === asked) ? asked : arms[0].arm,
    trial: parameters.get("trial") || "mean",
    dataset: parameters.get("dataset") || "all",
  };
  const parts = {
    boundaries: h("div", { class: "tiles" }),
    curves: h("div", { class: "charts" }),
    layers: h("div", { class: "charts" }),
    results: h("div", {}),
  };
  const keep = () =>
    runs.change("element", name, {
      run,
      arm: state.arm === name ? null : state.arm,
      trial: state.trial,
      dataset: state.dataset,
    });
  const trial = trialPicker(details, state, () => {
    keep();
    boundaries(parts.boundaries, details, state);
  });
  const other = (value) => {
    keep();
    evolution.show(parts, details, state);
    return value;
  };
  fill(
    page,
    title,
    facts,
    h(
      "div",
      { class: "controls" },
      runs.picker(holding, run, (value) => runs.go("element", name, { run: value })),
      arms.length > 1 &&
        select(
          "Arm",
          arms.map((a) => [a.arm, armName(a)]),
          state.arm,
          (value) => {
            state.arm = value;
            keep();
            all();
          },
          { id: "arm" },
        ),
      h(
        "a",
        { class: "button", href: runs.href("compare", "", { run, arm: [state.arm] }) },
        "Compare with …",
      ),
    ),
    section("Decision boundaries", trial, boundary.legend(), parts.boundaries),
    section(
      "Learning curves",
      select(
        "Dataset",
        [["all", "all together"], ...details.datasets],
        state.dataset,
        (value) => {
          state.dataset = value;
          other();
        },
        { id: "curves-dataset" },
      ),
      parts.curves,
      parts.layers,
    ),
    section("Results", parts.results),
    neighbours(about, details, run),
  );
  function all() {
    evolution.show(parts, details, state);
    results(parts.results, details, state);
    boundaries(parts.boundaries, details, state);
  }
  all();
  return null;
}

const armName = (a) =>
  Object.entries(a.levels)
    .map(([n, v]) => `${n.replace(/_/g, " ")} ${v || "none"}`)
    .join(", ") || a.arm;

function trialPicker(details, state, again) {
  const trials = ["mean", ...details.trials_stored.map(String)];
  const step = (by) => () => {
    const at = trials.indexOf(state.trial);
    state.trial = trials[(at + by + trials.length) % trials.length];
    list.querySelector("select").value = state.trial;
    again();
  };
  const list = select(
    "Trial",
    trials.map((t) => [t, t === "mean" ? "mean over all" : t]),
    state.trial,
    (v) => {
      state.trial = v;
      again();
    },
    { id: "trial" },
  );
  return h(
    "div",
    { class: "controls" },
    list,
    h("button", { type: "button", onclick: step(-1), "aria-label": "Previous trial" }, "‹"),
    h("button", { type: "button", onclick: step(1), "aria-label": "Next trial" }, "›"),
  );
}

function boundaries(place, details, state) {
  fill(
    place,
    details.datasets.map((dataset) =>
      boundary.tile(dataset, () =>
        api.of(state.run, "boundaries", { arm: state.arm, dataset, trial: state.trial }),
      ),
    ),
  );
}

async function results(place, details, state) {
  try {
    const metrics = details.metrics.slice(0, 8);
    const rows = await api.of(state.run, "summary", {
      arm: state.arm,
      metric: metrics.map((m) => m.name),
    });
    const head = h(
      "tr",
      {},
      h("th", { scope: "col" }, "dataset"),
      metrics.map((m) => h("th", { scope: "col" }, m.label)),
    );
    const lines = rows.map((row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, row.dataset),
        metrics.map((m) => h("td", {}, estimate(row[m.name], m))),
      ),
    );
    fill(
      place,
      h(
        "div",
        { class: "scroll" },
        h("table", { class: "numbers" }, h("thead", {}, head), h("tbody", {}, lines)),
      ),
      h(
        "p",
        {},
        h(
          "a",
          {
            href: runs.href("experiments", state.run, {
              where: [`symbol=${details.arms.find((a) => a.arm === state.arm).element}`],
            }),
          },
          "Every network of it, one by one",
        ),
      ),
    );
  } catch (error) {
    fill(place, failed(error));
  }
}

function neighbours(about, details, run) {
  const here = new Set(details?.elements || []);
  const links = about.neighbours.map(({ how, symbol }) =>
    h(
      "li",
      {},
      h(
        "a",
        {
          href: runs.href("element", symbol, here.has(symbol) ? { run } : {}),
          class: here.has(symbol) ? "" : "absent",
        },
        h("b", {}, symbol),
        h("span", {}, how),
        !here.has(symbol) && h("span", { class: "muted" }, "not in this run"),
      ),
    ),
  );
  return section("Neighbours", h("ul", { class: "neighbours" }, links));
}
