/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/attend.h - attention alone, raw softmax states, and their merge. */
#ifndef GQA_ATTEND_H
#define GQA_ATTEND_H

#include "gqa/forward.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raw softmax states of rows over a key range, f32. With s the scores in base-2 units (natural
 * score times log2 e): l = sum 2^(s - m), o = sum 2^(s - m) v, where the reference m is max s,
 * under numerics bf16 a value from max s - 32 to max s. Beyond 31/32 of 2^128 these units are
 * bent, so that every finite logit has a place (docs/numerics.md, the end of the range). A row
 * without keys is (-inf, 0, 0). Sinks are not in them. */
typedef struct gqa_states {
    gqa_tensor m;      /* [B, T, Hq] f32, packed */
    gqa_tensor l;      /* [B, T, Hq] f32, packed */
    gqa_tensor o;      /* [B, T, Hq, Dv] f32, packed */
    int32_t key_begin; /* the key indices they cover: a multiple of gqa_fold_block(), from 0 on, */
    int32_t key_end;   /* to key_end, not below key_begin. Equal: no keys, and every l is 0 */
} gqa_states;

typedef struct gqa_attend_inputs {
    uint32_t struct_size;
    gqa_tensor query; /* [B, T, Hq, Dk]: normed, rotated, tempered, not scaled */

    /* Either the caller's plain keys and values (any strides) ... */
    gqa_tensor key;                  /* [B, K, Hkv, Dk] */
    gqa_tensor value;                /* [B, K, Hkv, Dv] */
    const int32_t *key_lengths;      /* [B] keys that exist; NULL = all K */
    const int32_t *key_position_ids; /* [B, K] of either sign; rising, unless a mask or key bounds
                                        are given; NULL = 0 .. K-1 */
    /* ... or a cache (argument of gqa_attend), read only; or blocks (below). */
    const int32_t *sequences; /* [B], equal ones too; -1 = inactive; NULL = 0 .. B-1 */

    const int32_t *first_valid;  /* [B] padding queries on the left; NULL = 0 */
    const int32_t *lengths;      /* [B] valid queries; NULL = all the rest */
    const int32_t *position_ids; /* [B, T] any numbers in any order: each token by itself. NULL =
                                    the last positions of the keys (bottom-right); where there are
                                    more queries than keys they begin before the first key, below 0
                                    if that is at 0. On a ring (gqa/cache.h): GQA_ERR_ARG if a query
                                    could see a token that has left */
    gqa_phase phase;

    gqa_tensor mask; /* [1|B, 1|Hq, T, K]; columns are key indices with plain keys, the caller's
                        columns (see gqa_inputs) with a cache */
    gqa_tensor bias; /* [1|B, 1|Hq, T, K] */
    const int32_t *key_begin; /* [B, T] and */
    const int32_t *key_end;   /* [B, T]: as in gqa_inputs */

    /* Part of the keys: indices [range_begin, range_end), both multiples of gqa_fold_block() or
     * range_end at or beyond the last key. range_end 0 = all. A range that begins beyond the keys
     * is empty: its rows see no key. gqa_cut_keys proposes ranges. */
    int32_t range_begin, range_end;
    int32_t leave_out_sinks; /* 1: output and lse as without sinks */
    const gqa_states *prior; /* states of lower keys to merge in from the left, or NULL; they end
                                at range_begin or below, unless they cover no keys */
    gqa_trace trace;         /* as in gqa_inputs */
    void *trace_user;

    /* A flat call (see gqa_inputs), or NULL and 0: queries, outputs and states are [1, N, ...], the
     * keys of batch entry b are a cache's sequence, or entry b of key and value [batch, K, ...]. */
    const int32_t *row_begin; /* [batch + 1] */
    int32_t batch;

    /* ... or the host's own blocks, instead of key and value and of a cache; read only, borrowed
     * for the call. Columns are key indices; sequences as in gqa_inputs. */
    const gqa_block_kv *blocks;
} gqa_attend_inputs;

GQA_API void gqa_attend_inputs_init_sized(gqa_attend_inputs *inputs, size_t size);

static inline void gqa_attend_inputs_init(gqa_attend_inputs *inputs)
{
    gqa_attend_inputs_init_sized(inputs, sizeof *inputs);
}

/* data == NULL asks for nothing; at least one of output, lse and states.m. */
typedef struct gqa_attend_output {
    uint32_t struct_size;
    gqa_tensor output; /* [B, T, Hq, Dv] f32, bf16 or f16; a row without keys is exactly 0 */
    gqa_tensor lse;    /* [B, T, Hq] f32, natural log, sinks included unless left out */
    gqa_states states; /* m, l and o together; key_begin and key_end are filled: from the prior's
                          begin or range_begin to range_end, or, if that is 0, to the end of the
                          longest entry. No key there: an empty range at range_begin (with a prior:
                          the prior's range) */
    gqa_path path;     /* filled */
    gqa_work *work;    /* as in gqa_output */
    gqa_neuron_report *neuron; /* as in gqa_output */
    gqa_health *health;        /* as in gqa_output */
} gqa_attend_output;

GQA_API void gqa_attend_output_init_sized(gqa_attend_output *output, size_t size);

static inline void gqa_attend_output_init(gqa_attend_output *output)
{
    gqa_attend_output_init_sized(output, sizeof *output);
}

/* Keys per fold block, the unit of key ranges: each begins at a multiple of it. Not every such cut
 * keeps the bits; gqa_cut_keys says which do. */
GQA_API int32_t gqa_fold_block(void);

/* Cut the keys [begin, end) into at most `wanted` parts that keep the bits: gqa_attend on each part
 * and gqa_merge_states give m, l and o of gqa_attend on [begin, end) (backend cpu; o of a cache
 * with rotate_v but for rounding, since each part rotates back what it gives). Part i is
 * [bounds[i], bounds[i + 1]). The longest part is as short as the rule and `wanted` allow; there
 * are fewer parts where there is nothing left to cut, and none for an empty range.
 *
 * The rule. A node is a range of 2^j * gqa_fold_block() keys, j >= 0, that begins at a multiple of
 * its length. The bits are kept when each part is what [begin, end) shares with one node. So 700
 * keys may be cut at 512, also at 256 and 512, but not at 256 alone: [256, 700) is no such part.
 *
 * begin: a multiple of gqa_fold_block(), at least 0. end: not below begin; what lies beyond it must
 * not exist, or it is a multiple too. wanted: at least 1. bounds: [wanted + 1], parts + 1 of them
 * are written. *parts: how many. Else GQA_ERR_ARG, and nothing is written. Thread-safe. */
GQA_API gqa_status gqa_cut_keys(int32_t begin, int32_t end, int32_t wanted, int32_t *bounds,
                                int32_t *parts, gqa_error *err);

/* Attention on plain keys and values or on blocks (cache NULL), or on a cache. Uses the config's
 * shape, scores, masks and sinks; not its projections, norms, rope, temperature or gate. Workspace
 * as in gqa_forward. Nothing is written but the output. */
GQA_API gqa_status gqa_attend_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                                             const gqa_attend_inputs *inputs,
                                             const gqa_attend_output *output, size_t *size,
                                             gqa_error *err);
GQA_API gqa_status gqa_attend(const gqa_layer *layer, const gqa_cache *cache,
                              const gqa_attend_inputs *inputs, gqa_attend_output *output,
                              void *workspace, size_t size, gqa_error *err);

/* Merge n states of the same rows over rising key ranges into *out (which may be one of them).
 * Ranges may leave out keys that no row sees. States that cover no keys (key_begin = key_end) may
 * stand anywhere and change nothing; if all do, out is neutral and has the range of the first.
 * Else out covers the keys from the first range's begin to the last one's end.
 *
 * Bits: equal to one walk over the whole range when the parts follow the rule of gqa_cut_keys. Any
 * other ranges are merged as well, each in the place of its first block: a correct result that may
 * differ from one walk in rounding, always the same for the same ranges.
 *
 * GQA_ERR_ARG: a range that is unsound, that begins before the end of one before it, or that is
 * empty although an l is not 0. Nothing is written then. Thread-safe. */
GQA_API gqa_status gqa_merge_states(const gqa_states *const *states, int32_t n, gqa_states *out,
                                    gqa_error *err);

/* End the rows: sinks (as the phase says; not if leave_out_sinks), division, LSE. output and lse as
 * in gqa_attend_output; either may have data NULL. rows are [B, T, Hq]. The states' range must be
 * sound (GQA_ERR_ARG); it changes nothing else. */
GQA_API gqa_status gqa_finish_states(const gqa_layer *layer, const gqa_states *states,
                                     gqa_phase phase, int32_t leave_out_sinks,
                                     const gqa_tensor *output, const gqa_tensor *lse,
                                     gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
