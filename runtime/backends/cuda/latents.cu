/* The latent scheme of docs/latents.md for GPUs, and for CPUs to prove it by.
 *
 * One source, three uses: `latents.ptx` beside it is compiled from it (`make ptx`) and shipped, a
 * test compiles it with the host's compiler and holds it against NumPy to the bit, and the simulated
 * driver of the tests runs that. Every product and sum is rounded by itself: on a GPU by intrinsics
 * that no compiler fuses, on a CPU by -ffp-contract=off.
 */
#ifdef __CUDACC__
#define FUNCTION static __device__ __forceinline__
#define MUL(a, b) __fmul_rn(a, b)
#define ADD(a, b) __fadd_rn(a, b)
#define SUB(a, b) __fsub_rn(a, b)
#define DIV(a, b) __fdiv_rn(a, b)
#define SQRT(a) __fsqrt_rn(a)
#define HIGH(a, b) __umulhi(a, b)
#define BITS(f) __float_as_uint(f)
#define FLOAT(u) __uint_as_float(u)
#else
#include <math.h>
#include <string.h>
#define FUNCTION static inline
#define MUL(a, b) ((a) * (b))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define DIV(a, b) ((a) / (b))
#define SQRT(a) sqrtf(a)
#define HIGH(a, b) ((unsigned)(((unsigned long long)(a) * (b)) >> 32))
static inline unsigned BITS(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static inline float FLOAT(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
#endif

/* A region of one latent: `runtime.latents.Region`, twelve words. */
typedef struct {
  unsigned seed_low, seed_high, sample, level, channels, top, left, height, width;
  float tau;
  unsigned unused[2];
} Place;

FUNCTION void philox4x32(unsigned c[4], unsigned k0, unsigned k1) {
  for (int round = 0; round < 10; ++round) {
    unsigned high0 = HIGH(c[0], 0xD2511F53u), low0 = c[0] * 0xD2511F53u;
    unsigned high1 = HIGH(c[2], 0xCD9E8D57u), low1 = c[2] * 0xCD9E8D57u;
    c[0] = high1 ^ c[1] ^ k0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ k1;
    c[3] = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

FUNCTION float radius(unsigned word) {
  unsigned bits = BITS(ADD((float)word, 0.5f)) - 0x3F3504F3u;
  float exponent = (float)((int)bits >> 23);
  float m = FLOAT((bits & 0x007FFFFFu) + 0x3F3504F3u);
  float s = DIV(SUB(m, 1.0f), ADD(m, 1.0f));
  float z = MUL(s, s);
  float t = MUL(0.5985158f, z);
  t = MUL(ADD(t, 0.7994958f), z);
  t = MUL(ADD(t, 1.3333364f), z);
  t = ADD(t, 4.0f);
  return SQRT(SUB(MUL(SUB(32.0f, exponent), 1.3862944f), MUL(t, s)));
}

FUNCTION float quarter_sine(unsigned n) {
  float t = MUL(ADD((float)(int)n, 0.5f), 9.313225746154785e-10f); /* 2^-30 */
  float x = MUL(t, t);
  float s = MUL(0.00015148513f, x);
  s = MUL(ADD(s, -0.0046737664f), x);
  s = MUL(ADD(s, 0.07968968f), x);
  s = MUL(ADD(s, -0.6459637f), x);
  return MUL(ADD(s, 1.5707964f), t);
}

FUNCTION void normal_pair(unsigned radius_word, unsigned angle_word, float out[2]) {
  unsigned n = angle_word >> 2;
  float r = radius(radius_word);
  float cosine = quarter_sine(n ^ 0x3FFFFFFFu), sine = quarter_sine(n);
  out[0] = MUL(r, FLOAT(BITS(cosine) | angle_word << 31));
  out[1] = MUL(r, FLOAT(BITS(sine) | (angle_word << 30 & 0x80000000u)));
}

/* The index-th group of four columns (at absolute multiples of four) of the index-th row.
 * Rows and columns count modulo 2^32: those of an image's border come before row and column 0. */
FUNCTION void draw_block(const Place *p, float *out, unsigned long long index) {
  unsigned first = p->left >> 2;
  unsigned blocks = (unsigned)(((unsigned long long)p->left + p->width + 3) >> 2) - first;
  unsigned long long row = index / blocks;
  unsigned block = first + (unsigned)(index % blocks);
  if (row >= (unsigned long long)p->channels * p->height) return;
  unsigned c[4] = {block & 0x3FFFFFFFu, p->top + (unsigned)(row % p->height),
                   p->level << 16 | (unsigned)(row / p->height), p->sample};
  float normals[4];
  philox4x32(c, p->seed_low, p->seed_high);
  normal_pair(c[0], c[1], normals);
  normal_pair(c[2], c[3], normals + 2);
  for (unsigned i = 0; i < 4; ++i) {
    unsigned long long x = 4ull * block + i;
    if (x < p->left || x - p->left >= p->width) continue;
    out[row * p->width + (x - p->left)] = p->tau == 0.0f ? 0.0f : MUL(normals[i], p->tau);
  }
}

#ifdef __CUDACC__
/* A captured launch keeps its arguments: there the place is read when the kernel runs. */
extern "C" __global__ void hcflow_latents_at(const Place *place, float *out) {
  draw_block(place, out, (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x);
}
extern "C" __global__ void hcflow_latents_of(Place place, float *out) {
  draw_block(&place, out, (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x);
}
#else
void hcflow_latents(const Place *place, float *out) {
  unsigned long long row = (unsigned long long)place->width / 4 + 2;
  for (unsigned long long i = 0; i < row * place->channels * place->height; ++i)
    draw_block(place, out, i);
}
#endif
