// A run: what it asks and found, its figures, its networks, and how it was run.
import * as api from "./api.js";
import { browser } from "./browse.js";
import { duration, empty, failed, fill, h, section, when } from "./dom.js";
import * as runs from "./runs.js";

export async function show(page, run, parameters, alive) {
  const details = await api.details(run);
  if (details.stored) runs.remember(run);
  const live = h("div", {});
  const size =
    details.size && details.status !== "finished" ? ` of ${details.size.toLocaleString("en")}` : "";
  fill(
    page,
    h("p", {}, h("a", { href: "#/experiments" }, "‹ all runs")),
    h("h1", {}, details.title),
    h("p", {}, details.question),
    h(
      "p",
      { class: "muted" },
      `${details.status} · ${details.stored.toLocaleString("en")}${size} ${details.unit} · `,
      details.device && `${duration(details.seconds)} on ${details.device} · `,
      `started ${when(details.started)}`,
    ),
    live,
    h(
      "div",
      { class: "controls" },
      details.arms.length > 0 &&
        h("a", { class: "button", href: runs.href("table", "", { run }) }, "Periodic table"),
      details.report &&
        h(
          "a",
          { class: "button", href: api.link(run, "files/report.html"), target: "_blank" },
          "Report",
        ),
      details.summary &&
        h(
          "a",
          {
            class: "button",
            href: api.link(run, "files/summary.csv"),
            download: `${run}-summary.csv`,
          },
          "Summary, CSV",
        ),
    ),
    section(
      "Findings",
      details.findings.length
        ? h(
            "dl",
            { class: "findings" },
            details.findings.map((f) => [h("dt", {}, f.headline), h("dd", {}, f.sentence)]),
          )
        : h(
            "p",
            { class: "muted" },
            details.status !== "finished"
              ? "Findings come when the run has ended."
              : details.report
                ? "They are in its report."
                : "There are none yet: the command that began this run writes them.",
          ),
    ),
    details.figures.length
      ? section(
          "Figures",
          h(
            "div",
            { class: "figures" },
            details.figures.map((f) =>
              h(
                "figure",
                {},
                h(
                  "a",
                  { href: api.link(run, `files/${f.stem}.png`), target: "_blank" },
                  h("img", {
                    src: api.link(run, `files/${f.stem}.png`),
                    alt: f.caption || f.stem,
                    loading: "lazy",
                  }),
                ),
                h("figcaption", {}, f.caption || f.stem),
              ),
            ),
          ),
        )
      : null,
    section(
      details.unit === "rows" ? "Rows" : "Networks",
      details.columns.length
        ? browser(run, details, parameters)
        : empty(
            h(
              "p",
              {},
              details.status === "running"
                ? "No network is stored yet."
                : "This folder holds a report alone; the networks are in the runs that it names.",
            ),
          ),
    ),
    section("How it was run", settings(details)),
  );
  if (details.status === "interrupted") {
    fill(
      live,
      h(
        "p",
        { class: "note" },
        "Interrupted: the command that began it goes on from what is stored. ",
        h("code", {}, `${details.command} …`),
      ),
    );
  }
  if (details.status !== "running") return null;
  const look = async () => {
    const now = (await api.runs()).find((r) => r.run === run);
    if (!alive() || !now) return;
    fill(live, runs.progress(now));
    if (now.status !== "running") {
      clearInterval(timer);
      location.reload();
    }
  };
  const timer = setInterval(() => look().catch(() => {}), 1500);
  look().catch((error) => fill(live, failed(error)));
  return () => clearInterval(timer);
}

function settings(details) {
  const said = (value) => {
    if (!Array.isArray(value))
      return typeof value === "object" && value ? JSON.stringify(value) : String(value);
    return value.map((v) => (typeof v === "object" ? JSON.stringify(v) : v)).join(", ");
  };
  const facts = {
    ...details.settings,
    device: details.device,
    python: details.python,
    commit: details.commit,
    versions: Object.entries(details.versions || {}).map(([n, v]) => `${n} ${v}`),
  };
  return h(
    "details",
    {},
    h("summary", {}, "Settings and versions"),
    h(
      "dl",
      { class: "facts" },
      Object.entries(facts).map(([name, value]) => [
        h("dt", {}, name.replace(/_/g, " ")),
        h("dd", {}, said(value)),
      ]),
    ),
  );
}
