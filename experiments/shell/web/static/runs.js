// Choosing a run, and what pages share about it.
import * as api from "./api.js";
import { duration, empty, h, select } from "./dom.js";

/** Changes parameters of the address without a new entry in the history. */
export function change(page, name, parameters) {
  const path = name ? `${page}/${encodeURIComponent(name)}` : page;
  history.replaceState(null, "", `#/${path}${api.query(parameters)}`);
}

export function go(page, name, parameters) {
  location.hash = href(page, name, parameters);
}

export function href(page, name, parameters) {
  const path = name ? `${page}/${encodeURIComponent(name)}` : page;
  return `#/${path}${api.query(parameters)}`;
}

/** The run that was asked for, else the last looked at, else the newest with results. */
export function chosen(list, asked) {
  const readable = list.filter((r) => r.stored);
  const names = readable.map((r) => r.run);
  if (asked && list.some((r) => r.run === asked)) return asked;
  const last = sessionStorage.getItem("run");
  return names.includes(last) ? last : names[0] || null;
}

export const remember = (run) => sessionStorage.setItem("run", run);

export function label(run) {
  const size = run.size
    ? `${run.stored.toLocaleString("en")} of ${run.size.toLocaleString("en")}`
    : run.stored;
  const how =
    run.status === "finished"
      ? `${run.stored.toLocaleString("en")} ${run.unit}`
      : `${run.status}, ${size}`;
  return `${run.title} · ${how} · ${run.run.split("-").pop().slice(0, 6)}`;
}

export function picker(list, current, onchange) {
  const options = list.filter((r) => r.stored || r.run === current).map((r) => [r.run, label(r)]);
  return select("Run", options, current, onchange, { id: "run" });
}

export function none() {
  return empty(
    h("h2", {}, "No runs yet"),
    h(
      "p",
      {},
      "Nothing is stored in the folder that this page reads. Train the periodic table with",
    ),
    h("pre", {}, "make table"),
    h("p", {}, "in a terminal, or ", h("a", { href: "#/lab" }, "train an element in the lab"), "."),
  );
}

/** A bar of what is stored, with words. */
export function progress(run) {
  const rate = run.elapsed && run.stored ? run.stored / run.elapsed : null;
  const left = rate && run.size ? ` · about ${duration((run.size - run.stored) / rate)} left` : "";
  const stored = run.stored.toLocaleString("en");
  const of = run.size ? ` of ${run.size.toLocaleString("en")}` : "";
  const done = run.status === "finished";
  const words = done ? `finished, ${stored} stored` : `${stored}${of} ${run.unit} stored${left}`;
  // Without a size the bar is left open: how far such a run is cannot be told from its rows.
  const value = done ? 1 : run.size ? run.stored / run.size : undefined;
  return h(
    "div",
    { class: "progress" },
    h("progress", { max: 1, value, "aria-label": `${run.run}: ${words}` }),
    h("span", {}, words),
  );
}

/** What to say of a run that holds no trials of elements; null of one that does. */
export function unfit(details) {
  if (details.arms.length) return null;
  const about = h("a", { href: href("experiments", details.run) }, "what it found");
  return details.stored
    ? empty(h("p", {}, "This run holds no trials of elements: see ", about, "."))
    : empty(h("p", {}, "Nothing is stored yet: the first networks appear with its first chunk."));
}
