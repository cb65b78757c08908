/* Pulses and noise through the filters of a source-filter decoder, as in inference/source_filter.py. */
#include "vectors.h"

/* As in models/synthesis.py. */
#define HOP 320
#define OVERLAP 4
#define LEAD 1
#define MARGIN (LEAD + OVERLAP / 2)
#define NEAR 1e-4f
#define LIMIT 5.0f
#define WINDOW_SUM 1.5

#define SIZE (OVERLAP * HOP)
#define BINS (SIZE / 2 + 1)
#define COLUMNS 16
#define ROWS (SIZE / COLUMNS)
#define PI 3.14159265358979323846

static struct {
    float cosine[SIZE], sine[SIZE];               /* of -2 pi i / SIZE */
    float turned_cosine[SIZE], turned_sine[SIZE]; /* of row times column */
    float window[SIZE], closing[SIZE];            /* Hann's; divided by what it adds up to */
} table;

__attribute__((constructor)) static void fill_table(void) {
    for (int i = 0; i < SIZE; i++) {
        table.cosine[i] = (float)cos(2 * PI * i / SIZE), table.sine[i] = (float)-sin(2 * PI * i / SIZE);
        table.window[i] = (float)(0.5 - 0.5 * cos(2 * PI * i / SIZE));
        table.closing[i] = table.window[i] / (float)WINDOW_SUM;
    }
    for (int i = 0; i < SIZE; i++) {
        const int product = i / COLUMNS * (i % COLUMNS);
        table.turned_cosine[i] = table.cosine[product], table.turned_sine[i] = table.sine[product];
    }
}

/* ---- Functions of one number, for loops that the compiler turns into vectors ----------------------------------- */

/* Sine of a quarter turn at most, in turns: a polynomial of least relative error, 7e-9. */
INLINE float sine_of_quarter(float u) {
    const float s = u * u;
    return u * (6.28318528f + s * (-41.3416807f + s * (81.6024851f + s * (-76.5813962f + s * 39.7616156f))));
}

/* Of half a turn at most. */
INLINE float sine(float turns) {
    const float folded = (turns < 0 ? -0.5f : 0.5f) - turns;
    return sine_of_quarter(fabsf(turns) > 0.25f ? folded : turns);
}

INLINE float cosine(float turns) { return sine_of_quarter(0.25f - fabsf(turns)); }

/* Radians as turns, half a one at most. */
INLINE float turns_of(float radians) {
    const float whole = rintf(radians * (float)(0.5 / PI)); /* 6.28125 times it is exact */
    return (radians - whole * 6.28125f - whole * 1.93530718e-3f) * (float)(0.5 / PI);
}

INLINE float exponential(float x) {
    x = x < -87 ? -87 : x;
    const float power = rintf(x * 1.44269504f);
    const float r = x - power * 0.693359375f + power * 2.12194440e-4f;
    const float rest = 0.5f + r * (0.166666667f + r * (0.0416663187f + r * (8.33328689e-3f + r * (1.39426304e-3f + r * 1.99056510e-4f))));
    const int32_t bits = ((int32_t)power + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return (1 + r + r * r * rest) * scale;
}

/* ---- Pulses ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const int64_t *phase; /* 2^64 a period */
    const float *harmonics, *amplitude;
    float *out;
    long count;
} Pulses;

static void pulses_task(void *context, int part, int parts) {
    const Pulses *p = context;
    for (long i = share(p->count, part, parts); i < share(p->count, part + 1, parts); i++) {
        const float harmonics = p->harmonics[i], half = sine((float)p->phase[i] * 0x1p-65f);
        const int64_t odd = (int64_t)((uint64_t)(2 * (int64_t)harmonics + 1) * (uint64_t)(p->phase[i] >> 1));
        const int near = fabsf(half) < NEAR;
        const float ratio = sine((float)odd * 0x1p-64f) / (near ? 1 : half);
        p->out[i] = (near ? harmonics : (ratio - 1) / 2) * sqrtf(2 / harmonics) * p->amplitude[i];
    }
}

/* Sums of the cosines of so many harmonics at each phase, of unit power, times an amplitude: all (count,). */
void pulses(const int64_t *phase, const float *harmonics, const float *amplitude, long count, float *out) {
    Pulses context = {phase, harmonics, amplitude, out, count};
    together(pulses_task, &context);
}

/* ---- Fourier transform: Bailey's four steps (1990), each a mixed-radix transform of Stockham's side by side ------ */

typedef struct {
    float re[SIZE + LANES], im[SIZE + LANES]; /* one more is used where the spectrum goes round */
} Signal;

/* A pass over sequences of radix * rest numbers, each `run` floats after the one before and as many side by side. */
INLINE void pass(const int radix, const long rest, const long run, const Signal *from, Signal *to) {
    for (long p = 0; p < rest; p++)
        for (long i = 0; i < run; i += LANES) {
            vec xr[5], xi[5], yr[5], yi[5];
            for (int k = 0; k < radix; k++) {
                xr[k] = read_vec(from->re + (p + rest * k) * run + i);
                xi[k] = read_vec(from->im + (p + rest * k) * run + i);
            }
            if (radix == 4) {
                const vec ar = xr[0] + xr[2], ai = xi[0] + xi[2], br = xr[0] - xr[2], bi = xi[0] - xi[2];
                const vec cr = xr[1] + xr[3], ci = xi[1] + xi[3], dr = xr[1] - xr[3], di = xi[1] - xi[3];
                yr[0] = ar + cr, yi[0] = ai + ci, yr[2] = ar - cr, yi[2] = ai - ci;
                yr[1] = br + di, yi[1] = bi - dr, yr[3] = br - di, yi[3] = bi + dr;
            } else {
                const float c1 = table.cosine[SIZE / 5], c2 = table.cosine[2 * SIZE / 5];
                const float s1 = table.sine[SIZE / 5], s2 = table.sine[2 * SIZE / 5];
                const vec ar = xr[1] + xr[4], ai = xi[1] + xi[4], br = xr[1] - xr[4], bi = xi[1] - xi[4];
                const vec cr = xr[2] + xr[3], ci = xi[2] + xi[3], dr = xr[2] - xr[3], di = xi[2] - xi[3];
                const vec er = xr[0] + c1 * ar + c2 * cr, ei = xi[0] + c1 * ai + c2 * ci;
                const vec fr = xr[0] + c2 * ar + c1 * cr, fi = xi[0] + c2 * ai + c1 * ci;
                const vec gr = s1 * br + s2 * dr, gi = s1 * bi + s2 * di;
                const vec hr = s2 * br - s1 * dr, hi = s2 * bi - s1 * di;
                yr[0] = xr[0] + ar + cr, yi[0] = xi[0] + ai + ci;
                yr[1] = er - gi, yi[1] = ei + gr, yr[4] = er + gi, yi[4] = ei - gr;
                yr[2] = fr - hi, yi[2] = fi + hr, yr[3] = fr + hi, yi[3] = fi - hr;
            }
            for (int k = 0; k < radix; k++) {
                const long turn = p * k * (SIZE / (radix * rest));
                const float c = table.cosine[turn], s = table.sine[turn];
                write_vec(to->re + (radix * p + k) * run + i, yr[k] * c - yi[k] * s);
                write_vec(to->im + (radix * p + k) * run + i, yr[k] * s + yi[k] * c);
            }
        }
}

/* x = its discrete Fourier transform: of the rows' sequences, and after a turn of the columns'. */
static void transform(Signal *x, Signal *other) {
    pass(5, ROWS / 5, COLUMNS, x, other);
    pass(4, 4, 5 * COLUMNS, other, x);
    pass(4, 1, 20 * COLUMNS, x, other);
    for (int column = 0; column < COLUMNS; column++)
        for (int row = 0; row < ROWS; row++) {
            const int i = row * COLUMNS + column, o = column * ROWS + row;
            x->re[o] = other->re[i] * table.turned_cosine[i] - other->im[i] * table.turned_sine[i];
            x->im[o] = other->re[i] * table.turned_sine[i] + other->im[i] * table.turned_cosine[i];
        }
    pass(4, 4, ROWS, x, other);
    pass(4, 1, 4 * ROWS, other, x);
}

/* ---- Filters ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const float *pulses, *noise;           /* ((frames + 2 * MARGIN) * HOP,) */
    const float *harmonic, *quiet, *phase; /* (frames, BINS) */
    float *out;                            /* (frames * HOP,) */
    long frames;
} Shaping;

/* A window of pulses and noise, shaped: its samples are the imaginary part of what is left in x. */
static void shape_window(const Shaping *s, long window, Signal *x, Signal *other) {
    const float *pulses = s->pulses + window * HOP, *noise = s->noise + window * HOP;
    for (int i = 0; i < SIZE; i++) x->re[i] = pulses[i] * table.window[i], x->im[i] = noise[i] * table.window[i];
    transform(x, other); /* both at once: one is real, the other imaginary */
    x->re[SIZE] = x->re[0], x->im[SIZE] = x->im[0];
    const long last = s->frames - 1, at = window < LEAD ? 0 : window - LEAD > last ? last : window - LEAD;
    const float *harmonic = s->harmonic + at * BINS, *quiet = s->quiet + at * BINS, *phase = s->phase + at * BINS;
    memset(other, 0, sizeof *other);
    for (int k = 0; k < BINS; k++) {
        const float turns = turns_of(phase[k]);
        const float loud = exponential(harmonic[k] < LIMIT ? harmonic[k] : LIMIT);
        const float soft = exponential(quiet[k] < LIMIT ? quiet[k] : LIMIT);
        const float pr = x->re[k] + x->re[SIZE - k], pi = x->im[k] - x->im[SIZE - k];
        const float nr = x->im[k] + x->im[SIZE - k], ni = x->re[SIZE - k] - x->re[k];
        const float c = loud * cosine(turns), d = loud * sine(turns);
        /* Exchanged, for the way back. Of frequencies that come twice in a real signal the second is left out. */
        other->im[k] = (c * pr - d * pi + soft * nr) * (1.0f / SIZE);
        other->re[k] = (c * pi + d * pr + soft * ni) * (1.0f / SIZE);
    }
    other->im[0] /= 2, other->re[0] /= 2, other->im[BINS - 1] /= 2, other->re[BINS - 1] /= 2;
    transform(other, x);
    for (int i = 0; i < SIZE; i++) x->im[i] = other->im[i] * table.closing[i];
}

/* Each thread has hops of its own, and shapes what reaches into them: nothing depends on how many there are. */
static void shape_task(void *context, int part, int parts) {
    const Shaping *s = context;
    const long first = share(s->frames, part, parts), last = share(s->frames, part + 1, parts);
    Signal x, other;
    for (long window = first; first < last && window < last + OVERLAP - 1; window++) {
        shape_window(s, window, &x, &other);
        for (int place = 0; place < OVERLAP; place++) {
            const long hop = window + place - MARGIN;
            if (hop < first || hop >= last) continue;
            float *out = s->out + hop * HOP;
            const float *in = x.im + place * HOP;
            if (place == OVERLAP - 1) memset(out, 0, sizeof(float) * HOP); /* the first window that reaches it */
            for (int i = 0; i < HOP; i++) out[i] += in[i];
        }
    }
}

void shape(const Shaping *s) { together(shape_task, (void *)s); }
