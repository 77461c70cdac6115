/* SPDX-License-Identifier: Apache-2.0 */
/* peer_ggml.c - the baseline ggml: its flash attention on keys and values that lie head by head in
 * f16, bf16 or q8_0, which is how llama.cpp keeps them. What is generous to it: its keys and values
 * are there before the clock runs, a single token needs no mask and its window is cut out of the
 * keys, and its queries lie as it reads them best. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "fill.h"
#include "ggml.h"
#include "timing.h"

#define MOST_MASK_BYTES ((size_t)1 << 30)
#define NODES           8 /* of a graph: attention and what it reads */
#define TENSORS         16

static const struct ggml *ggml; /* once opened */
static int format;              /* of keys and values */

struct peer {
    struct bench_work work;
    struct bench_spec spec;
    int64_t keys;        /* that lie there, of a sequence */
    int64_t first, seen; /* those of them that the call is given */
    unsigned char *memory;
    void *arena;
    void **graph; /* [sets] */
    int32_t set;
};

static void destroy(struct bench_work *work)
{
    struct peer *p = (struct peer *)work;

    if (p->arena != NULL) {
        ggml->free(p->arena);
    }
    bench_free(p->memory);
    free(p->graph);
    free(p);
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct peer *p = (struct peer *)work;
    double start;
    int failed;

    ggml->resume_pool(ggml->pool);
    start = bench_now();
    failed = ggml->compute(ggml->backend, p->graph[p->set]);
    *seconds = bench_now() - start;
    ggml->pause_pool(
        ggml->pool); /* else its threads would spin beside the next part of the round */
    p->set = (p->set + 1) % work->sets;
    if (failed) {
        snprintf(why, BENCH_WHY_TEXT, "ggml failed with status %d", failed);
    }
    return failed == 0;
}

static size_t set_bytes(const struct peer *p)
{
    return 2 * ggml->row_size(format, p->spec.d) * (size_t)p->keys * (size_t)p->spec.hkv *
           (size_t)p->spec.batch;
}

static size_t mask_bytes(const struct peer *p)
{
    return p->spec.tokens == 1 ? 0 : (size_t)p->spec.tokens * (size_t)p->keys * 2;
}

/* One token sees what the config lets it see of all keys: the last ones. */
static void choose_keys(struct peer *p)
{
    const struct bench_spec *spec = &p->spec;

    p->keys = (int64_t)spec->past + spec->tokens;
    p->first = 0;
    while (spec->tokens == 1 && !bench_spec_sees(spec, 0, (int32_t)p->first)) {
        p->first++;
    }
    p->seen = p->keys - p->first;
}

/* Random rows in the format; every further set is a copy of the first. */
static bool fill_keys(const struct peer *p, void *tensor, const void *copy)
{
    int64_t rows = p->keys * p->spec.hkv * p->spec.batch;
    size_t n = (size_t)p->spec.d * 512;
    float *from;

    if (copy != NULL) {
        memcpy(ggml->data(tensor), ggml->data(copy), set_bytes(p) / 2);
        return true;
    }
    from = bench_alloc(n * sizeof *from);
    if (from == NULL) {
        return false;
    }
    bench_fill(from, n, 1.0f, 3);
    for (int64_t row = 0; row < rows; row += 512) {
        int64_t some = rows - row < 512 ? rows - row : 512;

        ggml->quantize(format, from,
                       (unsigned char *)ggml->data(tensor) +
                           (size_t)row * ggml->row_size(format, p->spec.d),
                       0, some, p->spec.d, NULL);
    }
    bench_free(from);
    return true;
}

/* [1, 1, tokens, keys] in f16: 0 where a key is seen (a small number for a bias), else -inf. */
static void *make_mask(const struct peer *p)
{
    const uint16_t none = 0xfc00, some = p->spec.mask == MASK_BIAS ? 0x3400 : 0;
    void *mask = ggml->new_tensor(p->arena, FORMAT_F16, p->keys, p->spec.tokens, 1, 1);
    uint16_t *at = ggml->data(mask);

    for (int32_t t = 0; t < p->spec.tokens; t++) {
        for (int32_t k = 0; k < (int32_t)p->keys; k++) {
            *at++ = bench_spec_sees(&p->spec, t, k) ? some : none;
        }
    }
    return mask;
}

static void *make_floats(const struct peer *p, int64_t n0, int64_t n1, int64_t n2, int64_t n3)
{
    void *tensor = ggml->new_tensor(p->arena, FORMAT_F32, n0, n1, n2, n3);

    bench_fill(ggml->data(tensor), (size_t)(n0 * n1 * n2 * n3), 1.0f, 4);
    return tensor;
}

/* Keys or values of one set: all of them in memory, and those that are seen as a view. */
static void *make_keys(const struct peer *p, void **all)
{
    const struct bench_spec *spec = &p->spec;
    size_t row = ggml->row_size(format, spec->d);
    size_t head = row * (size_t)p->keys;
    const void *copy = *all;

    *all = ggml->new_tensor(p->arena, format, spec->d, p->keys, spec->hkv, spec->batch);
    if (!fill_keys(p, *all, copy)) {
        return NULL;
    }
    return ggml->view(p->arena, *all, spec->d, p->seen, spec->hkv, spec->batch, row, head,
                      head * (size_t)spec->hkv, row * (size_t)p->first);
}

static bool make_graphs(struct peer *p)
{
    const struct bench_spec *spec = &p->spec;
    void *q = make_floats(p, spec->d, spec->tokens, spec->hq, spec->batch);
    void *mask = mask_bytes(p) > 0 ? make_mask(p) : NULL;
    void *sinks = spec->sinks ? make_floats(p, spec->hq, 1, 1, 1) : NULL;
    void *all_k = NULL, *all_v = NULL;

    for (int32_t i = 0; i < p->work.sets; i++) {
        void *k = make_keys(p, &all_k);
        void *v = k == NULL ? NULL : make_keys(p, &all_v);
        void *out;

        if (v == NULL) {
            return false;
        }
        out = ggml->attention(p->arena, q, k, v, mask, 1 / sqrtf((float)spec->d), 0, 0);
        if (sinks != NULL) {
            ggml->add_sinks(out, sinks);
        }
        p->graph[i] = ggml->new_graph(p->arena, NODES, false);
        ggml->expand(p->graph[i], out);
    }
    return true;
}

/* Memory for all: tensors, their heads, graphs. */
static bool make_arena(struct peer *p)
{
    const struct bench_spec *spec = &p->spec;
    size_t rows = (size_t)spec->batch * (size_t)spec->tokens * (size_t)spec->hq;
    size_t set =
        set_bytes(p) + rows * (size_t)spec->d * 4 + ggml->graph_overhead(NODES, false) + 4096;
    struct ggml_arena arena = {0};

    p->work.sets =
        spec->cold && spec->past > 0 ? 1 + (int32_t)(BENCH_COLD_BYTES / set_bytes(p)) : 1;
    arena.bytes = (set + TENSORS * ggml->tensor_overhead()) * (size_t)(p->work.sets + 1) +
                  mask_bytes(p) + (size_t)spec->hq * 4 + 4096;
    p->memory = bench_alloc(arena.bytes);
    p->graph = calloc((size_t)p->work.sets, sizeof *p->graph);
    if (p->memory == NULL || p->graph == NULL) {
        return false;
    }
    arena.memory = p->memory;
    p->arena = ggml->init(arena);
    return p->arena != NULL;
}

/* What ggml has no way to say, or NULL. */
static const char *refuse(const struct peer *p)
{
    if (p->spec.kind != BENCH_ATTENTION) {
        return "no such case for ggml";
    }
    if (p->spec.d % ggml->block_size(format) != 0) {
        return "the head dim is no multiple of its blocks";
    }
    return mask_bytes(p) > MOST_MASK_BYTES ? "its mask would need more than 1 GiB" : NULL;
}

struct bench_work *bench_ggml_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT])
{
    struct peer *p = calloc(1, sizeof *p);
    const char *refused = NULL;

    (void)host;
    snprintf(why, BENCH_WHY_TEXT, "no memory");
    if (p == NULL) {
        return NULL;
    }
    p->spec = *spec;
    p->work.run = run;
    p->work.destroy = destroy;
    choose_keys(p);
    refused = refuse(p);
    if (refused == NULL && make_arena(p) && make_graphs(p)) {
        return &p->work;
    }
    if (refused != NULL) {
        snprintf(why, BENCH_WHY_TEXT, "%s", refused);
    }
    destroy(&p->work);
    return NULL;
}

bool bench_ggml_about(const char *name, const char *folder, int32_t threads,
                      char about[BENCH_WHY_TEXT])
{
    static const struct {
        enum bench_peer peer;
        int format;
        const char *text;
    } all[] = {
        {PEER_GGML, FORMAT_F16, "f16"},
        {PEER_GGML_BF16, FORMAT_BF16, "bf16"},
        {PEER_GGML_Q8, FORMAT_Q8_0, "q8_0"},
    };
    const size_t count = sizeof all / sizeof all[0];
    size_t i = 0;

    while (i < count && strcmp(name, bench_peer_names[all[i].peer]) != 0) {
        i++;
    }
    if (i == count || folder == NULL) {
        snprintf(about, BENCH_WHY_TEXT,
                 i == count ? "no such baseline" : "--ggml names its folder");
        return false;
    }
    format = all[i].format;
    ggml = bench_ggml_open(folder, threads, about, BENCH_WHY_TEXT);
    if (ggml != NULL) {
        snprintf(about, BENCH_WHY_TEXT, "ggml %s (%s), keys and values in %s", ggml->version(),
                 ggml->cpu, all[i].text);
    }
    return ggml != NULL;
}
