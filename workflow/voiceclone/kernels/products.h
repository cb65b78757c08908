/* Products of rows with packed weights, the inner loops.
 *
 * Weights lie in panels of PANEL outputs: (panel, input, output) as float32 or float16; (panel, group of four inputs,
 * output, input) as int8; as int4 the same with two groups in a byte, the first one low.
 */
#ifndef PRODUCTS_H
#define PRODUCTS_H
#include "vectors.h"

#define PANEL 16
#define PARTS (PANEL / LANES)
#define ROWS 6    /* that a product of floats takes at once: their sums fill the registers */
#define STREAMS 4 /* panels that a product of a single row reads at once: enough sums to hide an addition's delay */

enum { FLOAT32, FLOAT16, INT8, INT4 };
typedef struct {
    int32_t kind, inputs, outputs; /* outputs: whole panels */
    const void *weights;
    const float *scales; /* INT8: (outputs,); INT4: (panel, block, output) */
    const float *bias;   /* (outputs,) */
    const int32_t *sums; /* INT8: of the weights of each output */
} Linear;

INLINE vec read_weights(const void *weights, long index, const int half) {
#ifdef __F16C__
    if (half) {
        const uint16_t *numbers = (const uint16_t *)weights + index;
#if LANES == 16
        return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)numbers));
#else
        return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)numbers));
#endif
    }
#else
    (void)half; /* float16 is packed as float32 where has_half() says no */
#endif
    return read_vec((const float *)weights + index);
}

/* Rows of x, `stride` apart, times one panel. */
INLINE void product(const int rows, const float *x, long stride, const void *panel, long depth, const int half,
                    vec sums[][PARTS]) {
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < PARTS; v++) sums[r][v] = (vec){0};
    for (long k = 0; k < depth; k++) {
        vec w[PARTS];
        for (int v = 0; v < PARTS; v++) w[v] = read_weights(panel, k * PANEL + v * LANES, half);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < PARTS; v++) sums[r][v] += x[r * stride + k] * w[v];
    }
}

/* As many of `left` rows as are best at once; returns how many. */
INLINE int some_rows(long left, const float *x, long stride, const void *panel, long depth, const int half,
                     vec sums[][PARTS]) {
    if (left >= ROWS) return product(ROWS, x, stride, panel, depth, half, sums), ROWS;
    if (left >= 2) return product(2, x, stride, panel, depth, half, sums), 2;
    return product(1, x, stride, panel, depth, half, sums), 1;
}

/* One row times STREAMS panels that follow one another. */
INLINE void wide_product(const float *x, const char *panels, long depth, const int half, vec sums[STREAMS][PARTS]) {
    const long size = depth * PANEL * (half ? 2 : 4);
    for (int s = 0; s < STREAMS; s++)
        for (int v = 0; v < PARTS; v++) sums[s][v] = (vec){0};
    for (long k = 0; k < depth; k++)
        for (int s = 0; s < STREAMS; s++)
            for (int v = 0; v < PARTS; v++)
                sums[s][v] += x[k] * read_weights(panels + s * size, k * PANEL + v * LANES, half);
}

INLINE void finish(vec sum, const float *bias, int relu, float *y) {
    sum += read_vec(bias);
    write_vec(y, relu ? larger(sum, (vec){0}) : sum);
}
#endif
