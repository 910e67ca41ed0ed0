// Rows of a run: filter, search, sort and page on the server; downloads of what is chosen.
import * as api from "./api.js";
import { empty, failed, fill, h } from "./dom.js";
import * as runs from "./runs.js";

const SIZE = 50;
const FIRST = [
  "symbol",
  "dataset",
  "trial",
  "test_accuracy",
  "train_accuracy",
  "test_loss",
  "train_loss",
];

export function browser(run, details, parameters) {
  const state = {
    where: parameters.getAll("where"),
    search: parameters.get("search") || "",
    sort: parameters.get("sort") || null,
    descending: parameters.get("descending") === "true",
    page: 0,
    every: false,
  };
  const asked = () => ({
    where: state.where,
    search: state.search,
    sort: state.sort,
    descending: state.descending || null,
  });
  const table = h("div", { class: "rows" }),
    links = h("div", { class: "controls" }),
    chips = h("div", { class: "chips" });
  let wait = null,
    turn = 0;
  const search = h("input", {
    type: "search",
    id: "rows-search",
    value: state.search,
    placeholder: "sine moons",
    oninput: () => {
      clearTimeout(wait);
      wait = setTimeout(() => {
        state.search = search.value;
        state.page = 0;
        load();
      }, 150);
    },
  });
  const column = h(
    "select",
    { "aria-label": "Column" },
    details.columns.map((c) => h("option", { value: c.name }, c.name)),
  );
  const sign = h(
    "select",
    { "aria-label": "Comparison" },
    ["=", "!=", "<", "<=", ">", ">="].map((s) => h("option", {}, s)),
  );
  const value = h("input", { "aria-label": "Value", size: 8 });
  const add = h(
    "form",
    {
      class: "row",
      onsubmit: (event) => {
        event.preventDefault();
        state.where.push(`${column.value}${sign.value}${value.value}`);
        value.value = "";
        state.page = 0;
        load();
      },
    },
    column,
    sign,
    value,
    h("button", { type: "submit" }, "Filter"),
  );
  async function load() {
    const mine = ++turn;
    runs.change("experiments", run, asked());
    fill(
      chips,
      state.where.map((condition, i) =>
        h(
          "span",
          { class: "chip" },
          condition,
          h(
            "button",
            {
              type: "button",
              "aria-label": `Remove ${condition}`,
              onclick: () => {
                state.where.splice(i, 1);
                state.page = 0;
                load();
              },
            },
            "×",
          ),
        ),
      ),
    );
    fill(
      links,
      h(
        "a",
        { class: "button", href: api.link(run, "results.csv", asked()), download: `${run}.csv` },
        "CSV",
      ),
      h(
        "a",
        { class: "button", href: api.link(run, "results.json", asked()), download: `${run}.json` },
        "JSON",
      ),
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(state.every),
          onclick: () => {
            state.every = !state.every;
            load();
          },
        },
        "All columns",
      ),
    );
    try {
      const found = await api.of(run, "results", { ...asked(), page: state.page, size: SIZE });
      if (mine === turn) paint(found);
    } catch (error) {
      if (mine === turn) fill(table, failed(error));
    }
  }
  function paint(found) {
    if (!found.total) {
      fill(table, empty(h("p", {}, "No network meets these conditions: remove one of them.")));
      return;
    }
    const names = details.columns.map((c) => c.name);
    const first = details.arms.length ? FIRST.filter((n) => names.includes(n)) : names;
    const shown = state.every ? names : [...first, ...Object.keys(details.factors)].slice(0, 9);
    const head = shown.map((name) =>
      h(
        "th",
        {
          scope: "col",
          "aria-sort": state.sort !== name ? null : state.descending ? "descending" : "ascending",
        },
        h(
          "button",
          {
            type: "button",
            onclick: () => {
              state.descending = state.sort === name ? !state.descending : false;
              state.sort = name;
              state.page = 0;
              load();
            },
          },
          name.replace(/_/g, " "),
          state.sort === name ? (state.descending ? " ▾" : " ▴") : "",
        ),
      ),
    );
    const lines = found.rows.map((row) =>
      h(
        "tr",
        {},
        shown.map((name) =>
          h(
            "td",
            {},
            name === "symbol" && details.arms.length
              ? h(
                  "a",
                  { href: runs.href("element", row.symbol, { run, trial: row.trial }) },
                  row.symbol,
                )
              : plain(row[name]),
          ),
        ),
      ),
    );
    const last = Math.ceil(found.total / SIZE) - 1,
      from = found.page * SIZE;
    const turnTo = (to) => () => {
      state.page = to;
      load();
    };
    fill(
      table,
      h(
        "div",
        { class: "scroll" },
        h("table", { class: "numbers" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, lines)),
      ),
      h(
        "div",
        { class: "row pages" },
        h(
          "button",
          { type: "button", disabled: found.page === 0, onclick: turnTo(found.page - 1) },
          "‹ Previous",
        ),
        h(
          "span",
          { id: "count" },
          `${from + 1}–${from + found.rows.length} of ${found.total.toLocaleString("en")}`,
        ),
        h(
          "button",
          { type: "button", disabled: found.page >= last, onclick: turnTo(found.page + 1) },
          "Next ›",
        ),
      ),
    );
  }
  load();
  return h(
    "div",
    {},
    h(
      "div",
      { class: "controls" },
      h("label", { class: "field" }, h("span", {}, "Search"), search),
      add,
      links,
    ),
    chips,
    table,
  );
}

function plain(value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" && !Number.isInteger(value)
    ? String(Number(value.toPrecision(5)))
    : String(value);
}
