// Where the input has no colour over the network's reach, the output has none: the integers of
// runtime/images/pixels/neutral.py.
const f = Math.fround;
const REACH = 6, BLUR = 3, FULL = 255 * (2 * BLUR + 1) ** 2, SLOPE = f(255 / 4);
const RED = f(0.299), GREEN = f(0.587), BLUE = f(0.114);

// The largest of `values` [height × width] in blocks of `block` each way.
function blockMax(values, height, width, block) {
  const rows = Math.ceil(height / block), columns = Math.ceil(width / block);
  const largest = new Float32Array(rows * columns);
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(y / block) * columns;
    for (let x = 0; x < width; x += 1) {
      const at = row + Math.floor(x / block), value = values[y * width + x];
      if (value > largest[at]) largest[at] = value;
    }
  }
  return [largest, rows, columns];
}

// One value for each of `length` places from those within `reach` along one axis.
function along(values, rows, columns, reach, isVertical, combine, edge) {
  const result = new Int32Array(values.length), length = isVertical ? rows : columns;
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) {
      let total = 0;
      for (let d = -reach; d <= reach; d += 1) {
        let at = (isVertical ? y : x) + d;
        if (at < 0 || at >= length) {
          if (!edge) continue;
          at = at < 0 ? 0 : length - 1;
        }
        total = combine(total, values[isVertical ? at * columns + x : y * columns + at]);
      }
      result[y * columns + x] = total;
    }
  }
  return result;
}

// The weights of LR pixels, 0 to FULL: how much colour there is around each.
// `planes` are RGB [3, height, width] in [0, 1], with `block` pixels an LR pixel each way.
export function weights(planes, height, width, block) {
  const size = height * width, chroma = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    const [r, g, b] = [planes[i], planes[size + i], planes[2 * size + i]];
    chroma[i] = f(Math.max(r, g, b) - Math.min(r, g, b));
  }
  const [largest, rows, columns] = blockMax(chroma, height, width, block);
  const counted = Int32Array.from(largest, value => {
    const part = f(f(f(value * 255) - 1) * SLOPE);
    return Math.floor(f(Math.min(Math.max(part, 0), 255) + 0.5));
  });
  const sum = (a, b) => a + b;
  let map = along(counted, rows, columns, REACH, true, Math.max, false);
  map = along(map, rows, columns, REACH, false, Math.max, false);
  map = along(map, rows, columns, BLUR, true, sum, true);
  return [along(map, rows, columns, BLUR, false, sum, true), rows, columns];
}

// Linear between the centres of values: `scale` times as many along one axis, 2·scale times each.
function interpolated(values, rows, columns, scale, isVertical) {
  const length = isVertical ? rows : columns, wide = isVertical ? columns : columns * scale;
  const result = new Int32Array(rows * columns * scale);
  for (let i = 0; i < length * scale; i += 1) {
    const position = 2 * i + 1 - scale, above = Math.floor(position / (2 * scale));
    const part = position - above * 2 * scale;
    const upper = Math.min(Math.max(above, 0), length - 1);
    const lower = Math.min(Math.max(above + 1, 0), length - 1);
    for (let j = 0; j < (isVertical ? columns : rows); j += 1) {
      const [a, b] = isVertical
        ? [values[upper * columns + j], values[lower * columns + j]]
        : [values[j * columns + upper], values[j * columns + lower]];
      result[isVertical ? i * wide + j : j * wide + i] = a * (2 * scale - part) + b * part;
    }
  }
  return result;
}

// Weights of output pixels, and what is all of it; `scale` is 1 for a downscaled image.
export function enlarged(map, rows, columns, scale) {
  if (scale === 1) return [map, FULL];
  const down = interpolated(map, rows, columns, scale, true);
  return [interpolated(down, rows * scale, columns, scale, false), FULL * 4 * scale * scale];
}

// Clip an RGB result to [0, 1] and mix it with its luma, in place, where its weight is below `full`.
export function pull(planes, shares, full, size) {
  for (let i = 0; i < size; i += 1) {
    if (shares[i] === full) continue;
    const rgb = [0, 1, 2].map(c => Math.min(Math.max(planes[c * size + i], 0), 1));
    const gray = f(f(f(rgb[0] * RED) + f(rgb[1] * GREEN)) + f(rgb[2] * BLUE));
    const keep = f(f(shares[i]) / f(full)), rest = f(f(1 - keep) * gray);
    for (let c = 0; c < 3; c += 1) planes[c * size + i] = f(f(rgb[c] * keep) + rest);
  }
}
