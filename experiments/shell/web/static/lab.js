// The lab: one element trained for real, its boundary as a film; and any study started.
import * as api from "./api.js";
import * as boundary from "./boundary.js";
import { charted } from "./evolution.js";
import { empty, fill, h, section, select } from "./dom.js";
import * as jobs from "./jobs.js";
import * as runs from "./runs.js";
import * as starter from "./starter.js";

export async function show(page, { parameters, alive }) {
  const [datasets, activations, studies, elements] = await Promise.all(
    ["datasets", "activations", "studies", "elements"].map(api.once),
  );
  const lab = studies.find((s) => s.name === starter.LAB),
    outcome = h("div", { id: "outcome" });
  fill(
    page,
    h("h1", {}, "Training lab"),
    lab
      ? section(
          "Train an element",
          trainer(lab, datasets, activations, elements[0], parameters, outcome, alive),
          outcome,
        )
      : empty(h("p", {}, "The study elements_lab is not there: start one of the studies below.")),
    section("Start a study", starter.show(studies, alive)),
  );
  return null;
}

function bounds(lab, name) {
  const flag = lab.flags.find((f) => f.name === name);
  return flag && flag.least !== null ? { min: String(flag.least), max: String(flag.most) } : {};
}

function trainer(lab, datasets, activations, limits, parameters, outcome, alive) {
  const given = read(parameters.get("symbol"), activations);
  const state = {
    dataset: "spirals",
    activation: given.activation || "sine",
    layers: given.layers || [8, 8, 8],
  };
  const number = (name, value, step = "1", extra = {}) =>
    h("input", {
      type: "number",
      name,
      value: String(value),
      step,
      ...bounds(lab, name),
      ...extra,
    });
  const noise = number("noise", datasets.find((d) => d.name === state.dataset).noise, "0.05");
  const layers = h("div", { class: "layers" }),
    symbol = h("output", { class: "symbol" });
  const skip = h("input", {
    type: "checkbox",
    name: "skip",
    checked: given.skip,
    onchange: () => name(),
  });
  const epochs = number("epochs", 500),
    trials = number("trials", 5),
    seed = number("seed", 0);
  const rate = number("learning_rate", "", "0.001", { placeholder: "the protocol's own" });
  const protocols = lab.flags
    .find((f) => f.name === "protocol")
    .choices.filter((c) => c !== "tuned");
  const protocol = h(
    "select",
    { name: "protocol" },
    protocols.map((p) => h("option", {}, p)),
  );
  const preview = h("canvas", { role: "img", "aria-label": "Points of the dataset" }),
    about = h("p", { class: "muted" });
  const trouble = h("p", { class: "error", role: "alert", hidden: true });
  const button = h("button", { type: "submit", class: "primary", id: "train" }, "Train");
  const one = (text, box) => h("label", { class: "field" }, h("span", {}, text), box);

  const name = () => {
    symbol.textContent = symbolOf(state, skip.checked);
  };
  const build = () => {
    fill(
      layers,
      state.layers.map((width, i) =>
        h("input", {
          type: "number",
          min: "1",
          max: String(limits.most_width),
          value: String(width),
          "aria-label": `Units of layer ${i + 1}`,
          oninput: (e) => {
            state.layers[i] = Number(e.target.value);
            name();
          },
        }),
      ),
      h(
        "button",
        {
          type: "button",
          "aria-label": "One layer less",
          disabled: state.layers.length < 2,
          onclick: () => {
            state.layers.pop();
            build();
          },
        },
        "−",
      ),
      h(
        "button",
        {
          type: "button",
          "aria-label": "One layer more",
          disabled: state.layers.length >= limits.most_layers,
          onclick: () => {
            state.layers.push(state.layers.at(-1));
            build();
          },
        },
        "+",
      ),
    );
    name();
  };
  const look = () => {
    const chosen = datasets.find((d) => d.name === state.dataset);
    about.textContent = `${chosen.description}; its own noise is ${chosen.noise}`;
    requestAnimationFrame(() => sketch(preview, chosen));
  };
  const submit = async (event) => {
    event.preventDefault();
    trouble.hidden = true;
    button.disabled = true;
    const flags = {
      symbols: symbol.textContent,
      datasets: state.dataset,
      noise: noise.value,
      protocol: protocol.value,
      learning_rate: rate.value,
      epochs: epochs.value,
      trials: trials.value,
      seed: seed.value,
      snapshots: true,
      record_every: String(Math.max(1, Math.round(Number(epochs.value) / 50))),
    };
    for (const key of Object.keys(flags)) if (flags[key] === "") delete flags[key];
    try {
      const job = await api.post("jobs", { study: starter.LAB, flags });
      await watch(job, { dataset: state.dataset, symbol: flags.symbols }, outcome, alive);
    } catch (error) {
      trouble.textContent = error.message;
      trouble.hidden = false;
    }
    button.disabled = false;
  };
  build();
  look();
  preview.repaint = look;
  preview.classList.add("themed");
  return h(
    "form",
    { class: "lab", onsubmit: submit, novalidate: true },
    h(
      "div",
      { class: "fields" },
      select(
        "Dataset",
        datasets.map((d) => d.name),
        state.dataset,
        (v) => {
          state.dataset = v;
          noise.value = String(datasets.find((d) => d.name === v).noise);
          look();
        },
        { name: "dataset" },
      ),
      one("Noise", noise),
      select(
        "Activation",
        activations.map((a) => a.name),
        state.activation,
        (v) => {
          state.activation = v;
          name();
        },
        { name: "activation" },
      ),
      h("fieldset", { class: "field" }, h("legend", {}, "Units of each hidden layer"), layers),
      h("label", { class: "check" }, skip, " skip connections"),
      one("Protocol", protocol),
      one("Learning rate", rate),
      one("Epochs", epochs),
      one("Trials", trials),
      one("Seed", seed),
    ),
    h("figure", { class: "preview" }, preview, h("figcaption", {}, about)),
    h("div", { class: "row" }, button, h("span", {}, "element ", symbol)),
    trouble,
  );
}

export function symbolOf({ activation, layers }, skip) {
  const alike = layers.every((w) => w === layers[0]);
  const shape = alike ? `${layers.length}x${layers[0]}` : layers.join("_");
  return `${activation.slice(0, 3)}-${shape}${skip ? "-skip" : ""}`;
}

function read(symbol, activations) {
  const parts = (symbol || "").match(/^([a-z]{3})-(?:(\d+)x(\d+)|(\d+(?:_\d+)+))(-skip)?$/);
  if (!parts) return {};
  const layers = parts[4]
    ? parts[4].split("_").map(Number)
    : Array(Number(parts[2])).fill(Number(parts[3]));
  return {
    activation: activations.find((a) => a.letters === parts[1])?.name,
    layers,
    skip: Boolean(parts[5]),
  };
}

function sketch(canvas, chosen) {
  const [low, high] = [
    Math.min(...chosen.points.flat()) - 0.2,
    Math.max(...chosen.points.flat()) + 0.2,
  ];
  const flat = [
    [0.5, 0.5],
    [0.5, 0.5],
  ];
  boundary.draw(canvas, {
    x: [low, high],
    y: [low, high],
    frames: [flat],
    points: chosen.points,
    labels: chosen.labels,
  });
}

/** Follows a job and shows what it has trained. */
async function watch(job, { dataset, symbol }, outcome, alive) {
  const place = h("div", {}),
    result = h("div", {});
  fill(outcome, place, result);
  const card = jobs.card(job);
  fill(place, card);
  const ended = await jobs.follow(job.job, card.update, alive);
  if (!ended || ended.state !== "done" || !ended.runs.length) return;
  const run = ended.runs.at(-1);
  const [details, film, curves] = await Promise.all([
    api.details(run),
    api.of(run, "boundaries", { arm: symbol, dataset, trial: "0", animated: true, resolution: 48 }),
    api.of(run, "curves", { arm: symbol, dataset }),
  ]);
  fill(
    result,
    h(
      "p",
      {},
      `Stored as any run: `,
      h("a", { href: runs.href("experiments", run) }, run),
      " · ",
      h("a", { href: runs.href("element", symbol, { run }) }, `all of ${symbol}`),
    ),
    h(
      "div",
      { class: "result" },
      h("div", {}, h("h3", {}, "Trial 0 while it learns"), boundary.film(film), boundary.legend()),
      h("div", { class: "charts" }, charted(curves, details)),
    ),
  );
}
