// Two to six elements: paired differences, curves and boundaries side by side.
import * as api from "./api.js";
import * as boundary from "./boundary.js";
import * as charts from "./charts.js";
import { empty, estimate, failed, fill, h, metricOf, said, section, select } from "./dom.js";
import * as runs from "./runs.js";

const MOST = 6;

export async function show(page, { parameters }) {
  const list = await api.runs();
  const run = runs.chosen(list, parameters.get("run"));
  if (!run) {
    fill(page, h("h1", {}, "Compare"), runs.none());
    return null;
  }
  runs.remember(run);
  const details = await api.details(run);
  if (!details.arms.length) {
    const pick = runs.picker(list, run, (value) => runs.go("compare", "", { run: value }));
    fill(page, h("h1", {}, "Compare"), h("div", { class: "controls" }, pick), runs.unfit(details));
    return null;
  }
  const known = details.arms.map((a) => a.arm);
  const named = (text) =>
    known.find((a) => a === text) || details.arms.find((a) => a.element === text)?.arm;
  const state = {
    run,
    arms: [...new Set(parameters.getAll("arm").map(named).filter(Boolean))].slice(0, MOST),
    metric: parameters.get("metric") || details.metrics[0]?.name,
    dataset: parameters.get("dataset") || "all",
    trial: parameters.get("trial") || "mean",
  };
  const chips = h("div", { class: "chips" }),
    body = h("div", {});
  const again = () => {
    runs.change("compare", "", {
      run,
      arm: state.arms,
      metric: state.metric,
      dataset: state.dataset,
      trial: state.trial,
    });
    choose(chips, details, state, again);
    body.done = paint(body, details, state);
  };
  const set = (name) => (value) => {
    state[name] = value;
    again();
  };
  fill(
    page,
    h("h1", {}, "Compare"),
    h(
      "div",
      { class: "controls" },
      runs.picker(list, run, (value) => runs.go("compare", "", { run: value, arm: state.arms })),
      select(
        "Dataset",
        [["all", "all together"], ...details.datasets],
        state.dataset,
        set("dataset"),
        { id: "dataset" },
      ),
      select(
        "Metric",
        details.metrics.map((m) => [m.name, m.label]),
        state.metric,
        set("metric"),
        { id: "metric" },
      ),
      select(
        "Trial of the boundaries",
        [["mean", "mean over all"], ...details.trials_stored.map(String)],
        state.trial,
        set("trial"),
        { id: "trial" },
      ),
    ),
    chips,
    body,
  );
  again();
  return null;
}

function choose(place, details, state, again) {
  const input = h("input", {
    list: "arms",
    id: "add",
    placeholder: "sin-3x8",
    autocomplete: "off",
    "aria-label": "Element to add",
  });
  const problem = h("span", { class: "error", role: "alert" });
  const add = (event) => {
    event.preventDefault();
    const text = input.value.trim();
    const found =
      details.arms.find((a) => a.arm === text) || details.arms.find((a) => a.element === text);
    if (!found) problem.textContent = `“${text}” is not in this run: choose one of the list`;
    else if (state.arms.includes(found.arm)) problem.textContent = `${found.arm} is there already`;
    else {
      state.arms.push(found.arm);
      again();
      document.getElementById("add")?.focus();
    }
  };
  fill(
    place,
    state.arms.map((arm) =>
      h(
        "span",
        { class: "chip" },
        h(
          "a",
          {
            href: runs.href("element", details.arms.find((a) => a.arm === arm).element, {
              run: state.run,
              arm,
            }),
          },
          arm,
        ),
        h(
          "button",
          {
            type: "button",
            "aria-label": `Remove ${arm}`,
            onclick: () => {
              state.arms = state.arms.filter((a) => a !== arm);
              again();
            },
          },
          "×",
        ),
      ),
    ),
    state.arms.length < MOST &&
      h(
        "form",
        { class: "row", onsubmit: add },
        input,
        h("button", { type: "submit" }, "Add"),
        problem,
      ),
    h(
      "datalist",
      { id: "arms" },
      details.arms.map((a) => h("option", { value: a.arm })),
    ),
  );
}

async function paint(body, details, state) {
  if (state.arms.length < 2) {
    fill(
      body,
      empty(
        h(
          "p",
          {},
          "Add two to six elements of this run by their symbols, or pick them on the ",
          h("a", { href: runs.href("table", "", { run: state.run }) }, "table"),
          ".",
        ),
      ),
    );
    return;
  }
  const metric = metricOf(details, state.metric);
  const asked = { arm: state.arms, metric: state.metric, dataset: state.dataset };
  const tests = h("div", {}),
    lines = h("div", { class: "charts" });
  const on = state.dataset === "all" ? details.datasets : [state.dataset];
  // A browser asks for six things at a time: the numbers come before the pictures.
  const tested = api.of(state.run, "compare", asked).then(
    (found) => fill(tests, differences(found, metric)),
    (error) => fill(tests, failed(error)),
  );
  const curves = [...new Set([state.metric, "test_accuracy", "test_loss"])].slice(0, 3);
  const drawn = Promise.all(
    state.arms.map((arm) =>
      api.of(state.run, "curves", { arm, dataset: state.dataset, metric: curves }),
    ),
  ).then(
    (found) => fill(lines, overlaid(found, details, state)),
    (error) => fill(lines, failed(error)),
  );
  fill(
    body,
    section("Differences", tests),
    section("Learning curves", lines),
    section(
      "Decision boundaries",
      boundary.legend(),
      on.map((dataset) =>
        h(
          "div",
          {},
          h("h3", {}, dataset),
          h(
            "div",
            { class: "tiles small" },
            state.arms.map((arm) =>
              boundary.tile(arm, () =>
                api.of(state.run, "boundaries", { arm, dataset, trial: state.trial }),
              ),
            ),
          ),
        ),
      ),
    ),
  );
  await Promise.all([tested, drawn]);
}

function differences(found, metric) {
  const means = found.means.map((m) => ({ name: m.arm, estimate: m }));
  const pairs = found.pairs.map((p) => ({
    name: `${p.first} − ${p.second}`,
    estimate: p.difference,
  }));
  const head = ["pair", "difference [95 %]", "p (Holm)", "effect d", "p of equivalence", "verdict"];
  const chance = (p) => (p === null ? "unknown" : p < 0.001 ? "< 0.001" : p.toFixed(3));
  const rows = found.pairs.map((p) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, `${p.first} − ${p.second}`),
      [
        estimate(p.difference, metric, true),
        chance(p.p_holm),
        p.effect === null ? "∞ or unknown" : p.effect.toFixed(2),
        chance(p.p_equivalence),
        p.verdict.replace("first", p.first).replace("second", p.second),
      ].map((t) => h("td", {}, t)),
    ),
  );
  return [
    h(
      "div",
      { class: "charts" },
      charts.forest(`${metric.label}: mean of ${found.trials} trials`, means, metric),
      charts.forest(
        "Paired differences; shaded: the margin of equivalence",
        pairs,
        metric,
        found.margin,
      ),
    ),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        { class: "numbers", id: "pairs" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            head.map((t) => h("th", { scope: "col" }, t)),
          ),
        ),
        h("tbody", {}, rows),
      ),
    ),
    h(
      "p",
      { class: "muted" },
      `Paired t tests over ${found.trials} trials, Holm-corrected over these pairs; equivalence `,
      `by two one-sided tests at ${said(found.margin, metric)}${metric.percent ? " points" : ""}.`,
    ),
  ];
}

function overlaid(found, details, state) {
  const shown = [state.metric, "test_accuracy", "test_loss"]
    .filter((n, i, all) => all.indexOf(n) === i && found.every((f) => n in f.metrics))
    .slice(0, 2);
  return shown.map((name) => {
    const metric = metricOf(details, name);
    const series = found.map((f, index) => ({
      name: f.arm,
      curve: f.metrics[name],
      index,
      at: f.epochs,
    }));
    return charts.curves(`${metric.label}, mean and 95 % band`, found[0].epochs, series, metric);
  });
}
