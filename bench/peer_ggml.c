/* SPDX-License-Identifier: Apache-2.0 */
/* peer_ggml.c - the baseline ggml: its flash attention on keys and values in f16, f32, bf16, q8_0
 * or q4_0, that lie head by head unless the case says otherwise; and whole layers. What is generous
 * to it: of attention alone, the keys and values of the call are there before the clock runs, and a
 * single token needs no mask and its window is cut out of the keys. */
#include "peer_ggml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "child.h"
#include "config.h"
#include "fill.h"
#include "timing.h"

#define TENSORS 16 /* that a graph of 8 nodes takes, with its views */

static const struct ggml *library; /* once opened */
static int chosen_format;          /* of keys and values */

static void destroy(struct bench_work *work)
{
    struct ggml_peer *p = (struct ggml_peer *)work;

    if (p->arena != NULL) {
        p->ggml->free(p->arena);
    }
    bench_free(p->memory);
    bench_free(p->kv);
    bench_free(p->new_kv[0]);
    bench_free(p->new_kv[1]);
    free(p->results);
    free(p->graph);
    free(p->out);
    free(p);
}

/* Show what the call gave, untimed. */
static void show(struct ggml_peer *p)
{
    void *const *const out = p->out + (size_t)p->set * (size_t)p->parts;
    const size_t each = p->work.outs / (size_t)p->parts;

    for (int32_t i = 0; i < p->parts && p->results != NULL; i++) {
        memcpy(p->results + (size_t)i * each, p->ggml->data(out[i]), each * sizeof *p->results);
    }
    p->work.out = p->results != NULL ? p->results : p->ggml->data(out[0]);
}

static bool run(struct bench_work *work, double *seconds, char why[BENCH_WHY_TEXT])
{
    struct ggml_peer *p = (struct ggml_peer *)work;
    const struct ggml *ggml = p->ggml;
    double start;
    int failed;

    ggml->resume_pool(ggml->pool);
    start = bench_now();
    failed = ggml->compute(ggml->backend, p->graph[p->set]);
    *seconds = bench_now() - start;
    ggml->pause_pool(
        ggml->pool); /* else its threads would spin beside the next part of the round */
    show(p);
    p->set = (p->set + 1) % work->sets;
    if (failed) {
        snprintf(why, BENCH_WHY_TEXT, "ggml failed with status %d", failed);
    }
    return failed == 0;
}

bool bench_ggml_arena(struct ggml_peer *p, size_t bytes, size_t nodes)
{
    const struct ggml *ggml = p->ggml;
    const size_t sets = (size_t)p->work.sets;
    const size_t graph = ggml->graph_overhead(nodes, false) + 4096 +
                         nodes * TENSORS / 8 * (ggml->tensor_overhead() + 64);
    struct ggml_arena arena = {0};

    arena.bytes = (bytes + graph) * sets + graph + (size_t)p->spec.hq * 4 + 4096;
    if (p->spec.cold == 0 || sets == 1) {
        arena.bytes += bytes / 8; /* what stands beside the sets */
    } else {
        arena.bytes += (size_t)p->spec.batch * (size_t)p->spec.tokens * (size_t)p->spec.hq *
                       (size_t)p->spec.d * 4;
    }
    p->memory = bench_alloc(arena.bytes);
    p->graph = calloc(sets, sizeof *p->graph);
    p->out = calloc(sets * (size_t)p->parts, sizeof *p->out);
    if (p->memory == NULL || p->graph == NULL || p->out == NULL) {
        return false;
    }
    arena.memory = p->memory;
    p->arena = ggml->init(arena);
    return p->arena != NULL;
}

/* --- numbers ------------------------------------------------------------------------------------
 */

/* Row t of sequence b: [hkv][d], as the caches of attention.c, pair.c and mix.c hold it. NULL: a
 * new token whose keys the call makes. */
static const float *find_row(const struct ggml_peer *p, int64_t b, int64_t t, int which)
{
    const struct bench_spec *spec = &p->spec;
    const int64_t row = (int64_t)spec->hkv * spec->d;
    const bool forked = spec->shared > 0 && b > 0 && t >= spec->shared;

    if (spec->kind != BENCH_MIX && t >= spec->past) {
        return p->new_kv[which] + (b * spec->tokens + t - spec->past) * row;
    }
    return p->kv + (which * (int64_t)BENCH_FILL_TOKENS +
                    (forked ? t - spec->shared : t) % BENCH_FILL_TOKENS) *
                       row;
}

/* Key j of entry b, of sequences that share or do not. */
static const float *find_key(const struct ggml_peer *p, const struct ggml_keys *keys, int64_t b,
                             int64_t j, int which)
{
    const int64_t shared = p->spec.shared;
    const int64_t own = p->spec.past - shared + p->spec.tokens;

    if (shared > 0 && j >= shared) {
        return find_row(p, (j - shared) / own, shared + (j - shared) % own, which);
    }
    return find_row(p, b, keys->base + j, which);
}

void *bench_ggml_keys(const struct ggml_peer *p, const struct ggml_keys *keys, int which,
                      const void *copy)
{
    const struct ggml *ggml = p->ggml;
    const int64_t d = p->spec.d, hkv = p->spec.hkv;
    const int64_t rows = keys->count * hkv * keys->batch;
    const size_t row = ggml->row_size(p->format, d);
    void *tensor = ggml->new_tensor(p->arena, p->format, d, rows, 1, 1);
    unsigned char *to = ggml->data(tensor);

    if (copy != NULL) {
        memcpy(to, ggml->data(copy), (size_t)rows * row);
        return tensor;
    }
    for (int64_t i = 0; i < keys->batch * keys->count; i++) {
        const int64_t b = i / keys->count, j = i % keys->count;
        const float *const from = find_key(p, keys, b, j, which);

        for (int64_t h = 0; h < hkv; h++) {
            const int64_t at = keys->by_token ? i * hkv + h : (b * hkv + h) * keys->count + j;
            ggml->quantize(p->format, from + h * d, to + (size_t)at * row, 0, 1, d, NULL);
        }
    }
    return tensor;
}

void *bench_ggml_floats(const struct ggml_peer *p, int64_t n0, int64_t n1, int64_t n2, int64_t n3,
                        float scale, uint64_t seed)
{
    void *tensor = p->ggml->new_tensor(p->arena, FORMAT_F32, n0, n1, n2, n3);

    bench_fill(p->ggml->data(tensor), (size_t)(n0 * n1 * n2 * n3), scale, seed);
    return tensor;
}

void *bench_ggml_sinks(const struct ggml_peer *p)
{
    return p->spec.sinks ? bench_ggml_floats(p, p->spec.hq, 1, 1, 1, 0.5f, 2) : NULL;
}

static bool make_numbers(struct ggml_peer *p)
{
    const size_t n =
        (size_t)p->spec.batch * (size_t)p->spec.tokens * (size_t)p->spec.hkv * (size_t)p->spec.d;

    p->kv = bench_kv(&p->spec);
    for (int i = 0; i < 2; i++) {
        p->new_kv[i] = bench_alloc(n * sizeof(float));
        if (p->kv == NULL || p->new_kv[i] == NULL) {
            return false;
        }
        bench_fill(p->new_kv[i], n, 1.0f, 5 + (uint64_t)i);
    }
    return true;
}

/* --- what it may be off -------------------------------------------------------------------------
 */

/* The error of an element, of numbers spread evenly over -1 to 1, in the root of their mean square:
 * half a unit of roundoff of a float; of q8_0 and q4_0 a step of 1 / 127 and 1 / 8 of the largest
 * over the square root of 12, the latter cut off at one end besides. */
static double element_error(int format)
{
    switch (format) {
    case FORMAT_F16:
        return 0x1p-12;
    case FORMAT_BF16:
        return 0x1p-9;
    case FORMAT_Q8_0:
        return 1 / (127 * sqrt(12)) * sqrt(3);
    case FORMAT_Q4_0:
        return 1.2 / (8 * sqrt(12)) * sqrt(3);
    default:
        return 0;
    }
}

/* With q and k of such numbers a score is spread by a third, so that an error e in each of q and k
 * changes a result, in which thousands of values weigh nearly the same, by sqrt(2) / 3 e; the error
 * of the values adds e. Values of f16 are summed in f16: the sum grows as the root of their number
 * n, with an error of 2^-12 in each step, together sqrt(n / 2) 2^-12. Twice a product with weights
 * has the error of its inputs. Four times all of this, as numbers may lie: other work than the
 * case's would be off by 1 or so. */
double bench_ggml_error(const struct ggml_peer *p)
{
    const double e = element_error(p->format), n = (double)p->spec.past + p->spec.tokens;
    const double sum = p->format == FORMAT_F16 ? sqrt(n / 2) * 0x1p-12 : 0;
    const double weights = p->spec.kind != BENCH_MIX  ? 0
                           : p->format == FORMAT_BF16 ? 2 * 0x1p-9
                                                      : 2 * 0x1p-12;

    return 1e-4 + 4 * (1.5 * e + sum + weights);
}

/* --- the baseline -------------------------------------------------------------------------------
 */

/* What ggml cannot do, or NULL. */
static const char *refuse(const struct ggml_peer *p)
{
    if (p->spec.d % p->ggml->block_size(p->format) != 0) {
        return "the head dim is no multiple of its blocks";
    }
    switch (p->spec.kind) {
    case BENCH_ATTENTION:
    case BENCH_PAIR:
        return bench_ggml_attention_refuses(p);
    case BENCH_MIX:
        return bench_ggml_layer_refuses(p);
    default:
        return "no such case for ggml";
    }
}

/* The case; then its results against libgqa's. */
static bool make(struct ggml_peer *p, struct bench_host *host, char why[BENCH_WHY_TEXT])
{
    const struct bench_spec *spec = &p->spec;
    double seconds;

    if (!make_numbers(p) ||
        !(spec->kind == BENCH_MIX ? bench_ggml_layer(p) : bench_ggml_attention(p))) {
        return false;
    }
    p->results = p->parts > 1 ? calloc(p->work.outs, sizeof *p->results) : NULL;
    return (p->parts == 1 || p->results != NULL) && run(&p->work, &seconds, why) &&
           bench_check(&p->work, spec, bench_ggml_error(p), host, why);
}

struct bench_work *bench_ggml_create(const struct bench_spec *spec, struct bench_host *host,
                                     char why[BENCH_WHY_TEXT])
{
    struct ggml_peer *p = calloc(1, sizeof *p);
    const char *refused = NULL;

    snprintf(why, BENCH_WHY_TEXT, "no memory");
    if (p == NULL) {
        return NULL;
    }
    p->spec = *spec;
    p->ggml = library;
    p->format = chosen_format;
    p->work.run = run;
    p->work.destroy = destroy;
    refused = refuse(p);
    if (refused == NULL && make(p, host, why)) {
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
        {PEER_GGML, FORMAT_F16, "f16"},      {PEER_GGML_BF16, FORMAT_BF16, "bf16"},
        {PEER_GGML_F32, FORMAT_F32, "f32"},  {PEER_GGML_Q8, FORMAT_Q8_0, "q8_0"},
        {PEER_GGML_Q4, FORMAT_Q4_0, "q4_0"},
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
    chosen_format = all[i].format;
    library = bench_ggml_open(folder, threads, about, BENCH_WHY_TEXT);
    if (library != NULL) {
        snprintf(about, BENCH_WHY_TEXT, "ggml %s (%s), keys and values in %s", library->version(),
                 library->cpu, all[i].text);
    }
    return library != NULL;
}
