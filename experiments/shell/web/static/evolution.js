// How an element learns: its curves, and its layers where a run has recorded them.
import * as api from "./api.js";
import * as charts from "./charts.js";
import { failed, fill, h, metricOf } from "./dom.js";

export async function show(parts, details, state) {
  try {
    const found = await api.of(state.run, "curves", { arm: state.arm, dataset: state.dataset });
    fill(parts.curves, charted(found, details));
  } catch (error) {
    fill(parts.curves, failed(error));
  }
  if (!details.tables.includes("layers")) {
    fill(
      parts.layers,
      h(
        "p",
        { class: "muted" },
        "Gradients and weights by layer were not recorded in this run (phase 6 records them).",
      ),
    );
    return;
  }
  try {
    const found = await api.of(state.run, "layers", { arm: state.arm, dataset: state.dataset });
    fill(
      parts.layers,
      Object.entries(found.quantities).map(([quantity, rows]) =>
        charts.heat(quantity.replace(/_/g, " "), found.epochs, found.layers, rows),
      ),
    );
  } catch (error) {
    fill(parts.layers, failed(error));
  }
}

/** Charts of the curves of one arm: accuracies together, losses together, the rest one by one. */
export function charted(found, details) {
  const names = Object.keys(found.metrics),
    made = [];
  for (const [title, ending] of [
    ["accuracy", "_accuracy"],
    ["loss, nats", "_loss"],
  ]) {
    const own = names.filter((n) => n.endsWith(ending));
    if (!own.length) continue;
    const series = own.map((n, index) => ({
      name: metricOf(details, n).label.replace(` ${title}`, ""),
      curve: found.metrics[n],
      index,
    }));
    made.push(
      charts.curves(
        `${title} (mean over ${found.trials} trials, 95 % band)`,
        found.epochs,
        series,
        metricOf(details, own[0]),
      ),
    );
  }
  for (const n of names.filter((m) => !/_(accuracy|loss)$/.test(m))) {
    const metric = metricOf(details, n);
    made.push(
      charts.curves(
        metric.label,
        found.epochs,
        [{ name: metric.label, curve: found.metrics[n], index: 0 }],
        metric,
      ),
    );
  }
  return made;
}
