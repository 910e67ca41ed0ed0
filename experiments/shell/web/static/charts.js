// Charts by Plotly, loaded with the first of them, in the colours of the page.
import { h, themed } from "./dom.js";
import { DASHES, SERIES, scale } from "./colours.js";

let loading = null;

function plotly() {
  loading ||= new Promise((resolve, reject) => {
    const script = h("script", { src: "/static/vendor/plotly/plotly-cartesian.min.js" });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("The charts could not be loaded: reload the page"));
    document.head.append(script);
  });
  return loading;
}

/** Loads the library while there is nothing else to do. */
export const preload = () =>
  (window.requestIdleCallback || setTimeout)(() => plotly().catch(() => {}));

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(given) {
  const axis = {
    gridcolor: variable("--line"),
    zerolinecolor: variable("--line"),
    linecolor: variable("--line"),
    automargin: true,
  };
  const { xaxis, yaxis, ...rest } = given;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: variable("--ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 52, r: 12, t: given.showlegend === false ? 34 : 62, b: 52 },
    height: 320,
    hoverlabel: { namelength: -1 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { ...axis, ...xaxis, title: { standoff: 8, ...xaxis?.title } },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}

/** A long label in several lines. */
function wrapped(text) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length > 20) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.join("<br>");
}

const headed = (text) => ({
  title: { text, font: { size: 14 }, x: 0.02, xanchor: "left", y: 0.98, yanchor: "top" },
});

/** An element that holds a chart; `make()` gives its traces and layout, again for a new theme. */
function chart(label, make) {
  const box = h("div", { class: "chart", role: "img", "aria-label": label });
  const paint = async () => {
    try {
      const library = await plotly();
      const { traces, ...given } = make(),
        whole = layout(given);
      box.style.height = `${whole.height}px`;
      while (!box.isConnected) await new Promise(requestAnimationFrame); // its place has a width
      await library.react(box, traces, whole, { displayModeBar: false, responsive: true });
    } catch (error) {
      box.textContent = error.message;
    }
  };
  box.ready = paint();
  themed(box, paint);
  return box;
}

// Lines over epochs with their bands; `series` are {name, curve: {value, low, high}, index, dash}.
export function curves(title, epochs, series, metric) {
  const times = (values) => values.map((v) => (v === null ? null : metric.percent ? 100 * v : v));
  return chart(title, () => ({
    ...headed(title),
    showlegend: series.length > 1,
    xaxis: { title: { text: "epoch" } },
    yaxis: { title: { text: metric.percent ? "%" : "" } },
    traces: series.flatMap(({ name, curve, index, dash, at }) => {
      const colour = SERIES[index % SERIES.length],
        x = at || epochs;
      const edge = {
        x,
        mode: "lines",
        line: { width: 0 },
        hoverinfo: "skip",
        showlegend: false,
        legendgroup: name,
      };
      return [
        { ...edge, y: times(curve.low) },
        { ...edge, y: times(curve.high), fill: "tonexty", fillcolor: `${colour}33` },
        {
          x,
          y: times(curve.value),
          name,
          legendgroup: name,
          mode: "lines",
          line: { color: colour, width: 2, dash: dash || DASHES[index % DASHES.length] },
          hovertemplate: "%{y:.4g} at epoch %{x}",
        },
      ];
    }),
  }));
}

/** Estimates one below the other, each with its interval; `zero` draws a line and its margin. */
export function forest(title, items, metric, zero = null) {
  const times = (v) => (v === null ? null : metric.percent ? 100 * v : v);
  const names = items.map((item) => wrapped(item.name)).reverse();
  const rows = [...items].reverse();
  const shapes =
    zero === null
      ? []
      : [
          {
            type: "line",
            x0: 0,
            x1: 0,
            yref: "paper",
            y0: 0,
            y1: 1,
            line: { color: variable("--muted"), dash: "dot" },
          },
          {
            type: "rect",
            x0: -times(zero),
            x1: times(zero),
            yref: "paper",
            y0: 0,
            y1: 1,
            fillcolor: variable("--muted"),
            opacity: 0.12,
            line: { width: 0 },
          },
        ];
  return chart(title, () => ({
    ...headed(title),
    height: 110 + items.length * (names.some((n) => n.includes("<br>")) ? 52 : 34),
    shapes,
    showlegend: false,
    xaxis: { title: { text: metric.percent ? (zero === null ? "%" : "points") : metric.label } },
    yaxis: { type: "category" },
    traces: [
      {
        x: rows.map((r) => times(r.estimate.value)),
        y: names,
        mode: "markers",
        type: "scatter",
        marker: { size: 10, color: SERIES[0] },
        error_x: {
          type: "data",
          symmetric: false,
          color: SERIES[0],
          thickness: 2,
          array: rows.map((r) => times(r.estimate.high) - times(r.estimate.value)),
          arrayminus: rows.map((r) => times(r.estimate.value) - times(r.estimate.low)),
        },
        hovertemplate: "%{x:.4g}<extra>%{y}</extra>",
      },
    ],
  }));
}

/** A quantity over epochs × layers, on a logarithmic scale where it spans several decades. */
export function heat(title, epochs, layers, rows) {
  const values = rows.flat().filter((v) => v !== null && v > 0);
  const wide =
    values.length &&
    rows.flat().every((v) => v === null || v >= 0) &&
    Math.max(...values) / Math.min(...values) > 50;
  const z = layers.map((_, k) =>
    rows.map((row) => {
      const v = row[k];
      return v === null || (wide && v <= 0) ? null : wide ? Math.log10(v) : v;
    }),
  );
  return chart(title, () => ({
    ...headed(title),
    height: 130 + 26 * layers.length,
    showlegend: false,
    xaxis: { title: { text: "epoch" } },
    yaxis: { title: { text: "layer" }, type: "category", autorange: "reversed" },
    traces: [
      {
        type: "heatmap",
        x: epochs,
        y: layers,
        z,
        colorscale: scale(),
        hoverongaps: false,
        text: layers.map((_, k) =>
          rows.map((row) => (row[k] === null ? "none" : row[k].toPrecision(3))),
        ),
        hovertemplate: "%{text} at epoch %{x}<extra>layer %{y}</extra>",
        colorbar: { title: { text: wide ? "log₁₀" : "" }, thickness: 12 },
      },
    ],
  }));
}
