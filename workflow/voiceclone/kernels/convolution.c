/* Convolutions of the vocoder. Sequences are (time, channels), channels a whole number of panels: vectors lie along
 * the channels, and neither steps in time nor dilations move numbers within them.
 */
#include "products.h"
#include <stdatomic.h>

/* y (rows, outputs) = rows of x, `inputs` apart or, where windows overlap, fewer, times float32 weights, plus bias. */
typedef struct {
    const Linear *linear;
    const float *x;
    long rows, stride;
    float *y;
} Windows;

static void windows_task(void *context, int part, int parts) {
    const Windows *w = context;
    const Linear *l = w->linear;
    const long first = share(w->rows, part, parts), last = share(w->rows, part + 1, parts);
    const long size = (long)l->inputs * PANEL;
    for (long block = first; block < last; block += 8 * ROWS) {
        const long end = block + 8 * ROWS < last ? block + 8 * ROWS : last;
        for (long p = 0; p < l->outputs / PANEL; p++)
            for (long r = block; r < end;) {
                vec sums[ROWS][PARTS];
                const float *panel = (const float *)l->weights + p * size;
                const int some = some_rows(end - r, w->x + r * w->stride, w->stride, panel, l->inputs, 0, sums);
                for (int i = 0; i < some; i++, r++)
                    for (long n = p * PANEL, v = 0; v < PARTS; v++, n += LANES)
                        finish(sums[i][v], l->bias + n, 0, w->y + r * l->outputs + n);
            }
    }
}

void windows(const Linear *l, const float *x, long rows, long stride, float *y) {
    Windows context = {l, x, rows, stride, y};
    together(windows_task, &context);
}

/* ---- By Toom and Cook: half the multiplications --------------------------------------------------------------- */

#define OUTPUTS 4 /* that a tile makes at once */
#define POINTS 7  /* at most */
#define TILES 24  /* that share a pass over the weights */

typedef struct {
    int32_t channels, points, groups, dilation, before; /* before: samples that the first tap lies back, undilated */
    const float *input;                                 /* (points, points) */
    const float *output;                                /* (OUTPUTS, points) */
    const float *weights;                               /* (points, panel, groups * channels, PANEL) */
    const float *bias;                                  /* (channels,) */
} Convolution;
typedef struct {
    const Convolution *convolution;
    const float *x, *residual; /* (length, channels); residual may be NULL */
    float *y;
    long length;
    float slope, scale; /* of the leaky ReLU before; of the result */
    int32_t add;        /* to what y holds */
    atomic_long next;
} Filter;

/* Transform windows of `points` samples that start OUTPUTS apart: tile t of `count` begins at sample `first`. */
INLINE void transform_input(const Filter *f, const int points, long phase, long first, long count, long stored,
                            float *out) {
    const Convolution *c = f->convolution;
    const long samples = (f->length - phase + c->dilation - 1) / c->dilation, channels = c->channels;
    for (long t = 0; t < count; t++)
        for (long i = 0; i < channels; i += LANES) {
            vec x[POINTS];
            for (int j = 0; j < points; j++) {
                const long sample = first + OUTPUTS * t + j;
                if (sample < 0 || sample >= samples) {
                    x[j] = (vec){0};
                    continue;
                }
                vec value = read_vec(f->x + (phase + sample * c->dilation) * channels + i);
                vec above = larger(value, (vec){0});
                x[j] = above + f->slope * (value - above);
            }
            for (int p = 0; p < points; p++) {
                vec sum = c->input[p * points] * x[0];
                for (int j = 1; j < points; j++) sum += c->input[p * points + j] * x[j];
                write_vec(out + (p * stored + t) * channels + i, sum);
            }
        }
}

INLINE void transform_output(const Filter *f, const int points, long phase, long first, long tiles, const float *in) {
    const Convolution *c = f->convolution;
    const long samples = (f->length - phase + c->dilation - 1) / c->dilation, channels = c->channels;
    for (long t = 0; t < tiles; t++)
        for (long i = 0; i < channels; i += LANES) {
            vec products[POINTS];
            for (int p = 0; p < points; p++) products[p] = read_vec(in + (p * TILES + t) * channels + i);
            for (int j = 0; j < OUTPUTS && first + OUTPUTS * t + j < samples; j++) {
                vec sum = read_vec(c->bias + i);
                for (int p = 0; p < points; p++) sum += c->output[j * points + p] * products[p];
                const long place = (phase + (first + OUTPUTS * t + j) * c->dilation) * channels + i;
                if (f->residual) sum += read_vec(f->residual + place);
                sum *= f->scale;
                if (f->add) sum += read_vec(f->y + place);
                write_vec(f->y + place, sum);
            }
        }
}

static void filter_block(const Filter *f, long phase, long tile, long tiles, float *transformed, float *products) {
    const Convolution *c = f->convolution;
    const long channels = c->channels, depth = c->groups * channels, stored = TILES + c->groups - 1;
    const long first = OUTPUTS * tile - c->before, count = tiles + c->groups - 1;
    if (c->points == 6) transform_input(f, 6, phase, first, count, stored, transformed);
    else transform_input(f, POINTS, phase, first, count, stored, transformed);
    for (long point = 0; point < c->points; point++)
        for (long panel = 0; panel < channels / PANEL; panel++) {
            const float *weights = c->weights + (point * channels / PANEL + panel) * depth * PANEL;
            for (long t = 0; t < tiles;) {
                vec sums[ROWS][PARTS];
                const float *x = transformed + (point * stored + t) * channels;
                const int some = some_rows(tiles - t, x, channels, weights, depth, 0, sums);
                for (int r = 0; r < some; r++, t++)
                    for (int v = 0; v < PARTS; v++)
                        write_vec(products + (point * TILES + t) * channels + panel * PANEL + v * LANES, sums[r][v]);
            }
        }
    if (c->points == 6) transform_output(f, 6, phase, OUTPUTS * tile, tiles, products);
    else transform_output(f, POINTS, phase, OUTPUTS * tile, tiles, products);
}

static void filter_task(void *context, int part, int parts) {
    (void)part, (void)parts;
    Filter *f = context;
    const Convolution *c = f->convolution;
    const long longest = (f->length + c->dilation - 1) / c->dilation;
    const long blocks = ((longest + OUTPUTS - 1) / OUTPUTS + TILES - 1) / TILES;
    float *scratch = aligned_alloc(64, sizeof(float) * POINTS * (2 * TILES + c->groups) * c->channels);
    if (!scratch) abort();
    for (long item; (item = atomic_fetch_add(&f->next, 1)) < blocks * c->dilation;) {
        const long phase = item % c->dilation, tile = item / c->dilation * TILES;
        const long samples = (f->length - phase + c->dilation - 1) / c->dilation;
        const long left = (samples + OUTPUTS - 1) / OUTPUTS - tile;
        if (left > 0)
            filter_block(f, phase, tile, left < TILES ? left : TILES, scratch,
                         scratch + POINTS * (TILES + c->groups) * c->channels);
    }
    free(scratch);
}

/* y = scale * (convolution of leaky(x) + residual), or that added to y. */
void filter(const Convolution *c, const float *x, long length, float slope, const float *residual, float scale, int add,
            float *y) {
    Filter context = {c, x, residual, y, length, slope, scale, add, 0};
    together(filter_task, &context);
}
