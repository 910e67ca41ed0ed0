// Elements of the page, and numbers in words. Text is always set as text.

/** h("button", { type: "button", onclick: f, class: "x" }, "text", child, [children]) */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style" && typeof value === "object") Object.assign(element.style, value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter(shown));
  return element;
}

const shown = (child) => child !== null && child !== undefined && child !== false;

export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(3).filter(shown));
  return parent;
}

/** A labelled select; `options` are [value, text] pairs or plain values. */
export function select(label, options, value, onchange, attributes = {}) {
  const list = h("select", { onchange: (e) => onchange(e.target.value), ...attributes });
  for (const option of options) {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    list.append(h("option", { value: key, selected: String(key) === String(value) }, text));
  }
  return h("label", { class: "field" }, h("span", {}, label), list);
}

export function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), ...children);
}

export const empty = (...children) => h("div", { class: "empty" }, ...children);
export const failed = (error) =>
  h("p", { class: "error", role: "alert" }, String(error.message || error));

/** Has an element painted again when the theme changes, for as long as it is on the page. */
export function themed(element, paint) {
  element.classList.add("themed");
  element.repaint = paint;
}
addEventListener("theme", () => document.querySelectorAll(".themed").forEach((e) => e.repaint()));

const two = (v) => v.toFixed(1);

/** A number of a metric: shares as per cent, the rest to three significant digits. */
export function said(value, metric) {
  if (value === null || value === undefined) return "unknown";
  if (metric && metric.percent) return two(100 * value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : value.toPrecision(3);
}

/** A number with its interval: 91.2 % [90.9, 91.5]. */
export function estimate(e, metric, signed = false) {
  const sign = (v) => (signed && v > 0 ? "+" : "") + said(v, metric);
  if (e.value === null) return e.n ? "unknown (a trial is not finite)" : "not stored yet";
  const unit = metric && metric.percent ? (signed ? " points" : " %") : "";
  const interval =
    e.low === null ? " (no interval from one trial)" : ` [${sign(e.low)}, ${sign(e.high)}]`;
  return `${sign(e.value)}${unit}${interval}`;
}

export function metricOf(details, name) {
  return details.metrics.find((m) => m.name === name) || { name, label: name, percent: false };
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export function when(iso) {
  if (!iso) return "";
  return new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

let tipped = null;

/** The tooltip beside an element that is hovered or focused; `text` may be several lines. */
export function tip(element, text) {
  const box = document.getElementById("tip");
  if (!text) {
    if (tipped === element || !element) box.hidden = true;
    return;
  }
  tipped = element;
  box.textContent = text;
  box.hidden = false;
  const place = element.getBoundingClientRect();
  const left = Math.min(place.left, innerWidth - box.offsetWidth - 8);
  const above = place.top - box.offsetHeight - 6;
  box.style.left = `${Math.max(8, left)}px`;
  box.style.top = `${above > 4 ? above : place.bottom + 6}px`;
}
