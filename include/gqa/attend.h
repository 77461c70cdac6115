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
    int32_t key_begin; /* the key indices they cover: a multiple of gqa_fold_block() ... */
    int32_t key_end;   /* ... and a multiple of it, or any end that no key lies beyond */
} gqa_states;

typedef struct gqa_attend_inputs {
    uint32_t struct_size;
    gqa_tensor query; /* [B, T, Hq, Dk]: normed, rotated, tempered, not scaled */

    /* Either the caller's plain keys and values (any strides) ... */
    gqa_tensor key;                  /* [B, K, Hkv, Dk] */
    gqa_tensor value;                /* [B, K, Hkv, Dv] */
    const int32_t *key_lengths;      /* [B] keys that exist; NULL = all K */
    const int32_t *key_position_ids; /* [B, K] rising, unless a mask or key bounds are given; NULL =
                                        0 .. K-1 */
    /* ... or a cache (argument of gqa_attend), read only. */
    const int32_t *sequences; /* [B]; -1 = inactive; NULL = 0 .. B-1 */

    const int32_t *first_valid;  /* [B] padding queries on the left; NULL = 0 */
    const int32_t *lengths;      /* [B] valid queries; NULL = all the rest */
    const int32_t *position_ids; /* [B, T]; NULL = the last positions of the keys (bottom-right) */
    gqa_phase phase;

    gqa_tensor mask; /* [1|B, 1|Hq, T, K]; columns are key indices with plain keys, the caller's
                        columns (see gqa_inputs) with a cache */
    gqa_tensor bias; /* [1|B, 1|Hq, T, K] */
    const int32_t *key_begin; /* [B, T] and */
    const int32_t *key_end;   /* [B, T]: as in gqa_inputs */

    /* Part of the keys: indices [range_begin, range_end), both multiples of gqa_fold_block() or
     * range_end beyond the last key. range_end 0 = all. */
    int32_t range_begin, range_end;
    int32_t leave_out_sinks; /* 1: output and lse as without sinks */
    const gqa_states *prior; /* states of lower keys to merge in from the left, or NULL */
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
    gqa_states states; /* m, l and o together; key_begin and key_end are filled */
    gqa_path path;     /* filled */
} gqa_attend_output;

GQA_API void gqa_attend_output_init_sized(gqa_attend_output *output, size_t size);

static inline void gqa_attend_output_init(gqa_attend_output *output)
{
    gqa_attend_output_init_sized(output, sizeof *output);
}

/* Keys per fold block: the unit at which a key range may be cut without changing a bit. */
GQA_API int32_t gqa_fold_block(void);

/* Attention on plain keys and values (cache NULL) or on a cache. Uses the config's shape, scores,
 * masks and sinks; not its projections, norms, rope, temperature or gate. Workspace as in
 * gqa_forward. Nothing is written but the output. */
GQA_API gqa_status gqa_attend_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                                             const gqa_attend_inputs *inputs,
                                             const gqa_attend_output *output, size_t *size,
                                             gqa_error *err);
GQA_API gqa_status gqa_attend(const gqa_layer *layer, const gqa_cache *cache,
                              const gqa_attend_inputs *inputs, gqa_attend_output *output,
                              void *workspace, size_t size, gqa_error *err);

/* Merge n states of the same rows over rising key ranges into *out (which may be one of them).
 * Ranges may leave out keys that no row sees. Bits: equal to one walk over the whole range when
 * every range is an aligned subtree of the fold tree (begin a multiple of its length, its length a
 * power of two times gqa_fold_block()), the last one excepted. Thread-safe. */
GQA_API gqa_status gqa_merge_states(const gqa_states *const *states, int32_t n, gqa_states *out,
                                    gqa_error *err);

/* End the rows: sinks (as the phase says; not if leave_out_sinks), division, LSE. output and lse as
 * in gqa_attend_output; either may have data NULL. rows are [B, T, Hq]. */
GQA_API gqa_status gqa_finish_states(const gqa_layer *layer, const gqa_states *states,
                                     gqa_phase phase, int32_t leave_out_sinks,
                                     const gqa_tensor *output, const gqa_tensor *lse,
                                     gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
