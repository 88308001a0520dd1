// Two pictures under a divider, both zoomed and moved together. Scenes are the page's own JSON, or
// the detail of an event "scenes" that a script sends to the document:
// [{name, width, height, left, right, reference, note, layers: [{name, src, scale, figures}]}]
// where scale is how many pixels of the scene one of the layer's pixels covers.
"use strict";
const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];  // beyond 100 %: every pixel a square
const STOPS = [[0, 0, 0], [128, 0, 0], [255, 64, 0], [255, 192, 0], [255, 255, 255]];
const id = name => document.getElementById(name);
const stage = id("stage"), divider = id("divider"), over = id("over"), under = id("under");
const frames = [over, under].map(side => side.querySelector(".frame"));
let scenes = [], scene, zoom = 1, x = 0, y = 0, share = 0.5, fitted = true, wanted = 1;

// One picture's pixel is `zoom` pixels of the screen, so 100 % is exact on any display.
const perPixel = () => zoom / (window.devicePixelRatio || 1);
const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const layer = name => scene.layers.find(one => one.name === name);

function fitZoom() {
  const ratio = window.devicePixelRatio || 1;
  return Math.min(stage.clientWidth / scene.width, stage.clientHeight / scene.height) * ratio;
}

function place() {
  const scale = perPixel(), ratio = window.devicePixelRatio || 1;
  const width = scene.width * scale, height = scene.height * scale;
  const axis = (at, size, room) =>
    size <= room ? (room - size) / 2 : clamp(at, room - size, 0);
  x = Math.round(axis(x, width, stage.clientWidth) * ratio) / ratio;
  y = Math.round(axis(y, height, stage.clientHeight) * ratio) / ratio;
  for (const frame of frames) frame.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  stage.classList.toggle("exact", zoom >= 2 || zoom === 1);
  stage.classList.toggle("movable", movable());
  id("zoom").value = `${Math.round(zoom * 100)} %`;
  divide();
}

function movable() {
  const scale = perPixel();
  return scene.width * scale > stage.clientWidth + 1 || scene.height * scale > stage.clientHeight + 1;
}

// The part of the picture that is seen, from left to right: the divider stays inside it.
function seen() {
  return [Math.max(x, 0), Math.min(x + scene.width * perPixel(), stage.clientWidth)];
}

function divide() {
  const [start, end] = seen(), at = start + share * (end - start);
  over.style.clipPath = `inset(0px ${Math.max(stage.clientWidth - at, 0)}px 0px 0px)`;
  divider.style.left = `${at}px`;
  divider.style.top = `${Math.max(y, 0)}px`;
  divider.style.bottom = `${Math.max(stage.clientHeight - y - scene.height * perPixel(), 0)}px`;
  const percent = Math.round(share * 100);
  divider.setAttribute("aria-valuenow", percent);
  divider.setAttribute("aria-valuetext",
    `${percent} %: ${id("left").value} on the left, ${id("right").value} on the right`);
}

function divideAt(clientX) {
  const [start, end] = seen();
  share = clamp((clientX - stage.getBoundingClientRect().left - start) / (end - start), 0, 1);
  divide();
}

function fit() {
  zoom = wanted = fitZoom();
  fitted = true;
  place();
}

// Zoom so that the point of the picture under (left, top) of the stage stays there.
function zoomTo(next, left, top) {
  const before = perPixel();
  zoom = clamp(next, Math.min(fitZoom(), 1), STEPS.at(-1));
  fitted = Math.abs(zoom - fitZoom()) < 1e-6;
  const ratio = perPixel() / before;
  x = left - (left - x) * ratio;
  y = top - (top - y) * ratio;
  place();
}

function nearest(value) {
  return STEPS.reduce((best, step) => Math.abs(step - value) < Math.abs(best - value) ? step : best);
}

// The wheel below 100 % is smooth; beyond, it stops at whole numbers, where pixels are squares.
function wheel(event) {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
  const factor = Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.002));
  wanted = clamp(wanted * factor, Math.min(fitZoom(), 1), STEPS.at(-1));
  const crossed = (zoom < 1) !== (wanted < 1) && zoom !== 1;
  const snapped = crossed ? 1 : wanted > 1 ? nearest(wanted) : wanted;
  if (crossed) wanted = 1;
  const box = stage.getBoundingClientRect();
  const next = factor > 1 ? Math.max(zoom, snapped) : Math.min(zoom, snapped);
  zoomTo(next, event.clientX - box.left, event.clientY - box.top);
}

function step(direction) {
  const fits = fitZoom(), stops = [...STEPS, fits, 0.125, 0.25, 0.5].sort((a, b) => a - b);
  const next = direction > 0 ? stops.find(stop => stop > zoom * 1.01)
    : stops.findLast(stop => stop < zoom * 0.99);
  wanted = next ?? zoom;
  zoomTo(wanted, stage.clientWidth / 2, stage.clientHeight / 2);
}

function full(left = stage.clientWidth / 2, top = stage.clientHeight / 2) {
  wanted = 1;
  zoomTo(1, left, top);
}

// Pointers: one on the divider divides, one elsewhere moves, two pinch. A picture that is seen
// whole cannot be moved: there, dragging divides wherever it starts.
const pointers = new Map();
let drag = null, pinch = null;

function spread() {
  const [a, b] = [...pointers.values()], box = stage.getBoundingClientRect();
  return {
    distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1,
    left: (a.clientX + b.clientX) / 2 - box.left, top: (a.clientY + b.clientY) / 2 - box.top,
  };
}

stage.addEventListener("pointerdown", event => {
  if (event.button !== 0) return;
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  if (pointers.size === 2) {
    drag = null;
    pinch = { ...spread(), zoom };
  } else if (pointers.size === 1) {
    const kind = divider.contains(event.target) ? "divide" : movable() ? "move" : "away";
    drag = { kind, startX: event.clientX, startY: event.clientY, x, y };
    drag.grip = event.clientX - (stage.getBoundingClientRect().left + parseFloat(divider.style.left));
  }
});
stage.addEventListener("pointermove", event => {
  if (!pointers.has(event.pointerId)) return;
  pointers.set(event.pointerId, event);
  if (pinch && pointers.size === 2) {
    const now = spread();
    x += now.left - pinch.left;
    y += now.top - pinch.top;
    [pinch.left, pinch.top] = [now.left, now.top];
    zoomTo(pinch.zoom * now.distance / pinch.distance, now.left, now.top);
    wanted = zoom;
  } else if (drag?.kind === "divide") {
    divideAt(event.clientX - drag.grip);
  } else if (drag?.kind === "away") {
    if (Math.abs(event.clientX - drag.startX) > 4) divideAt(event.clientX);
  } else if (drag) {
    stage.classList.add("moving");
    x = drag.x + event.clientX - drag.startX;
    y = drag.y + event.clientY - drag.startY;
    place();
  }
});
for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, event => {
  pointers.delete(event.pointerId);
  if (pinch && zoom > 1) {
    wanted = nearest(zoom);
    zoomTo(wanted, pinch.left, pinch.top);
  }
  pinch = drag = null;
  stage.classList.remove("moving");
});
stage.addEventListener("wheel", wheel, { passive: false });
stage.addEventListener("dblclick", event => {
  if (divider.contains(event.target)) return;
  const box = stage.getBoundingClientRect();
  if (fitted) full(event.clientX - box.left, event.clientY - box.top);
  else fit();
});

divider.addEventListener("keydown", event => {
  const by = event.shiftKey ? 0.1 : 0.01;
  const to = {
    ArrowLeft: share - by, ArrowDown: share - by, ArrowRight: share + by, ArrowUp: share + by,
    PageDown: share - 0.1, PageUp: share + 0.1, Home: 0, End: 1,
  }[event.key];
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  event.stopPropagation();
  share = clamp(to, 0, 1);
  divide();
});
stage.addEventListener("keydown", event => {
  const by = event.shiftKey ? 200 : 40;
  const to = {
    ArrowLeft: [by, 0], ArrowRight: [-by, 0], ArrowUp: [0, by], ArrowDown: [0, -by],
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  [x, y] = [x + to[0], y + to[1]];
  place();
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT)$/.test(event.target.tagName)) return;
  const act = {
    "+": () => step(1), "=": () => step(1), "-": () => step(-1), "0": fit, "1": () => full(),
    r: toggleResidual, R: toggleResidual,
  }[event.key];
  if (act) act();
});
