// One picture through a network, tile by tile: what runtime/inference does for an opaque image.
import { spans, sourceIndices } from "./grid.js";
import { region } from "./latents.js";
import { enlarged, pull, weights } from "./neutral.js";

// RGBA bytes → RGB [3, height, width] in [0, 1].
export function toPlanes(data, size) {
  const planes = new Float32Array(3 * size);
  for (let i = 0; i < size; i += 1) {
    for (let c = 0; c < 3; c += 1) planes[c * size + i] = data[4 * i + c] / 255;
  }
  return planes;
}

function toEven(value) {
  const low = Math.floor(value), rest = value - low;
  return low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0);
}

// RGB [3, size], clipped to [0, 1] → opaque RGBA bytes.
export function toBytes(planes, size) {
  const data = new Uint8ClampedArray(4 * size).fill(255);
  for (let i = 0; i < size; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const value = Math.min(Math.max(planes[c * size + i], 0), 1);
      data[4 * i + c] = toEven(Math.fround(value * 255));
    }
  }
  return data;
}

// Convert an image.
//   model: {scale, latents: [{channels, factor}], tau, graphs: {upscale, downscale}}
//   direction: "upscale" or "downscale"
//   image: {data (RGBA), width, height}
//   run: feeds {name: {data, dims}} → the image [3, height, width] of a window
//   progress: called with the share that is done
// Gives an image of the same form.
export async function convert(model, direction, image, run, progress = () => {}) {
  const graph = model.graphs[direction], scale = model.scale, up = direction === "upscale";
  const [enter, leave] = up ? [1, scale] : [scale, 1];
  const { width, height } = image, planes = toPlanes(image.data, width * height);
  const rowsOf = sourceIndices(height, enter, graph.border * enter);
  const columnsOf = sourceIndices(width, enter, graph.border * enter);
  const rows = Math.ceil(height / enter), columns = Math.ceil(width / enter);
  const tile = graph.tile ?? Math.max(rows, columns) + 2 * graph.border, overlap = graph.overlap ?? 0;
  const ys = spans(rows, tile, overlap, graph.border), xs = spans(columns, tile, overlap, graph.border);
  const size = [rows * leave, columns * leave], result = new Float32Array(3 * size[0] * size[1]);
  let done = 0;
  for (const y of ys) {
    for (const x of xs) {
      const [h, w] = [y.window * enter, x.window * enter], input = new Float32Array(3 * h * w);
      const [top, left] = [y, x].map(span => (span.windowStart + graph.border) * enter);
      for (let c = 0; c < 3; c += 1) {
        for (let i = 0; i < h; i += 1) {
          const source = c * height * width + rowsOf[top + i] * width, target = (c * h + i) * w;
          for (let j = 0; j < w; j += 1) input[target + j] = planes[source + columnsOf[left + j]];
        }
      }
      const feeds = { [up ? "lr" : "hr"]: { data: input, dims: [1, 3, h, w] } };
      if (up && graph.latents) {
        model.latents.forEach(({ channels, factor }, at) => {
          const place = { top: y.windowStart * factor, left: x.windowStart * factor };
          const dims = [1, channels, y.window * factor, x.window * factor];
          const drawn = { seed: 0n, sample: 0, level: at + 1, channels, tau: model.tau };
          feeds[`z${at + 1}`] = {
            data: region({ ...drawn, ...place, height: dims[2], width: dims[3] }), dims,
          };
        });
      }
      const found = await run(feeds), across = x.window * leave, down = y.window * leave;
      for (let c = 0; c < 3; c += 1) {
        for (let i = y.start * leave; i < y.stop * leave; i += 1) {
          const from = (c * down + i - y.windowStart * leave) * across - x.windowStart * leave;
          const part = found.subarray(from + x.start * leave, from + x.stop * leave);
          result.set(part, (c * size[0] + i) * size[1] + x.start * leave);
        }
      }
      done += 1;
      progress(done / (ys.length * xs.length));
    }
  }
  const [map, mapRows, mapColumns] = weights(planes, height, width, enter);
  const [shares, full] = enlarged(map, mapRows, mapColumns, leave);
  pull(result, shares, full, size[0] * size[1]);
  return { data: toBytes(result, size[0] * size[1]), width: size[1], height: size[0] };
}
