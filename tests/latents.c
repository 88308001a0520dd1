/* The latent scheme of docs/latents.md in C, for one region; writes float32 to standard output.
 *
 * Compile with -ffp-contract=off: a fused multiply-add rounds once where the scheme rounds twice.
 * Arguments: seed sample level channels top left height width
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void philox4x32(uint32_t c[4], uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; ++round) {
        uint64_t p0 = (uint64_t)c[0] * 0xD2511F53u, p1 = (uint64_t)c[2] * 0xCD9E8D57u;
        uint32_t c1 = c[1], c3 = c[3];
        c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

static float radius(uint32_t word) {
    float u = (float)word + 0.5f;
    uint32_t bits;
    memcpy(&bits, &u, 4);
    bits -= 0x3F3504F3u;
    float exponent = (float)((int32_t)bits >> 23);
    bits = (bits & 0x007FFFFFu) + 0x3F3504F3u;
    float m;
    memcpy(&m, &bits, 4);
    float s = (m - 1.0f) / (m + 1.0f);
    float z = s * s;
    float t = 0.5985158f * z;
    t = (t + 0.7994958f) * z;
    t = (t + 1.3333364f) * z;
    t = t + 4.0f;
    return sqrtf((32.0f - exponent) * 1.3862944f - t * s);
}

static float quarter_sine(uint32_t n) {
    float t = ((float)(int32_t)n + 0.5f) * 0x1p-30f;
    float x = t * t;
    float s = 0.00015148513f * x;
    s = (s + -0.0046737664f) * x;
    s = (s + 0.07968968f) * x;
    s = (s + -0.6459637f) * x;
    s = s + 1.5707964f;
    return s * t;
}

static void normal_pair(uint32_t radius_word, uint32_t angle_word, float out[2]) {
    uint32_t n = angle_word >> 2;
    float r = radius(radius_word);
    float cosine = quarter_sine(n ^ 0x3FFFFFFFu), sine = quarter_sine(n);
    out[0] = r * ((angle_word & 1) ? -cosine : cosine);
    out[1] = r * ((angle_word & 2) ? -sine : sine);
}

int main(int argc, char **argv) {
    if (argc != 9) return 2;
    uint64_t seed = strtoull(argv[1], NULL, 10), a[7];
    for (int i = 0; i < 7; ++i) a[i] = strtoull(argv[i + 2], NULL, 10);
    uint64_t sample = a[0], level = a[1], channels = a[2], top = a[3], left = a[4];
    for (uint64_t channel = 0; channel < channels; ++channel)
        for (uint64_t y = top; y < top + a[5]; ++y)
            for (uint64_t x = left; x < left + a[6]; ++x) {
                uint32_t c[4] = {(uint32_t)(x >> 2), (uint32_t)y,
                                 (uint32_t)(level << 16 | channel), (uint32_t)sample};
                float normals[4];
                philox4x32(c, (uint32_t)seed, (uint32_t)(seed >> 32));
                normal_pair(c[0], c[1], normals);
                normal_pair(c[2], c[3], normals + 2);
                fwrite(&normals[x & 3], 4, 1, stdout);
            }
    return 0;
}
