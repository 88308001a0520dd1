// Which pictures are shown: chosen layers, residuals computed from their pixels, figures.
// A layer's picture, made once; sizes are set by hand, so that it may be smaller than the scene.
const pictures = new Map();
function picture(one, side) {
  const key = `${scenes.indexOf(scene)} ${one.name} ${side}`;
  if (!pictures.has(key)) {
    const made = new Image();
    made.src = one.src;
    made.alt = one.name;
    made.draggable = false;
    if (one.scale > 1) made.className = "squares";
    made.addEventListener("load", () => {
      made.style.width = `${made.naturalWidth * one.scale}px`;
      made.style.height = `${made.naturalHeight * one.scale}px`;
    });
    pictures.set(key, made);
  }
  return pictures.get(key);
}

async function pixels(one) {
  const made = picture(one, 0), canvas = document.createElement("canvas");
  await made.decode();
  [canvas.width, canvas.height] = [scene.width, scene.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(made, 0, 0, made.naturalWidth * one.scale, made.naturalHeight * one.scale);
  return context.getImageData(0, 0, scene.width, scene.height).data;
}

// The largest difference of a pixel's three colours from the reference, and how often each is.
async function difference(one) {
  if (!one.difference) {
    const [first, second] = [await pixels(one), await pixels(layer(scene.reference))];
    const map = new Uint8Array(first.length / 4), counts = new Uint32Array(256);
    for (let i = 0, at = 0; i < map.length; i++, at += 4) {
      const d = Math.max(Math.abs(first[at] - second[at]), Math.abs(first[at + 1] - second[at + 1]),
        Math.abs(first[at + 2] - second[at + 2]));
      map[i] = d;
      counts[d]++;
    }
    one.difference = { map, counts };
  }
  return one.difference;
}

// What stands for the brightest colour: no single pixel decides it.
function ceilingOf(differences) {
  let most = 1;
  for (const { map, counts } of differences) {
    for (let value = 255, above = 0; value > most; value--) {
      above += counts[value];
      if (above > map.length / 1000) most = value;
    }
  }
  return most;
}

function painted(map, ceiling) {
  const canvas = document.createElement("canvas"), colours = new Uint32Array(256);
  for (let value = 0; value < 256; value++) {
    const at = Math.min(value / ceiling, 1) * (STOPS.length - 1), low = Math.min(Math.floor(at), 3);
    const mix = STOPS[low].map((from, c) => Math.round(from + (STOPS[low + 1][c] - from) * (at - low)));
    colours[value] = 0xff000000 | mix[2] << 16 | mix[1] << 8 | mix[0];
  }
  [canvas.width, canvas.height] = [scene.width, scene.height];
  const image = new ImageData(scene.width, scene.height), words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < map.length; i++) words[i] = colours[map[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

let turn = 0;  // what was asked for last is shown, however long the earlier took
async function show() {
  const mine = ++turn, chosen = [id("left").value, id("right").value].map(layer);
  const shown = chosen.map((one, side) => picture(one, side));
  const on = id("residual").getAttribute("aria-pressed") === "true";
  let compared = on ? chosen.filter(one => one.name !== scene.reference) : [], maps = [];
  let failed = "";
  try {
    maps = await Promise.all(compared.map(difference));
  } catch (error) {  // a canvas of this size is more than some browsers give
    [compared, failed] = [[], `this browser cannot compute the residual (${error.message})`];
  }
  if (mine !== turn) return;
  const ceiling = ceilingOf(maps);
  chosen.forEach((one, side) => {
    const at = compared.indexOf(one);
    if (at >= 0) shown[side] = painted(maps[at].map, ceiling);
    frames[side].replaceChildren(shown[side]);
  });
  id("legend").hidden = !compared.length && !failed;
  id("scale").hidden = !compared.length;
  id("legend-of").textContent = failed || `difference from ${scene.reference}`;
  id("ceiling").textContent = `${ceiling}/255`;
  for (const span of id("figures").children) {
    span.classList.toggle("shown", chosen.some(one => one.name === span.dataset.of));
  }
  divide();
}

function toggleResidual() {
  const on = id("residual").getAttribute("aria-pressed") !== "true";
  id("residual").setAttribute("aria-pressed", on);
  show();
}

function open(index) {
  scene = scenes[index];
  for (const name of ["left", "right"]) {
    const before = id(name).value;
    id(name).replaceChildren(...scene.layers.map(one => new Option(one.name)));
    id(name).value = layer(before) ? before : scene[name];
  }
  for (const frame of frames) {
    frame.style.width = `${scene.width}px`;
    frame.style.height = `${scene.height}px`;
  }
  id("figures").replaceChildren(...scene.layers.flatMap(one => {
    const span = document.createElement("span"), name = document.createElement("b");
    span.dataset.of = name.textContent = one.name;
    const figures = Object.entries(one.figures).map(([key, text]) => `${key} ${text}`.trim());
    span.append(name, ` ${figures.join(", ")}`);
    return [span, " "];  // lines may break between pictures only
  }));
  id("note").textContent = scene.note;
  fit();
  show();
}

function load(list) {
  scenes = list;
  pictures.clear();
  id("scene").replaceChildren(...scenes.map((one, index) => new Option(one.name, index)));
  id("scene").hidden = scenes.length < 2;
  open(0);
}

document.addEventListener("scenes", event => load(event.detail));
id("scene").addEventListener("change", () => open(Number(id("scene").value)));
for (const name of ["left", "right"]) id(name).addEventListener("change", show);
id("residual").addEventListener("click", toggleResidual);
id("in").addEventListener("click", () => step(1));
id("out").addEventListener("click", () => step(-1));
id("full").addEventListener("click", () => full());
id("fit").addEventListener("click", fit);
new ResizeObserver(() => scene && (fitted ? fit() : place())).observe(stage);
const given = JSON.parse(id("scenes").textContent);
if (given.length) load(given);
