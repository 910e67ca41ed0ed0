// Before the first paint: the theme that was chosen, or the system's.
{
  const chosen = localStorage.getItem("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  set(chosen || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (!localStorage.getItem("theme")) {
      set(dark.matches ? "dark" : "light");
      dispatchEvent(new Event("theme"));
    }
  });
}
