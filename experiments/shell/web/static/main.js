// Routes: #/page/name?parameters. Each page fills <main> and may return a function that ends it.
import { fill, failed, h, tip } from "./dom.js";
import * as compare from "./compare.js";
import * as element from "./element.js";
import * as experiments from "./experiments.js";
import * as jobs from "./jobs.js";
import * as lab from "./lab.js";
import * as table from "./table.js";

const PAGES = {
  table: ["Table", table.show],
  element: [null, element.show],
  compare: ["Compare", compare.show],
  experiments: ["Experiments", experiments.show],
  lab: ["Lab", lab.show],
};

let end = null,
  turn = 0;

function read() {
  const [path, text] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/").map(decodeURIComponent);
  return {
    page: page || "table",
    name: rest.join("/"),
    parameters: new URLSearchParams(text || ""),
  };
}

function navigation(current) {
  const links = Object.entries(PAGES)
    .filter(([, [title]]) => title)
    .map(([page, [title]]) =>
      h("a", { href: `#/${page}`, "aria-current": page === current ? "page" : null }, title),
    );
  const badge = h("a", { href: "#/experiments", id: "badge", hidden: true });
  fill(document.getElementById("nav"), ...links, h("a", { href: "/docs" }, "API"), badge);
  jobs.badge(badge);
}

async function route() {
  const main = document.getElementById("main"),
    { page, name, parameters } = read();
  const mine = ++turn;
  if (end) end();
  end = null;
  tip(null);
  navigation(page);
  const entry = PAGES[page];
  if (!entry) {
    const back = h("a", { href: "#/table" }, "To the table");
    fill(main, failed(`There is no page “${page}”.`), back);
    return;
  }
  document.title = `${entry[0] || name} · periodic table of small networks`;
  const holder = h("div", { class: `page page-${page}` });
  // What is slow to come must not look like the page before it.
  const patience = setTimeout(() => {
    if (mine === turn) fill(main, h("p", { class: "muted", role: "status" }, "Loading …"));
  }, 200);
  try {
    const stop = await entry[1](holder, { name, parameters, alive: () => mine === turn });
    if (mine !== turn) {
      stop?.();
      return;
    }
    end = stop;
  } catch (error) {
    fill(holder, failed(error));
  } finally {
    clearTimeout(patience);
  }
  if (mine === turn) fill(main, holder);
}

document.getElementById("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("theme"));
});
document.addEventListener("keydown", (e) => e.key === "Escape" && tip(null));
addEventListener("hashchange", async () => {
  scrollTo(0, 0);
  await route();
  document.getElementById("main").focus({ preventScroll: true });
});
route();
