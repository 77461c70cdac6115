/* SPDX-License-Identifier: Apache-2.0 */
/* ggml.h - what the baseline ggml calls of that library, which is opened when it is needed: nothing
 * of it is there to build gqa-bench. The declarations are this project's own; a tensor is a pointer
 * whose inside is not looked at, so that only these functions tie it to one version. */
#ifndef GQA_BENCH_GGML_H
#define GQA_BENCH_GGML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GGML_KNOWN_VERSION "0.25.1" /* the version whose functions these are */

/* Its number formats, by their numbers. */
enum ggml_format {
    FORMAT_F32 = 0,
    FORMAT_F16 = 1,
    FORMAT_Q4_0 = 2,
    FORMAT_Q8_0 = 8,
    FORMAT_I32 = 26,
    FORMAT_BF16 = 30
};

/* Where its tensors are made: in `memory`, which is aligned to 16. */
struct ggml_arena {
    size_t bytes;
    void *memory;
    bool names_only;
};

struct ggml {
    /* libggml-base */
    const char *(*version)(void);
    void *(*init)(struct ggml_arena arena);
    void (*free)(void *arena);
    size_t (*tensor_overhead)(void);
    size_t (*graph_overhead)(size_t nodes, bool gradients);
    size_t (*row_size)(int format, int64_t elements);
    int64_t (*block_size)(int format);
    void *(*new_tensor)(void *arena, int format, int64_t n0, int64_t n1, int64_t n2, int64_t n3);
    void *(*view)(void *arena, void *tensor, int64_t n0, int64_t n1, int64_t n2, int64_t n3,
                  size_t stride1, size_t stride2, size_t stride3, size_t offset);
    void *(*data)(const void *tensor);
    size_t (*quantize)(int format, const float *from, void *to, int64_t first, int64_t rows,
                       int64_t row, const float *importance);
    void *(*attention)(void *arena, void *q, void *k, void *v, void *mask, float scale,
                       float most_bias, float softcap);
    void (*add_sinks)(void *attention, void *sinks);
    void *(*rms_norm)(void *arena, void *x, float eps);
    void *(*add)(void *arena, void *x, void *y);
    void *(*mul)(void *arena, void *x, void *y);
    void *(*mul_mat)(void *arena, void *w, void *x);
    void *(*copy)(void *arena, void *from, void *to);
    void *(*rope)(void *arena, void *x, void *positions, void *factors, int dims, int mode,
                  int context, float base, float scale, float yarn, float magnitude, float fast,
                  float slow);
    void *(*new_graph)(void *arena, size_t nodes, bool gradients);
    void (*expand)(void *graph, void *tensor);
    int (*compute)(void *backend, void *graph); /* 0 = done */
    void (*init_pool_params)(void *params, int threads);
    /* the fastest libggml-cpu-* */
    void *(*backend_init)(void);
    void (*set_threads)(void *backend, int threads);
    void (*set_pool)(void *backend, void *pool);
    void *(*new_pool)(void *params);
    void (*pause_pool)(void *pool);
    void (*resume_pool)(void *pool);

    char cpu[64];  /* file of the fastest */
    void *backend; /* with `threads` of its own */
    void *pool;
};

/* Open the library in `folder` (or where npm puts it below `folder`) on that many threads, once in
 * a process. NULL: why says what is missing. */
const struct ggml *bench_ggml_open(const char *folder, int32_t threads, char *why, size_t size);

#endif
