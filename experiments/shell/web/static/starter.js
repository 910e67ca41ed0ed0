// Any study, started from a form of its flags.
import * as api from "./api.js";
import { empty, fill, h, select } from "./dom.js";
import * as form from "./form.js";
import * as jobs from "./jobs.js";

export const LAB = "elements_lab"; // has a form of its own

export function show(studies, alive) {
  const place = h("div", {}),
    cards = h("div", {});
  const choose = (name) => {
    const study = studies.find((s) => s.name === name),
      flags = form.fields(study.flags);
    const trouble = h("p", { class: "error", role: "alert", hidden: true });
    const submit = async (event) => {
      event.preventDefault();
      trouble.hidden = true;
      try {
        const job = await api.post("jobs", { study: name, flags: flags.values() });
        const card = jobs.card(job);
        cards.prepend(card);
        await jobs.follow(job.job, card.update, alive);
      } catch (error) {
        trouble.textContent = error.message;
        trouble.hidden = false;
      }
    };
    fill(
      place,
      h("p", {}, study.question),
      h(
        "form",
        { onsubmit: submit, id: "study-form" },
        h("details", {}, h("summary", {}, "Settings"), flags),
        trouble,
        h("button", { type: "submit", class: "primary" }, `Start ${study.title.toLowerCase()}`),
      ),
    );
  };
  const others = studies.filter((s) => s.name !== LAB);
  if (!others.length) return empty(h("p", {}, "There is no study to start."));
  choose(others[0].name);
  return h(
    "div",
    {},
    select(
      "Study",
      others.map((s) => [s.name, s.title]),
      others[0].name,
      choose,
      { id: "study" },
    ),
    place,
    cards,
  );
}
