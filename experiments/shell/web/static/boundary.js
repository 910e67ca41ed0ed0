// What a network says over the plane, as a picture: probability, boundary at ½ and its data.
import { h, themed } from "./dom.js";
import { diverging, isDark, LABELS } from "./colours.js";

/** Draws frame `frame` of a picture of the API onto a canvas. */
export function draw(canvas, picture, frame = picture.frames.length - 1) {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const size = Math.round(canvas.clientWidth || 260);
  const { x, y } = picture;
  const width = x[x.length - 1] - x[0],
    height = y[y.length - 1] - y[0];
  const tall = Math.round((size * height) / width);
  canvas.width = size * scale;
  canvas.height = tall * scale;
  canvas.style.aspectRatio = `${size} / ${tall}`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const rows = picture.frames[frame];
  field(context, rows, size, tall);
  const across = (v) => ((v - x[0]) / width) * size;
  const up = (v) => tall - ((v - y[0]) / height) * tall;
  contour(context, rows, x, y, across, up);
  points(context, picture, across, up, canvas);
}

function field(context, rows, width, height) {
  const small = new OffscreenCanvas(rows[0].length, rows.length);
  const inside = small.getContext("2d");
  const image = inside.createImageData(small.width, small.height);
  rows.forEach((row, j) =>
    row.forEach((p, i) => {
      const at = 4 * ((rows.length - 1 - j) * small.width + i);
      image.data.set([...diverging(p), 255], at);
    }),
  );
  inside.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  // A pixel's middle is its point: the outermost half pixels fall outside.
  context.drawImage(small, 0.5, 0.5, small.width - 1, small.height - 1, 0, 0, width, height);
}

/** The line at ½ by marching squares. */
function contour(context, rows, x, y, across, up) {
  context.beginPath();
  for (let j = 0; j + 1 < rows.length; j += 1) {
    for (let i = 0; i + 1 < rows[j].length; i += 1) {
      const corners = [
        [i, j],
        [i + 1, j],
        [i + 1, j + 1],
        [i, j + 1],
      ];
      const values = corners.map(([a, b]) => rows[b][a] - 0.5);
      const crossings = [];
      for (let k = 0; k < 4; k += 1) {
        const [u, v] = [values[k], values[(k + 1) % 4]];
        if (u > 0 === v > 0) continue;
        const [[a, b], [c, d]] = [corners[k], corners[(k + 1) % 4]],
          t = u / (u - v);
        crossings.push([across(x[a] + t * (x[c] - x[a])), up(y[b] + t * (y[d] - y[b]))]);
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) {
        context.moveTo(...crossings[k]);
        context.lineTo(...crossings[k + 1]);
      }
    }
  }
  context.strokeStyle = isDark() ? "#fff" : "#111";
  context.lineWidth = 1.5;
  context.stroke();
}

function points(context, picture, across, up, canvas) {
  const colours = LABELS[isDark() ? "dark" : "light"];
  const size = Math.min(3, Math.max(2, canvas.clientWidth / 110));
  picture.points.forEach(([a, b], i) => {
    const [px, py] = [across(a), up(b)],
      label = picture.labels[i];
    context.beginPath();
    if (label) context.arc(px, py, size, 0, 2 * Math.PI);
    else context.rect(px - size, py - size, 2 * size, 2 * size);
    context.fillStyle = colours[label];
    context.fill();
    context.lineWidth = 0.7;
    context.strokeStyle = isDark() ? "#000b" : "#fffb";
    context.stroke();
  });
}

/** A figure with its canvas; `load()` gives the picture. Redrawn when the theme changes. */
export function tile(title, load, href = null) {
  const canvas = h("canvas", { role: "img", "aria-label": `Decision boundary: ${title}` });
  const note = h("span", { class: "muted" }, " …");
  const name = href ? h("a", { href }, title) : title;
  const figure = h("figure", { class: "tile" }, canvas, h("figcaption", {}, name, note));
  const redraw = () => {
    if (figure.isConnected && figure.picture) draw(canvas, figure.picture);
  };
  figure.ready = load()
    .then((picture) => {
      figure.picture = picture;
      note.textContent = "";
      redraw();
    })
    .catch((error) => {
      canvas.hidden = true;
      note.textContent = ` ${error.message}`;
      note.className = "error";
    });
  themed(figure, redraw);
  new ResizeObserver(redraw).observe(figure);
  return figure;
}

export const legend = () =>
  h(
    "p",
    { class: "muted legend" },
    h("span", { class: "key square" }),
    " label 0  ",
    h("span", { class: "key dot" }),
    " label 1  · the colour is the probability of label 1, the line its ½",
  );

/** A picture over its epochs: play, pause and a slider. */
export function film(picture) {
  const canvas = h("canvas", {
    role: "img",
    "aria-label": "The decision boundary over the epochs",
  });
  const last = picture.frames.length - 1;
  const label = h("output", { class: "epoch" });
  const slider = h("input", {
    type: "range",
    min: "0",
    max: String(last),
    value: String(last),
    "aria-label": "Epoch",
    oninput: () => {
      stop();
      show(Number(slider.value));
    },
  });
  const button = h(
    "button",
    { type: "button", onclick: () => (timer ? stop() : play()) },
    "▶ Play",
  );
  let timer = null;
  const show = (frame) => {
    slider.value = String(frame);
    label.textContent = `epoch ${picture.epochs[frame]}`;
    draw(canvas, picture, frame);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶ Play";
  };
  const play = () => {
    let frame = Number(slider.value) >= last ? 0 : Number(slider.value);
    button.textContent = "❚❚ Pause";
    timer = setInterval(
      () => {
        if (!canvas.isConnected) return stop();
        show(frame);
        frame += 1;
        return frame > last && stop();
      },
      Math.max(60, 4000 / (last + 1)),
    );
  };
  const figure = h(
    "figure",
    { class: "film" },
    canvas,
    h("div", { class: "row" }, button, slider, label),
  );
  themed(figure, () => show(Number(slider.value)));
  requestAnimationFrame(() => {
    show(last);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      show(0);
      slider.value = "0";
      play();
    }
  });
  return figure;
}
