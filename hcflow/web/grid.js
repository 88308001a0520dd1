// The windows along one axis, as runtime/inference/grid.py defines them, in LR pixels.

// Spans of an axis of `length`: core [start, stop) in a window [windowStart, windowStart + window).
export function spans(length, tile, overlap, border) {
  const padded = length + 2 * border, inner = padded - 2 * overlap;
  const count = inner <= tile ? 1 : Math.ceil(inner / tile);
  const window = Math.ceil((padded + (count - 1) * 2 * overlap) / count);
  const start = k => Math.floor(k * (padded - window) / Math.max(count - 1, 1)) - border;
  let first = 0, last = count - 1;
  while (first < last && start(first + 1) + overlap <= 0) first += 1;
  while (last > first && start(last) + overlap >= length) last -= 1;
  const found = [];
  for (let k = first; k <= last; k += 1) {
    found.push({
      start: k > first ? start(k) + overlap : 0,
      stop: k < last ? start(k + 1) + overlap : length,
      windowStart: start(k),
      window,
    });
  }
  return found;
}

// For each pixel of a padded axis, the pixel of the image that stands there: reflected at its end
// up to a multiple, then mirrored as a whole with its outermost pixel repeated.
export function sourceIndices(size, multiple, border) {
  const whole = Math.ceil(size / multiple) * multiple, index = new Int32Array(whole + 2 * border);
  const reflected = at => {
    if (size === 1) return 0;
    const period = 2 * (size - 1), within = at % period;
    return within < size ? within : period - within;
  };
  for (let i = 0; i < index.length; i += 1) {
    const within = (((i - border) % (2 * whole)) + 2 * whole) % (2 * whole);
    index[i] = reflected(within < whole ? within : 2 * whole - 1 - within);
  }
  return index;
}
