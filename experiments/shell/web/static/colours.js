// Scales that readers with any colour vision can tell apart.

// Cividis (Nuñez, Anderton & Renslow 2018), eleven stops.
const CIVIDIS = [
  [0, 34, 78],
  [0, 51, 111],
  [44, 72, 109],
  [74, 90, 109],
  [98, 108, 112],
  [122, 126, 117],
  [146, 146, 118],
  [174, 166, 110],
  [202, 187, 98],
  [230, 209, 76],
  [253, 234, 69],
];
// From blue over near-white to orange.
const DIVERGING = [
  [20, 90, 170],
  [120, 170, 220],
  [245, 245, 245],
  [250, 180, 100],
  [205, 90, 10],
];
const DIVERGING_DARK = [
  [80, 150, 235],
  [40, 80, 130],
  [30, 32, 38],
  [130, 75, 25],
  [245, 150, 50],
];

function along(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  return stops[i].map((c, k) => Math.round(c + (place - i) * (stops[i + 1][k] - c)));
}

export const cividis = (share) => along(CIVIDIS, share);
export const isDark = () => document.documentElement.dataset.theme === "dark";
export const diverging = (share) => along(isDark() ? DIVERGING_DARK : DIVERGING, share);
export const css = ([r, g, b]) => `rgb(${r},${g},${b})`;

/** Black or white, whichever stands out from the colour. */
export function ink([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

export const gradient = () => `linear-gradient(90deg, ${CIVIDIS.map(css).join(",")})`;
export const scale = () => CIVIDIS.map((c, i) => [i / (CIVIDIS.length - 1), css(c)]);

// Okabe & Ito 2008, those that stand out from white and from black alike.
export const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
export const LABELS = { light: ["#0b4f9e", "#b34700"], dark: ["#8ec5ff", "#ffb469"] };
