/* SPDX-License-Identifier: Apache-2.0 */
/* spec.h - one timed case as numbers, and as the line of text that a child process is sent. */
#ifndef GQA_BENCH_SPEC_H
#define GQA_BENCH_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "gqa/types.h"

enum bench_kind {
    BENCH_ATTENTION, /* q, k, v of `tokens` new tokens after `past` ones: append and attend */
    BENCH_MIX,       /* a layer on many sequences at once: pieces of prompts and decodes */
    BENCH_LAYER,     /* hidden states in and out, with projections, rope and sinks */
    BENCH_LINEAR,    /* y [tokens, out] = x [tokens, in] w [out, in]^T */
    BENCH_PRODUCTS,  /* the two products of a prefill, tile by tile, and nothing else */
    BENCH_SOFTMAX,   /* its softmax blocks, and nothing else */
    BENCH_PAIR,      /* attention of two layers, with the window and without one */
    BENCH_PROBE,     /* a limit of the machine */
    BENCH_KINDS
};

enum bench_probe { PROBE_FMA, PROBE_AMX, PROBE_READ, PROBES };

/* How the weights of a linear are handed to oneDNN. */
enum bench_form { FORM_PLAIN, FORM_PACKED };

/* Who sees whom, said by a tensor and not by the config. */
enum bench_mask {
    MASK_NONE,
    MASK_BOOL, /* causal order as a mask [1, 1, T, K] of bytes; the config is bidirectional */
    MASK_BITS, /* the same of bits */
    MASK_BIAS, /* a bias [1, 1, T, K] in f32 on top of the config's causal order */
    MASK_TREE  /* an active mask [1, T, T] of bytes: token i has the parent (i - 1) / 2 */
};

/* Keys and values that lie in the caller's memory, [batch, ...] of each; or in blocks of it, of
 * BENCH_BLOCK tokens, in a mixed order. */
enum bench_home {
    HOME_CACHE,
    HOME_TOKENS,       /* [K, H, D] */
    HOME_HEADS,        /* [H, K, D] */
    HOME_BLOCK_HEADS,  /* blocks of [H, BENCH_BLOCK, D] */
    HOME_BLOCK_TOKENS, /* of [BENCH_BLOCK, H, D] */
    HOME_BLOCK_TURNED, /* K of [H, D, BENCH_BLOCK], V of [H, BENCH_BLOCK, D] */
    HOMES
};

#define BENCH_BLOCK 128

struct bench_spec {
    enum bench_kind kind;
    gqa_numerics numerics;
    gqa_isa isa, max_isa;
    gqa_backend backend;
    int32_t threads;
    int32_t hq, hkv, d, hidden; /* hidden 0 = attention alone */
    int32_t batch, tokens, past;
    int32_t window, chunk;  /* 0 = off */
    int32_t sinks;          /* 0 or 1 */
    int32_t cold;           /* 1: rotate over more than a GiB of caches or weights */
    int32_t out, in;        /* linear */
    int32_t int8;           /* 1: weights of a linear or layer as int8 */
    int32_t in_place;       /* linear, layer: 1: weights in place, row-major */
    int32_t form;           /* linear in oneDNN */
    int32_t probe;          /* which limit */
    int32_t streams;        /* PROBE_READ */
    int32_t kib;            /* PROBE_READ: the buffer, per thread */
    int32_t tensors;        /* gqa_dtype of every tensor that a call of attention or a layer is
                               given, and of its output; 0 = f32 */
    int32_t mask;           /* enum bench_mask */
    int32_t ring;           /* pair: 1: the window's cache is a ring */
    int32_t home;           /* enum bench_home; but HOME_CACHE: one new token, nothing appended */
    int32_t shared;         /* of `past`: pages that all sequences of a call share; 0 = none */
    int32_t apart;          /* BENCH_MIX: 1: a call for each sequence, 0: one flat call */
    int32_t k_type, v_type; /* gqa_dtype of a cache's K and V; 0 = the numerics' default */
    int32_t rotate;         /* 1: both are stored rotated */
};

#define BENCH_SPEC_TEXT 400

/* All zero but batch 1, threads 1, tokens 1. */
void bench_spec_init(struct bench_spec *spec);

/* "attention hq=64 hkv=8 ...": every field that is not 0. */
void bench_spec_print(const struct bench_spec *spec, char text[BENCH_SPEC_TEXT]);

/* false if a word is unknown. */
bool bench_spec_parse(struct bench_spec *spec, const char *text);

/* Does new token t of a sequence see key k? */
bool bench_spec_sees(const struct bench_spec *spec, int32_t t, int32_t k);

/* BENCH_MIX: every eighth sequence has a piece of `tokens` tokens, the others one token; they hold
 * a fifth of `past` tokens to all of them. */
int32_t bench_spec_mix_tokens(const struct bench_spec *spec, int32_t sequence);
int32_t bench_spec_mix_past(const struct bench_spec *spec, int32_t sequence);

/* New tokens of a call, of all its sequences; and the most keys that one of them has then. */
int64_t bench_spec_tokens(const struct bench_spec *spec);
int64_t bench_spec_context(const struct bench_spec *spec);

/* (query, key) pairs that a call's rows see, of one head and all batch entries. */
double bench_spec_pairs(const struct bench_spec *spec);

/* Floating-point operations: 4 Hq D pairs, and 2 for each weight and token. */
double bench_spec_flop(const struct bench_spec *spec);

/* Bytes of K and V of one key and KV head. */
double bench_spec_key_bytes(const struct bench_spec *spec);

/* Bytes that must come from memory: keys and values that are seen, and weights. */
double bench_spec_bytes(const struct bench_spec *spec);

#endif
