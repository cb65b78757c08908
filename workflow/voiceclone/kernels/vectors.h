/* Vectors of float32, and what all kernels share. */
#ifndef VECTORS_H
#define VECTORS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec read_vec(const float *numbers) { return *(const vec *)numbers; }
INLINE void write_vec(float *numbers, vec v) { *(vec *)numbers = v; }

INLINE float sum_of(vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

INLINE vec larger(vec a, vec b) {
    ivec first = a > b;
    return (vec)(((ivec)a & first) | ((ivec)b & ~first));
}

/* A team of threads: all do a task, each its part of it; within the task they may meet. */
typedef void (*Task)(void *context, int part, int parts);
int start_team(int size);
void together(Task task, void *context);
void meet(void);
INLINE long share(long count, int part, int parts) { return count * part / parts; }
#endif
