/* The text-to-semantic network: a step reads every weight once, and little else takes time. */
#include "linear.h"

typedef struct {
    Linear joint, out, up, down;
    const float *norm1, *norm1_bias, *norm2, *norm2_bias;
    float *keys, *values; /* (heads, capacity, width) */
} Layer;
typedef struct {
    int32_t layers, heads, width, capacity;
    const Layer *layer;
    Linear logits;
} Network;
typedef struct {
    const Network *network;
    float *x;                /* (rows, dim), overwritten */
    long rows, past, phones; /* the first `phones` rows see one another, the others what is before them too */
    float *joint, *inner;    /* room for (rows, 3 dim), (rows, inputs of down) */
    float *scores;           /* room for (parts, capacity + 16) */
    uint8_t *numbers;        /* room for (parts, SCRATCH(inputs of down)) */
    float *logits;           /* of the last row */
} Pass;

int has_half(void) {
#ifdef __F16C__
    return 1;
#else
    return 0;
#endif
}

/* e to the power of x <= 0: 2^whole * e^rest, the latter by a polynomial (Cephes; relative error about 2e-7). */
INLINE vec exponential(vec x) {
    x = larger(x, (vec){0} - 87.0f);
    const ivec whole = __builtin_convertvector(x * 1.44269504f - 0.5f, ivec);
    const vec turns = __builtin_convertvector(whole, vec), rest = x - turns * 0.693359375f + turns * 2.12194440e-4f;
    vec p = 1.9875691500e-4f * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    return p * (vec)((whole + 127) << 23);
}

/* One query of one head against `seen` keys; `scores` has room for whole vectors. */
INLINE void attend(const float *query, const float *keys, const float *values, long seen, const int width, float *scores,
                   float *out) {
    const float scale = 1 / sqrtf((float)width);
    float most = -1e30f;
    for (long i = 0; i < seen; i++) {
        vec sum = {0};
        for (int v = 0; v < width; v += LANES) sum += read_vec(query + v) * read_vec(keys + i * width + v);
        scores[i] = sum_of(sum) * scale;
        most = scores[i] > most ? scores[i] : most;
    }
    for (long i = seen; i % LANES; i++) scores[i] = -1e30f;
    vec sums = {0};
    for (long i = 0; i < seen; i += LANES) {
        const vec power = exponential(read_vec(scores + i) - most);
        write_vec(scores + i, power);
        sums += power;
    }
    const float total = sum_of(sums);
    for (int v = 0; v < width; v += LANES) {
        vec even = {0}, odd = {0};
        for (long i = 0; i + 1 < seen; i += 2) {
            even += scores[i] * read_vec(values + i * width + v);
            odd += scores[i + 1] * read_vec(values + (i + 1) * width + v);
        }
        if (seen % 2) even += scores[seen - 1] * read_vec(values + (seen - 1) * width + v);
        write_vec(out + v, (even + odd) / total);
    }
}

/* This part's heads of inner (rows, dim), from rows of joint (query, key, value); keeps keys and values. */
static void attention(const Pass *pass, const Layer *layer, int part, int parts) {
    const Network *n = pass->network;
    const long width = n->width, dim = n->heads * width;
    float *scores = pass->scores + (long)part * (n->capacity + 16);
    for (long head = share(n->heads, part, parts); head < share(n->heads, part + 1, parts); head++) {
        float *keys = layer->keys + head * n->capacity * width, *values = layer->values + head * n->capacity * width;
        const float *row = pass->joint + head * width;
        for (long r = 0; r < pass->rows; r++) {
            memcpy(keys + (pass->past + r) * width, row + (3 * r + 1) * dim, sizeof(float) * width);
            memcpy(values + (pass->past + r) * width, row + (3 * r + 2) * dim, sizeof(float) * width);
        }
        for (long r = 0; r < pass->rows; r++) {
            const long seen = pass->past + (r < pass->phones ? pass->phones : r + 1);
            float *out = pass->inner + r * dim + head * width;
            if (width == 32) attend(row + 3 * r * dim, keys, values, seen, 32, scores, out);
            else attend(row + 3 * r * dim, keys, values, seen, (int)width, scores, out);
        }
    }
}

/* This part's rows of x = norm(x + added). */
static void normalise(const Pass *pass, const float *added, const float *scale, const float *bias, int part, int parts) {
    const long dim = (long)pass->network->heads * pass->network->width;
    for (long r = share(pass->rows, part, parts); r < share(pass->rows, part + 1, parts); r++) {
        float *x = pass->x + r * dim;
        vec sum = {0}, squares = {0};
        for (long i = 0; i < dim; i += LANES) {
            write_vec(x + i, read_vec(x + i) + read_vec(added + r * dim + i));
            sum += read_vec(x + i);
        }
        const float mean = sum_of(sum) / (float)dim;
        for (long i = 0; i < dim; i += LANES) squares += (read_vec(x + i) - mean) * (read_vec(x + i) - mean);
        const float factor = 1 / sqrtf(sum_of(squares) / (float)dim + 1e-5f);
        for (long i = 0; i < dim; i += LANES)
            write_vec(x + i, (read_vec(x + i) - mean) * factor * read_vec(scale + i) + read_vec(bias + i));
    }
}

static void pass_task(void *context, int part, int parts) {
    const Pass *pass = context;
    const Network *n = pass->network;
    const long rows = pass->rows, dim = (long)n->heads * n->width;
    for (const Layer *layer = n->layer; layer < n->layer + n->layers; layer++) {
        uint8_t *numbers = pass->numbers + part * SCRATCH(layer->down.inputs);
        linear(&layer->joint, pass->x, rows, pass->joint, 0, part, parts, numbers);
        meet();
        attention(pass, layer, part, parts);
        meet();
        linear(&layer->out, pass->inner, rows, pass->joint, 0, part, parts, numbers);
        meet();
        normalise(pass, pass->joint, layer->norm1, layer->norm1_bias, part, parts);
        meet();
        linear(&layer->up, pass->x, rows, pass->inner, 1, part, parts, numbers);
        meet();
        linear(&layer->down, pass->inner, rows, pass->joint, 0, part, parts, numbers);
        meet();
        normalise(pass, pass->joint, layer->norm2, layer->norm2_bias, part, parts);
        meet();
    }
    linear(&n->logits, pass->x + (rows - 1) * dim, 1, pass->logits, 0, part, parts, NULL);
}

void run_network(Pass *pass) { together(pass_task, pass); }
