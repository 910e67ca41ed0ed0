// A form from the flags of a study; what is left as it is keeps the study's default.
import { h } from "./dom.js";

/** Fields for flags; `.values()` gives those that differ from their defaults. */
export function fields(flags) {
  const inputs = flags.map((flag) => [flag, input(flag)]);
  const form = h(
    "div",
    { class: "flags" },
    inputs.map(([flag, box]) =>
      h(
        "label",
        { class: "field" },
        h("span", {}, flag.name.replace(/_/g, " ")),
        box,
        h("small", {}, help(flag)),
      ),
    ),
  );
  form.values = () =>
    Object.fromEntries(
      inputs
        .map(([flag, box]) => [flag.name, read(box), flag.default])
        .filter(([, value, usual]) => value !== "" && value !== usual)
        .map(([name, value]) => [name, value]),
    );
  return form;
}

const read = (box) => (box.type === "checkbox" ? String(box.checked) : box.value.trim());

function input(flag) {
  if (flag.kind === "boolean" && !flag.optional)
    return h("input", { type: "checkbox", name: flag.name, checked: flag.default === "true" });
  if (flag.choices.length && !flag.many) {
    const choices = flag.optional ? ["", ...flag.choices] : flag.choices;
    return h(
      "select",
      { name: flag.name },
      choices.map((c) => h("option", { value: c, selected: c === flag.default }, c || "not said")),
    );
  }
  return h("input", {
    name: flag.name,
    placeholder: flag.default || "the study's own",
    autocomplete: "off",
    inputmode: flag.kind === "text" || flag.many ? "text" : "decimal",
  });
}

function help(flag) {
  const several = flag.many ? ", several by commas" : "";
  const bounded = flag.least !== null && flag.most !== null;
  const bounds = bounded ? ` (${flag.least} to ${flag.most.toLocaleString("en")}${several})` : "";
  const choices = flag.choices.length && flag.many ? `: ${flag.choices.join(", ")}` : "";
  return `${flag.help}${bounds}${choices}`;
}
