/* Linear layers of all kinds of weights, of which each part of a team makes a share of the outputs. */
#ifndef LINEAR_H
#define LINEAR_H
#include "products.h"

#define GROUP 4   /* rows that are quantised at once */
#define BLOCK 32  /* inputs that share a scale in int4 */

/* Bytes that a part needs to quantise rows of so many inputs. */
#define SCRATCH(inputs) (GROUP * 2L * (inputs))

INLINE void linear_floats(const Linear *l, const float *x, long rows, float *y, int relu, int part, int parts,
                          const int half) {
    const long panels = l->outputs / PANEL, size = (long)l->inputs * PANEL * (half ? 2 : 4);
    const long last = share(panels, part + 1, parts);
    const char *weights = l->weights;
    vec sums[ROWS][PARTS];
    long p = share(panels, part, parts);
    for (; rows == 1 && p + STREAMS <= last; p += STREAMS) {
        wide_product(x, weights + p * size, l->inputs, half, sums);
        for (long n = p * PANEL, s = 0; s < STREAMS * PARTS; s++, n += LANES)
            finish(sums[s / PARTS][s % PARTS], l->bias + n, relu, y + n);
    }
    for (; p < last; p++)
        for (long r = 0; r < rows;) {
            const int some = some_rows(rows - r, x + r * l->inputs, l->inputs, weights + p * size, l->inputs, half, sums);
            for (int i = 0; i < some; i++, r++)
                for (long n = p * PANEL, v = 0; v < PARTS; v++, n += LANES)
                    finish(sums[i][v], l->bias + n, relu, y + r * l->outputs + n);
        }
}

/* ---- Integers ------------------------------------------------------------------------------------------------- */

#ifdef __AVX2__
#if LANES == 16
typedef __m512i bytes;
INLINE bytes read_bytes(const void *numbers) { return _mm512_loadu_si512(numbers); }
INLINE bytes repeat(int32_t four) { return _mm512_set1_epi32(four); }
INLINE bytes low_halves(bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
INLINE bytes high_halves(bytes v) { return low_halves(_mm512_srli_epi16(v, 4)); }
INLINE ivec add_products(ivec sum, bytes unsigned_numbers, bytes signed_numbers) {
#ifdef __AVX512VNNI__
    return (ivec)_mm512_dpbusd_epi32((__m512i)sum, unsigned_numbers, signed_numbers);
#else
    __m512i pairs = _mm512_maddubs_epi16(unsigned_numbers, signed_numbers);
    return sum + (ivec)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#endif
}
#else
typedef __m256i bytes;
INLINE bytes read_bytes(const void *numbers) { return _mm256_loadu_si256((const __m256i *)numbers); }
INLINE bytes repeat(int32_t four) { return _mm256_set1_epi32(four); }
INLINE bytes low_halves(bytes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
INLINE bytes high_halves(bytes v) { return low_halves(_mm256_srli_epi16(v, 4)); }
/* Sums of four products; the pairs fit into 16 bits because weights have 7 bits, or 4. */
INLINE ivec add_products(ivec sum, bytes unsigned_numbers, bytes signed_numbers) {
    __m256i pairs = _mm256_maddubs_epi16(unsigned_numbers, signed_numbers);
    return sum + (ivec)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#endif
#else
typedef uint8_t bytes __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
INLINE bytes read_bytes(const void *numbers) { return *(const bytes *)numbers; }
INLINE bytes repeat(int32_t four) { return (bytes)(four + (ivec){0}); }
INLINE bytes low_halves(bytes v) { return v & 15; }
INLINE bytes high_halves(bytes v) { return v >> 4; }
INLINE ivec add_products(ivec sum, bytes unsigned_numbers, bytes signed_numbers) {
    for (int i = 0; i < 4 * LANES; i++) sum[i / 4] += (int32_t)unsigned_numbers[i] * (int8_t)signed_numbers[i];
    return sum;
}
#endif

INLINE bytes repeat_four(const void *numbers) {
    int32_t four;
    memcpy(&four, numbers, 4);
    return repeat(four);
}

INLINE float nearest(float value) { /* halves to even, while |value| < 2^22 */
    return (value + 12582912.0f) - 12582912.0f;
}

/* x as scale * (number - zero): the range of the row, with 0 in it, over 256 steps. */
static void to_uint8(const float *x, long count, uint8_t *numbers, float *scale, int *zero) {
    vec low = {0}, high = {0};
    for (long i = 0; i < count; i += LANES) high = larger(high, read_vec(x + i)), low = larger(low, -read_vec(x + i));
    float least = 0, most = 0;
    for (int i = 0; i < LANES; i++) least = low[i] > least ? low[i] : least, most = high[i] > most ? high[i] : most;
    *scale = most + least > 0 ? (most + least) / 255 : 1;
    *zero = (int)(least / *scale + 0.5f);
    const float inverse = 1 / *scale;
    for (long i = 0; i < count; i++) {
        const int32_t number = (int32_t)(x[i] * inverse + (float)*zero + 0.5f);
        numbers[i] = (uint8_t)(number < 0 ? 0 : number > 255 ? 255 : number);
    }
}

INLINE void finish8(const Linear *l, ivec sums, long n, float scale, int zero, int relu, float *y) {
    vec value = __builtin_convertvector(sums - zero * *(const ivec *)(l->sums + n), vec);
    finish(value * (scale * read_vec(l->scales + n)), l->bias + n, relu, y + n);
}

/* `rows` rows of numbers times `panels` panels. */
INLINE void product8(const int rows, const int panels, const uint8_t *x, long depth, const int8_t *weights,
                     ivec sums[][PARTS]) {
    for (int i = 0; i < rows * panels; i++)
        for (int v = 0; v < PARTS; v++) sums[i][v] = (ivec){0};
    for (long k = 0; k < depth; k += 4)
        for (int s = 0; s < panels; s++)
            for (int v = 0; v < PARTS; v++) {
                const bytes w = read_bytes(weights + (s * depth + k) * PANEL + 4 * v * LANES);
                for (int r = 0; r < rows; r++)
                    sums[r * panels + s][v] = add_products(sums[r * panels + s][v], repeat_four(x + r * depth + k), w);
            }
}

static void linear_int8(const Linear *l, const float *x, long rows, float *y, int relu, int part, int parts,
                        uint8_t *numbers) {
    const long panels = l->outputs / PANEL, size = (long)l->inputs * PANEL, last = share(panels, part + 1, parts);
    const int8_t *weights = l->weights;
    float scale[GROUP];
    int zero[GROUP];
    ivec sums[GROUP][PARTS];
    _Static_assert(GROUP >= STREAMS, "sums hold either");
    for (long r = 0; r < rows;) { /* the weights of a part stay in the cache from group to group */
        const int some = rows - r >= GROUP ? GROUP : 1;
        for (int i = 0; i < some; i++)
            to_uint8(x + (r + i) * l->inputs, l->inputs, numbers + (long)i * l->inputs, scale + i, zero + i);
        for (long p = share(panels, part, parts); p < last;) {
            const int streams = some == 1 && last - p >= STREAMS ? STREAMS : 1;
            if (some == GROUP) product8(GROUP, 1, numbers, l->inputs, weights + p * size, sums);
            else if (streams == STREAMS) product8(1, STREAMS, numbers, l->inputs, weights + p * size, sums);
            else product8(1, 1, numbers, l->inputs, weights + p * size, sums);
            for (int i = 0; i < some; i++)
                for (long n = p * PANEL, s = 0; s < streams * PARTS; s++, n += LANES)
                    finish8(l, sums[i + s / PARTS][s % PARTS], n, scale[i], zero[i], relu, y + (r + i) * l->outputs);
            p += streams;
        }
        r += some;
    }
}

/* Numbers of 8 bits with a scale for every block, and the sums of the blocks times 8, which is the weights' zero. */
static void to_int8(const float *x, long count, int8_t *numbers, float *scales, int32_t *sums) {
    for (long b = 0; b < count / BLOCK; b++) {
        vec most = {0};
        for (long i = b * BLOCK; i < (b + 1) * BLOCK; i += LANES)
            most = larger(most, larger(read_vec(x + i), -read_vec(x + i)));
        float limit = 0;
        for (int i = 0; i < LANES; i++) limit = most[i] > limit ? most[i] : limit;
        const float inverse = limit > 0 ? 127 / limit : 0;
        int32_t sum = 0;
        for (long i = b * BLOCK; i < (b + 1) * BLOCK; i++) sum += numbers[i] = (int8_t)nearest(x[i] * inverse);
        scales[b] = limit / 127, sums[b] = 8 * sum;
    }
}

INLINE void product4(const int panels, const int8_t *x, const float *x_scales, const int32_t *x_sums, long depth,
                     const uint8_t *weights, const float *scales, vec sums[][PARTS]) {
    for (int s = 0; s < panels; s++)
        for (int v = 0; v < PARTS; v++) sums[s][v] = (vec){0};
    for (long b = 0; b < depth / BLOCK; b++)
        for (int s = 0; s < panels; s++)
            for (int v = 0; v < PARTS; v++) {
                ivec block = (ivec){0} - x_sums[b];
                for (long k = b * BLOCK; k < (b + 1) * BLOCK; k += 8) {
                    const bytes both = read_bytes(weights + (s * depth + k) / 2 * PANEL + 4 * v * LANES);
                    block = add_products(block, low_halves(both), repeat_four(x + k));
                    block = add_products(block, high_halves(both), repeat_four(x + k + 4));
                }
                const vec scale = x_scales[b] * read_vec(scales + (s * (depth / BLOCK) + b) * PANEL + v * LANES);
                sums[s][v] += scale * __builtin_convertvector(block, vec);
            }
}

static void linear_int4(const Linear *l, const float *x, long rows, float *y, int relu, int part, int parts,
                        int8_t *numbers) {
    const long panels = l->outputs / PANEL, depth = l->inputs, blocks = depth / BLOCK, last = share(panels, part + 1, parts);
    float *scales = (float *)(numbers + depth);
    int32_t *x_sums = (int32_t *)(scales + blocks);
    vec sums[STREAMS][PARTS];
    for (long r = 0; r < rows; r++) {
        to_int8(x + r * depth, depth, numbers, scales, x_sums);
        for (long p = share(panels, part, parts); p < last;) {
            const int streams = last - p >= 2 ? 2 : 1;
            const uint8_t *weights = (const uint8_t *)l->weights + p * depth / 2 * PANEL;
            if (streams == 2) product4(2, numbers, scales, x_sums, depth, weights, l->scales + p * blocks * PANEL, sums);
            else product4(1, numbers, scales, x_sums, depth, weights, l->scales + p * blocks * PANEL, sums);
            for (long n = p * PANEL, s = 0; s < streams * PARTS; s++, n += LANES)
                finish(sums[s / PARTS][s % PARTS], l->bias + n, relu, y + r * l->outputs + n);
            p += streams;
        }
    }
}

/* This part's outputs of y (rows, outputs) = x (rows, inputs) times the weights, plus the bias, cut at 0 where asked. */
static void linear(const Linear *l, const float *x, long rows, float *y, int relu, int part, int parts, void *scratch) {
    if (l->kind == INT8) linear_int8(l, x, rows, y, relu, part, parts, scratch);
    else if (l->kind == INT4) linear_int4(l, x, rows, y, relu, part, parts, scratch);
    else if (l->kind == FLOAT16) linear_floats(l, x, rows, y, relu, part, parts, 1);
    else linear_floats(l, x, rows, y, relu, part, parts, 0);
}
#endif
