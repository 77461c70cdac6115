/* SPDX-License-Identifier: Apache-2.0 */
/* peer_ggml_attention.c - attention by ggml: of one layer, or of the two of a pair. A single token
 * needs no mask: its window is cut out of the keys, and the layer of a pair that has one holds no
 * other keys. Sequences that share their first tokens hold them once, as in the unified cache of
 * llama.cpp: one call over what is shared and what each has alone, with a mask. */
#include <math.h>

#include "fill.h"
#include "peer_ggml.h"

enum { NODES = 16 }; /* of a graph: attention, twice for a pair, and what it reads */

/* One layer of a case. */
struct part {
    struct ggml_keys keys;
    int64_t first, seen; /* keys that the call is given */
    int64_t queries;     /* of each of keys.batch */
};

static bool shares(const struct bench_spec *spec)
{
    return spec->shared > 0;
}

/* Tokens that a sequence has alone. */
static int64_t own_tokens(const struct bench_spec *spec)
{
    return (int64_t)spec->past - spec->shared + spec->tokens;
}

static struct part find_part(const struct ggml_peer *p, int32_t i)
{
    const bool pair = p->spec.kind == BENCH_PAIR;
    struct bench_spec spec = p->spec;
    struct part part = {.keys = {.count = (int64_t)spec.past + spec.tokens,
                                 .batch = spec.batch,
                                 .by_token = spec.home == HOME_TOKENS},
                        .queries = spec.tokens};

    if (shares(&spec)) {
        part.keys.batch = 1;
        part.keys.count = spec.shared + spec.batch * own_tokens(&spec);
        part.queries = (int64_t)spec.batch * spec.tokens;
    }
    if (pair && i == 1) {
        spec.window = 0;
    }
    while (part.queries == 1 && !bench_spec_sees(&spec, 0, (int32_t)part.first)) {
        part.first++;
    }
    part.seen = part.keys.count - part.first;
    if (pair) { /* what no token sees is not there */
        part.keys.base = part.first;
        part.keys.count = part.seen;
        part.first = 0;
    }
    return part;
}

static size_t keys_bytes(const struct ggml_peer *p, const struct ggml_keys *keys)
{
    return 2 * p->ggml->row_size(p->format, p->spec.d) *
           (size_t)(keys->count * keys->batch * p->spec.hkv);
}

static size_t mask_bytes(const struct ggml_peer *p)
{
    const struct part part = find_part(p, 0);

    return part.queries == 1 ? 0 : (size_t)(part.queries * part.seen) * 2;
}

/* Does query n of sequences that share see key k? */
static bool sees(const struct bench_spec *spec, int64_t n, int64_t k)
{
    const int64_t own = own_tokens(spec);
    const int64_t past = (int64_t)spec->past - spec->shared;

    if (!shares(spec)) {
        return bench_spec_sees(spec, (int32_t)n, (int32_t)k);
    }
    return k < spec->shared || ((k - spec->shared) / own == n / spec->tokens &&
                                (k - spec->shared) % own <= past + n % spec->tokens);
}

/* [queries][keys] in f16: -inf where a key is not seen, else 0 or the bias. NULL: none is needed.
 */
static void *make_mask(const struct ggml_peer *p)
{
    const struct part part = find_part(p, 0);
    float *row;
    uint16_t *at;
    void *mask;

    if (part.queries == 1) {
        return NULL;
    }
    mask = p->ggml->new_tensor(p->arena, FORMAT_F16, part.seen, part.queries, 1, 1);
    at = p->ggml->data(mask);
    if (p->spec.mask == MASK_BIAS) {
        row = bench_alloc((size_t)(part.seen * part.queries) * sizeof *row);
        if (row == NULL) {
            return mask; /* which the comparison with libgqa will tell */
        }
        bench_fill(row, (size_t)(part.seen * part.queries), 1.0f, 8);
        p->ggml->quantize(FORMAT_F16, row, at, 0, part.queries, part.seen, NULL);
        bench_free(row);
    }
    for (int64_t n = 0; n < part.queries; n++) {
        for (int64_t k = 0; k < part.seen; k++, at++) {
            *at = sees(&p->spec, n, k) ? *at : 0xfc00;
        }
    }
    return mask;
}

/* The node of one layer. all: its keys and values of the set before, which these become copies of.
 */
static void *make_node(const struct ggml_peer *p, const struct part *part, void *q, void *mask,
                       void *sinks, void *all[2])
{
    const struct ggml *ggml = p->ggml;
    const struct bench_spec *spec = &p->spec;
    const size_t row = ggml->row_size(p->format, spec->d);
    const size_t head = part->keys.by_token ? row : row * (size_t)part->keys.count;
    const size_t key = part->keys.by_token ? row * (size_t)spec->hkv : row;
    void *seen[2], *out;

    for (int i = 0; i < 2; i++) {
        all[i] = bench_ggml_keys(p, &part->keys, i, all[i]);
        seen[i] = ggml->view(p->arena, all[i], spec->d, part->seen, spec->hkv, part->keys.batch,
                             key, head, row * (size_t)(part->keys.count * spec->hkv),
                             key * (size_t)part->first);
    }
    out = ggml->attention(p->arena, q, seen[0], seen[1], mask, 1 / sqrtf((float)spec->d), 0, 0);
    if (sinks != NULL) {
        ggml->add_sinks(out, sinks);
    }
    return out;
}

bool bench_ggml_attention(struct ggml_peer *p)
{
    const struct bench_spec *spec = &p->spec;
    const struct ggml *ggml = p->ggml;
    const size_t token = (size_t)spec->hq * (size_t)spec->d * 4, head = (size_t)spec->d * 4;
    const size_t q_bytes = (size_t)spec->batch * (size_t)spec->tokens * token;
    size_t bytes = 0;
    void *q, *mask, *sinks, *all[2][2] = {{NULL, NULL}, {NULL, NULL}};

    p->parts = spec->kind == BENCH_PAIR ? 2 : 1;
    for (int32_t i = 0; i < p->parts; i++) {
        const struct part part = find_part(p, i);
        bytes += keys_bytes(p, &part.keys);
    }
    p->work.caches = p->parts == 2 ? bytes : 0;
    p->work.sets =
        spec->cold && spec->past > 0 && p->parts == 1 ? 1 + (int32_t)(BENCH_COLD_BYTES / bytes) : 1;
    bytes += 2 * q_bytes + (mask_bytes(p) + (size_t)p->work.sets) / (size_t)p->work.sets;
    if (!bench_ggml_arena(p, bytes, NODES)) {
        return false;
    }
    q = bench_ggml_floats(p, spec->d, spec->hq, spec->tokens, spec->batch, 1.0f, 4);
    mask = make_mask(p);
    sinks = bench_ggml_sinks(p);
    for (int32_t set = 0; set < p->work.sets; set++) {
        p->graph[set] = ggml->new_graph(p->arena, NODES, false);
        for (int32_t i = 0; i < p->parts; i++) {
            const struct part part = find_part(p, i);
            void *rows = ggml->view(p->arena, q, spec->d, part.queries, spec->hq, part.keys.batch,
                                    token, head, token * (size_t)part.queries, 0);
            void *out = make_node(p, &part, rows, mask, sinks, all[i]);

            p->out[set * p->parts + i] = out;
            ggml->expand(p->graph[set], out);
        }
    }
    p->work.outs = (size_t)p->parts * q_bytes / 4;
    return true;
}

const char *bench_ggml_attention_refuses(const struct ggml_peer *p)
{
    if (p->spec.home >= HOME_BLOCK_HEADS) {
        return "ggml knows no blocks of keys";
    }
    return mask_bytes(p) > GGML_MOST_MASK_BYTES ? "its mask would need more than 1 GiB" : NULL;
}
