/* SPDX-License-Identifier: Apache-2.0 */
/* peer_ggml.h - a case in ggml while it is made and run: its tensors, and one graph for each set of
 * data. Keys and values hold libgqa's numbers, so that results can be compared. */
#ifndef GQA_BENCH_PEER_GGML_H
#define GQA_BENCH_PEER_GGML_H

#include "ggml.h"
#include "work.h"

#define GGML_MOST_MASK_BYTES ((size_t)1 << 30)

struct ggml_peer {
    struct bench_work work;
    struct bench_spec spec;
    const struct ggml *ggml;
    int format; /* of keys and values */
    unsigned char *memory;
    void *arena;
    void **graph;   /* [sets] */
    void **out;     /* [sets][parts] what they compute */
    int32_t parts;  /* results of a call: 1, or those of both layers of a pair */
    float *results; /* [parts][hq][d] of a pair's last call, one behind the other; or NULL */
    int32_t set;
    /* Where keys and values come from (config.h); of the new tokens, [batch][tokens][hkv][d] each.
     */
    float *kv, *new_kv[2];
};

/* Where keys or values of a call lie: `count` of them for each of `batch` sequences, each the
 * tokens from `base` on; row by row of a head, or of a token. Where sequences share, `batch` is 1:
 * what all share, then what each has alone. */
struct ggml_keys {
    int64_t base, count, batch;
    bool by_token;
};

/* Memory for the tensors and graphs of a case: false without it. `bytes` of tensors, and graphs of
 * that many nodes, for each set. */
bool bench_ggml_arena(struct ggml_peer *p, size_t bytes, size_t nodes);

/* Keys (which 0) or values (1) in the case's format. `copy`: another one, whose content it gets, or
 * NULL. */
void *bench_ggml_keys(const struct ggml_peer *p, const struct ggml_keys *keys, int which,
                      const void *copy);

/* [n3][n2][n1][n0] floats. */
void *bench_ggml_floats(const struct ggml_peer *p, int64_t n0, int64_t n1, int64_t n2, int64_t n3,
                        float scale, uint64_t seed);

/* The sinks of the case, or NULL. */
void *bench_ggml_sinks(const struct ggml_peer *p);

/* The graphs of attention and pairs; of mixes. false without memory. */
bool bench_ggml_attention(struct ggml_peer *p);
bool bench_ggml_layer(struct ggml_peer *p);

/* What ggml cannot do of them, or NULL. */
const char *bench_ggml_attention_refuses(const struct ggml_peer *p);
const char *bench_ggml_layer_refuses(const struct ggml_peer *p);

/* How far the results may be from libgqa's in f32, as bench_check says it. */
double bench_ggml_error(const struct ggml_peer *p);

#endif
