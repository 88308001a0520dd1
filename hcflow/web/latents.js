// Latents by place, the same bits as runtime/latents.py (docs/latents.md).
const f = Math.fround;
const LOG = [4.0, 1.3333364, 0.7994958, 0.5985158].map(f);
const SINE = [1.5707964, -0.6459637, 0.07968968, -0.0046737664, 0.00015148513].map(f);
const SQRT_HALF_BITS = 0x3F3504F3, TWO_LN2 = f(1.3862944), STEP = f(2 ** -30);
const floats = new Float32Array(1), words = new Uint32Array(floats.buffer);

// The high word of the product of two 32-bit words.
function high(a, b) {
  const a0 = a & 0xFFFF, a1 = a >>> 16, b0 = b & 0xFFFF, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16), low = a0 * b1 + (middle & 0xFFFF);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(low / 65536)) >>> 0;
}

// Philox4x32-10 of a counter of four words and a key of two.
export function philox(c0, c1, c2, c3, k0, k1) {
  for (let round = 0; round < 10; round += 1) {
    const high0 = high(c0, 0xD2511F53), low0 = Math.imul(c0, 0xD2511F53);
    const high1 = high(c2, 0xCD9E8D57), low1 = Math.imul(c2, 0xCD9E8D57);
    [c0, c1, c2, c3] = [high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0];
    k0 = (k0 + 0x9E3779B9) | 0;
    k1 = (k1 + 0xBB67AE85) | 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

// Σ cᵢ·xⁱ by Horner, each product and sum rounded to float32.
function horner(coefficients, x) {
  let value = f(x * coefficients[coefficients.length - 1]);
  for (let i = coefficients.length - 2; i > 0; i -= 1) value = f(f(value + coefficients[i]) * x);
  return f(value + coefficients[0]);
}

// √(−2·ln u) of u = (word + ½)/2³².
function radius(word) {
  floats[0] = f(f(word) + 0.5);
  const bits = (words[0] - SQRT_HALF_BITS) | 0, exponent = bits >> 23;
  words[0] = (bits & 0x007FFFFF) + SQRT_HALF_BITS;
  const m = floats[0], s = f(f(m - 1) / f(m + 1));
  const log = f(horner(LOG, f(s * s)) * s);
  return f(Math.sqrt(f(f(f(32 - exponent) * TWO_LN2) - log)));
}

// sin(π/2·(n + ½)/2³⁰) of n < 2³⁰.
function quarterSine(n) {
  const t = f(f(f(n) + 0.5) * STEP);
  return f(horner(SINE, f(t * t)) * t);
}

// Two normals of a word for the radius and one for the angle.
function pair(radiusWord, angleWord) {
  const r = radius(radiusWord), quadrant = angleWord >>> 2;
  const cosine = quarterSine(quadrant ^ 0x3FFFFFFF), sine = quarterSine(quadrant);
  return [f(r * (angleWord & 1 ? -cosine : cosine)), f(r * (angleWord & 2 ? -sine : sine))];
}

// A region of one latent, [channels, height, width] times τ.
// `seed` is a BigInt of 64 bits; rows and columns may begin below 0, in an image's border.
export function region({ seed, sample, level, channels, top, left, height, width, tau }) {
  const values = new Float32Array(channels * height * width);
  if (tau === 0) return values;
  const k0 = Number(seed & 0xFFFFFFFFn), k1 = Number(seed >> 32n), factor = f(tau);
  const first = Math.floor(left / 4), last = Math.ceil((left + width) / 4);
  for (let channel = 0; channel < channels; channel += 1) {
    const field = ((level << 16) | channel) >>> 0;
    for (let row = 0; row < height; row += 1) {
      const start = (channel * height + row) * width;
      for (let block = first; block < last; block += 1) {
        const w = philox(block & 0x3FFFFFFF, (top + row) >>> 0, field, sample, k0, k1);
        const normals = [...pair(w[0], w[1]), ...pair(w[2], w[3])];
        for (let i = 0; i < 4; i += 1) {
          const x = 4 * block + i - left;
          if (x >= 0 && x < width) values[start + x] = tau === 1 ? normals[i] : f(normals[i] * factor);
        }
      }
    }
  }
  return values;
}
