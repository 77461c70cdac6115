/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the parts of a prefill walk through the kernel set's entries: the products of all tiles
 * and blocks that a causal (and windowed) call has, or their softmax blocks, and nothing else. */
#include <stdio.h>
#include <stdlib.h>

#include "base/fold.h"
#include "base/memory.h"
#include "fill.h"
#include "kernel/choice/select.h"
#include "parallel/tasks.h"
#include "timing.h"
#include "work.h"

struct slot {
    void *q;  /* packed tile */
    float *s; /* [FOLD][tile_rows] */
    void *p;
    float *o;      /* [d][tile_rows] */
    float *m, *l;  /* [tile_rows] */
    void *scratch; /* of the kernel set */
    void *memory;  /* all of them */
};

struct parts {
    struct bench_work work;
    struct bench_spec spec;
    gqa_runtime runtime;
    const struct gqa__kernels *kernels;
    int32_t blocks, tiles; /* of one KV head */
    int64_t k_stride, v_stride;
    size_t k_bytes, v_bytes; /* of one block of one KV head */
    unsigned char *k, *v;    /* [hkv][blocks] */
    struct slot slot[BENCH_MAX_THREADS];
};

static void destroy(struct bench_work *work)
{
    struct parts *parts = (struct parts *)work;

    bench_free(parts->k);
    bench_free(parts->v);
    for (int32_t i = 0; i < parts->spec.threads; i++) {
        bench_free(parts->slot[i].memory);
    }
    free(parts);
}

/* Keys [*begin, *end) of a block that some row of a tile sees, in whole panels; false if none. */
static bool block_keys(const struct parts *parts, int32_t tile, int32_t block, int32_t *begin,
                       int32_t *end)
{
    const struct bench_spec *spec = &parts->spec;
    int32_t group = spec->hq / spec->hkv;
    int32_t first = tile * parts->kernels->tile_rows / group;
    int32_t last = ((tile + 1) * parts->kernels->tile_rows - 1) / group;
    int32_t panel = parts->kernels->panel_keys;
    int32_t low = 0;

    last = last < spec->tokens ? last : spec->tokens - 1;
    if (spec->window > 0 && first - spec->window + 1 > 0) {
        low = first - spec->window + 1;
    }
    *begin = (int32_t)gqa__max(low - block * GQA__FOLD_BLOCK, 0) / panel * panel;
    *end = (int32_t)gqa__round_up(gqa__min(last + 1 - block * GQA__FOLD_BLOCK, GQA__FOLD_BLOCK),
                                  panel);
    return *begin < *end;
}

static int32_t tile_ld(const struct parts *parts, int32_t tile)
{
    int32_t rows = parts->spec.tokens * (parts->spec.hq / parts->spec.hkv);
    int64_t rest = gqa__min(rows - tile * parts->kernels->tile_rows, parts->kernels->tile_rows);

    return (int32_t)gqa__round_up(rest, parts->kernels->lanes);
}

static void tile_products(const struct parts *parts, const struct slot *slot, int32_t head,
                          int32_t tile)
{
    int32_t begin, end;
    int32_t ld = tile_ld(parts, tile);

    for (int32_t b = 0; b < parts->blocks; b++) {
        size_t at = (size_t)head * (size_t)parts->blocks + (size_t)b;
        const unsigned char *k = parts->k + at * parts->k_bytes;
        const unsigned char *v = parts->v + at * parts->v_bytes;
        size_t element = parts->kernels->operand == GQA_F32 ? 4 : 2;

        if (!block_keys(parts, tile, b, &begin, &end)) {
            continue;
        }
        k += (size_t)begin * (size_t)parts->k_stride * element;
        v += (size_t)begin * element * (parts->kernels->v_transposed ? 1 : (size_t)parts->v_stride);
        const struct gqa__score_args score = {.s = slot->s,
                                              .q = slot->q,
                                              .k = k,
                                              .k_stride = parts->k_stride,
                                              .keys = end - begin,
                                              .ld = ld,
                                              .dk = parts->spec.d,
                                              .scratch = slot->scratch};
        const struct gqa__accumulate_args accumulate = {.o = slot->o,
                                                        .p = slot->p,
                                                        .v = v,
                                                        .v_stride = parts->v_stride,
                                                        .keys = end - begin,
                                                        .ld = ld,
                                                        .dv = parts->spec.d,
                                                        .flags = GQA__ACC_FIRST,
                                                        .scratch = slot->scratch};
        parts->kernels->score(&score);
        parts->kernels->accumulate(&accumulate);
    }
}

static void softmax(const struct gqa__kernels *kernels, const struct slot *slot, int32_t keys,
                    int32_t ld)
{
    const struct gqa__softmax_args args = {
        .p = slot->p, .m = slot->m, .l = slot->l, .s = slot->s, .keys = keys, .ld = ld};

    kernels->softmax(&args);
}

static void tile_softmax(const struct parts *parts, const struct slot *slot, int32_t tile)
{
    int32_t begin, end;

    for (int32_t b = 0; b < parts->blocks; b++) {
        if (block_keys(parts, tile, b, &begin, &end)) {
            softmax(parts->kernels, slot, end - begin, tile_ld(parts, tile));
        }
    }
}

/* One tile of one KV head, in the walk's order: head by head, long ones first. */
static void body(void *arg, int64_t item, int32_t slot)
{
    const struct parts *parts = arg;
    int32_t tile = parts->tiles - 1 - (int32_t)(item % parts->tiles);

    if (parts->kernels->enter != NULL) {
        parts->kernels->enter();
    }
    if (parts->spec.kind == BENCH_SOFTMAX) {
        tile_softmax(parts, &parts->slot[slot], tile);
    } else {
        tile_products(parts, &parts->slot[slot], (int32_t)(item / parts->tiles), tile);
    }
    if (parts->kernels->leave != NULL) {
        parts->kernels->leave();
    }
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct parts *parts = (struct parts *)work;
    const struct gqa__tasks tasks = {body, parts, (int64_t)parts->tiles * parts->spec.hkv};
    double start = bench_now();

    (void)why;
    gqa__run_tasks(&parts->runtime, &tasks);
    *seconds = bench_now() - start;
    return true;
}

/* Scratch of one thread: a packed random tile, and the probabilities of random scores. */
static bool make_slot(const struct parts *parts, struct slot *slot)
{
    const struct gqa__kernels *kernels = parts->kernels;
    int32_t d = parts->spec.d;
    size_t lanes = (size_t)kernels->tile_rows;
    size_t tile = (size_t)GQA__FOLD_BLOCK * lanes * sizeof(float);
    size_t q = (kernels->q_bytes(d, kernels->tile_rows) + 63) / 64 * 64;
    size_t wide = (size_t)gqa__round_up(d, 64);
    struct gqa__row_map map = {d, d, 1, 0, kernels->tile_rows};
    size_t states = (wide + 2) * lanes * sizeof(float);
    unsigned char *at = bench_alloc(q + 2 * tile + states + kernels->scratch_bytes);
    float *rows = bench_alloc(lanes * (size_t)d * sizeof *rows);

    slot->memory = at;
    if (at != NULL && rows != NULL) {
        bench_fill(rows, lanes * (size_t)d, 1.0f, 11);
        slot->q = at;
        slot->s = (float *)(void *)(at + q);
        slot->p = at + q + tile;
        slot->o = (float *)(void *)(at + q + 2 * tile);
        slot->m = slot->o + wide * lanes;
        slot->l = slot->m + lanes;
        slot->scratch = at + q + 2 * tile + states;
        kernels->pack_q(&(struct gqa__pack_q_args){.dst = slot->q,
                                                   .q = rows,
                                                   .map = &map,
                                                   .ld = kernels->tile_rows,
                                                   .dk = d,
                                                   .scale = 0.18f});
        bench_fill(slot->s, GQA__FOLD_BLOCK * lanes, 2.0f, 12);
        softmax(kernels, slot, GQA__FOLD_BLOCK, kernels->tile_rows);
        bench_fill(slot->s, GQA__FOLD_BLOCK * lanes, 2.0f, 12);
    }
    bench_free(rows);
    return at != NULL && rows != NULL;
}

static bool make_keys(struct parts *parts)
{
    const struct gqa__kernels *kernels = parts->kernels;
    const struct bench_spec *spec = &parts->spec;
    size_t element = kernels->operand == GQA_F32 ? 4 : 2;
    int64_t dv = gqa__round_up(spec->d, kernels->value_step);
    size_t blocks = (size_t)parts->blocks * (size_t)spec->hkv;
    float *src = bench_alloc((size_t)GQA__FOLD_BLOCK * (size_t)spec->d * sizeof *src);
    bool ok;

    parts->k_stride = gqa__round_up(spec->d, kernels->depth_step);
    parts->v_stride = kernels->v_transposed ? GQA__FOLD_BLOCK : dv;
    parts->k_bytes = (size_t)parts->k_stride * GQA__FOLD_BLOCK * element;
    parts->v_bytes = (size_t)dv * GQA__FOLD_BLOCK * element;
    parts->k = bench_alloc(blocks * parts->k_bytes);
    parts->v = bench_alloc(blocks * parts->v_bytes);
    ok = src != NULL && parts->k != NULL && parts->v != NULL;
    for (size_t b = 0; b < blocks && ok; b++) {
        bench_fill(src, (size_t)GQA__FOLD_BLOCK * (size_t)spec->d, 1.0f, b);
        struct gqa__append_args append = {.page = parts->k + b * parts->k_bytes,
                                          .stride = parts->k_stride,
                                          .n = GQA__FOLD_BLOCK,
                                          .src = src,
                                          .src_stride = spec->d,
                                          .dim = spec->d,
                                          .storage = kernels->operand};
        kernels->append_k(&append);
        append.page = parts->v + b * parts->v_bytes;
        append.stride = parts->v_stride;
        kernels->append_v(&append);
    }
    bench_free(src);
    return ok;
}

struct bench_work *bench_parts_create(const struct bench_spec *spec, struct bench_host *host,
                                      char why[BENCH_WHY_TEXT])
{
    struct parts *parts = calloc(1, sizeof *parts);
    gqa_error err = {.message = "no memory, or no such number of threads"};
    bool ok;

    if (parts == NULL) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
        return NULL;
    }
    parts->spec = *spec;
    parts->work.run = run;
    parts->work.destroy = destroy;
    ok = gqa__select(&parts->kernels, spec->isa, spec->max_isa, spec->numerics, &err) == GQA_OK &&
         bench_workers_lend(&host->workers, spec->threads, &parts->runtime);
    if (ok) {
        int32_t rows = spec->tokens * (spec->hq / spec->hkv);

        parts->work.kernels = parts->kernels->name;
        parts->blocks = (spec->tokens + GQA__FOLD_BLOCK - 1) / GQA__FOLD_BLOCK;
        parts->tiles = (rows + parts->kernels->tile_rows - 1) / parts->kernels->tile_rows;
        ok = make_keys(parts);
    }
    for (int32_t i = 0; i < spec->threads && ok; i++) {
        ok = make_slot(parts, &parts->slot[i]);
    }
    if (!ok) {
        snprintf(why, BENCH_WHY_TEXT, "%s", err.message);
        destroy(&parts->work);
        return NULL;
    }
    return &parts->work;
}
