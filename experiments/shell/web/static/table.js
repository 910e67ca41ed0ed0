// The periodic table of a run: colour by any metric, interval on hover, click to the element.
import * as api from "./api.js";
import { preload } from "./charts.js";
import { cividis, css, gradient, ink } from "./colours.js";
import { estimate, failed, fill, h, metricOf, said, select, tip } from "./dom.js";
import * as runs from "./runs.js";

const MOST_PICKED = 6;

export async function show(page, { parameters, alive }) {
  const list = await api.runs();
  const run = runs.chosen(list, parameters.get("run"));
  if (!run) {
    fill(page, h("h1", {}, "Periodic table"), runs.none());
    return null;
  }
  runs.remember(run);
  const details = await api.details(run);
  if (!details.arms.length) return unfit(page, list, run, details, alive);
  const state = {
    run,
    metric: parameters.get("metric") || details.metrics[0]?.name,
    dataset: parameters.get("dataset") || "all",
    picked: [],
    picking: false,
  };
  const grid = h("div", { id: "grid" }),
    tray = h("div", { class: "tray", hidden: true });
  const live = h("div", {});
  const again = () => {
    runs.change("table", "", { run, metric: state.metric, dataset: state.dataset });
    return paint(grid, tray, details, state);
  };
  const set = (name) => (value) => {
    state[name] = value;
    again();
  };
  const pick = h(
    "button",
    {
      type: "button",
      id: "pick",
      "aria-pressed": "false",
      onclick: () => {
        state.picking = !state.picking;
        pick.setAttribute("aria-pressed", String(state.picking));
        if (!state.picking) state.picked = [];
        picks(grid, tray, state);
      },
    },
    "Pick to compare",
  );
  fill(
    page,
    h("h1", {}, "Periodic table"),
    h("p", { class: "muted" }, details.question || details.title),
    h(
      "div",
      { class: "controls" },
      runs.picker(list, run, (value) => runs.go("table", "", { run: value })),
      select(
        "Dataset",
        [["all", "all together"], ...details.datasets],
        state.dataset,
        set("dataset"),
        { id: "dataset" },
      ),
      select(
        "Colour by",
        details.metrics.map((m) => [m.name, m.label]),
        state.metric,
        set("metric"),
        { id: "metric" },
      ),
      pick,
    ),
    live,
    grid,
    tray,
  );
  await again();
  preload();
  const status = list.find((r) => r.run === run);
  if (status.status !== "running") return null;
  fill(live, runs.progress(status));
  const timer = setInterval(async () => {
    if (!alive()) return;
    try {
      const now = (await api.runs()).find((r) => r.run === run);
      if (!now || now.status !== "running") {
        clearInterval(timer);
        fill(live);
      } else fill(live, runs.progress(now));
      await again();
    } catch {
      /* the next turn tries again */
    }
  }, 2000);
  return () => clearInterval(timer);
}

/** A run without a table: it says why, and a run that has only begun is looked at again. */
function unfit(page, list, run, details, alive) {
  const pick = runs.picker(list, run, (value) => runs.go("table", "", { run: value }));
  fill(page, h("h1", {}, "Periodic table"), h("div", { class: "controls" }, pick));
  page.append(runs.unfit(details));
  if (details.status !== "running") return null;
  const timer = setInterval(async () => {
    const now = await api.details(run).catch(() => details);
    if (alive() && now.arms.length) dispatchEvent(new Event("hashchange"));
  }, 2000);
  return () => clearInterval(timer);
}

async function paint(grid, tray, details, state) {
  const focused = document.activeElement?.dataset?.arm;
  let table;
  try {
    table = await api.of(state.run, "table", { metric: state.metric, dataset: state.dataset });
  } catch (error) {
    fill(grid, failed(error));
    grid.shown = null;
    return;
  }
  const shown = JSON.stringify([table, innerWidth < 700]);
  if (shown === grid.shown) return;
  grid.shown = shown;
  tip(null);
  const metric = metricOf(details, state.metric);
  const [low, high] = table.range || [0, 1];
  const colour = (v) => cividis(high > low ? (v - low) / (high - low) : 0.5);
  fill(
    grid,
    legend(metric, low, high, table),
    h(
      "div",
      { class: "panels" },
      table.panels.map((panel) =>
        panelOf(panel, table, metric, colour, state, () => picks(grid, tray, state)),
      ),
    ),
  );
  if (focused) grid.querySelector(`[data-arm="${CSS.escape(focused)}"]`)?.focus();
  picks(grid, tray, state);
}

/** Marks what is picked, and offers to compare it. */
function picks(grid, tray, state) {
  for (const link of grid.querySelectorAll("[data-arm]"))
    link.classList.toggle("picked", state.picked.includes(link.dataset.arm));
  tray.hidden = !state.picking;
  fill(
    tray,
    h("span", {}, state.picked.length ? state.picked.join(" · ") : "Click two to six elements"),
    state.picked.length > 1 &&
      h(
        "a",
        {
          class: "button",
          href: runs.href("compare", "", {
            run: state.run,
            arm: state.picked,
            metric: state.metric,
            dataset: state.dataset,
          }),
        },
        `Compare ${state.picked.length}`,
      ),
  );
}

function legend(metric, low, high, table) {
  return h(
    "div",
    { class: "scale" },
    h("span", {}, said(low, metric)),
    h("span", { class: "bar", style: { background: gradient() } }),
    h("span", {}, said(high, metric)),
    h(
      "span",
      { class: "muted" },
      `${metric.label}${metric.percent ? ", %" : ""} · `,
      `mean over ${table.trials} trials, 95 % interval`,
    ),
  );
}

function panelOf(panel, table, metric, colour, state, again) {
  const levels = Object.entries(panel.levels)
    .map(([n, v]) => `${n.replace(/_/g, " ")} ${v || "none"}`)
    .join(", ");
  const used = (axis, key) =>
    axis.names.map((name, i) => [name, i]).filter(([, i]) => panel.cells.some((c) => c[key] === i));
  let down = { ...table.rows, key: "row", shown: used(table.rows, "row") };
  let across = { ...table.columns, key: "column", shown: used(table.columns, "column") };
  // What is wider than the screen is turned round: down there is room.
  const most = innerWidth < 700 ? 6 : 12;
  if (across.shown.length > most && across.shown.length > down.shown.length)
    [down, across] = [across, down];
  const at = new Map(panel.cells.map((c) => [`${c[down.key]},${c[across.key]}`, c]));
  const head = h(
    "tr",
    {},
    h(
      "th",
      { class: "corner" },
      h("div", {}, `${across.title} →`),
      h("div", {}, `${down.title} ↓`),
    ),
    across.shown.map(([name]) => h("th", { scope: "col" }, name)),
  );
  const body = down.shown.map(([name, r]) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, name),
      across.shown.map(([, i]) => cell(at.get(`${r},${i}`), metric, colour, state, again)),
    ),
  );
  return h(
    "div",
    { class: "panel" },
    levels && h("h2", {}, levels),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        { class: "periodic", onkeydown: move },
        h("thead", {}, head),
        h("tbody", {}, body),
      ),
    ),
  );
}

function cell(one, metric, colour, state, again) {
  if (!one) return h("td", { class: "none" });
  const known = one.value !== null;
  const back = known ? colour(one.value) : null;
  const words = `${one.arm}\n${metric.label} ${estimate(one, metric)}\n${one.n} trials`;
  const link = h(
    "a",
    {
      href: runs.href("element", one.element, {
        run: state.run,
        arm: one.arm === one.element ? null : one.arm,
      }),
      "data-arm": one.arm,
      "aria-label": words.replace(/\n/g, ", "),
      style: known ? { background: css(back), color: ink(back) } : {},
      onmouseenter: () => tip(link, words),
      onfocus: () => tip(link, words),
      onmouseleave: () => tip(link),
      onblur: () => tip(link),
      onclick: (event) => {
        if (!state.picking) return;
        event.preventDefault();
        const at = state.picked.indexOf(one.arm);
        if (at >= 0) state.picked.splice(at, 1);
        else if (state.picked.length < MOST_PICKED) state.picked.push(one.arm);
        again();
      },
    },
    h("span", {}, known ? said(one.value, metric) : "–"),
    known &&
      one.low !== null &&
      h("small", {}, `${said(one.low, metric)}–${said(one.high, metric)}`),
  );
  return h("td", {}, link);
}

/** Arrow keys move between cells. */
function move(event) {
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  const step = steps[event.key],
    from = event.target.closest("td");
  if (!step || !from) return;
  const rows = event.currentTarget.tBodies[0].rows;
  const row = rows[from.parentElement.sectionRowIndex + step[0]];
  const next = row?.cells[from.cellIndex + step[1]]?.querySelector("a");
  if (next) {
    event.preventDefault();
    next.focus();
  }
}
