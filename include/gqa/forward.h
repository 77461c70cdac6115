/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/forward.h - one call of a layer: inputs, output, workspace, taps.
 *
 *   hidden_states (+ residual) -> input norm -> qkv -> clip -> q/k norm -> rope -> q/k norm
 *     -> query temperature -> cache append -> attention -> gate -> output projection
 *     -> post norm -> (+ residual) -> hidden_states
 *
 * Shapes: B batch entries (a sequence each), T tokens per entry, K = columns of mask and bias.
 * Every [B, T, ...] tensor may drop B when B = 1: [T, hidden] is a batch of one.
 *
 * A flat call has entries of any lengths, one after the other and without padding: inputs.row_begin
 * says where each begins. Its tensors and arrays are [1, N, ...] (or [N, ...]) wherever [B, T, ...]
 * is written, N being the tokens of all entries, so a prompt of 128 tokens and seven decodes are a
 * call of 135 tokens. Each entry's results have the bits of a call of its own.
 */
#ifndef GQA_FORWARD_H
#define GQA_FORWARD_H

#include "gqa/blocks.h"
#include "gqa/cache.h"
#include "gqa/health.h"
#include "gqa/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a tap sees, in the order of the pipeline. f32, packed. */
typedef enum gqa_stage {
    GQA_STAGE_RESIDUAL = 0,   /* hidden_states + residual          [tokens, hidden] */
    GQA_STAGE_X_NORM = 1,     /* after the input norm              [tokens, hidden] */
    GQA_STAGE_Q_PROJ = 2,     /* after projection and bias         [tokens, Hq, Dk] */
    GQA_STAGE_K_PROJ = 3,     /*                                   [tokens, Hkv, Dk] */
    GQA_STAGE_V_PROJ = 4,     /*                                   [tokens, Hkv, Dv] */
    GQA_STAGE_GATE = 5,       /* gate logits                       [tokens, Hq, Dv or 1] */
    GQA_STAGE_Q = 6,          /* as the scores see it, unscaled    [tokens, Hq, Dk] */
    GQA_STAGE_K = 7,          /* as it is handed to the cache      [tokens, Hkv, Dk] */
    GQA_STAGE_V = 8,          /*                                   [tokens, Hkv, Dv] */
    GQA_STAGE_ATTN = 9,       /* attention output, before the gate [tokens, Hq, Dv] */
    GQA_STAGE_GATED = 10,     /* after the gate, if there is one   [tokens, Hq, Dv] */
    GQA_STAGE_O_PROJ = 11,    /* output projection and bias        [tokens, hidden] */
    GQA_STAGE_POST_NORM = 12, /* after multiplier and post norm, if there is one [tokens, hidden] */
    GQA_STAGE_OUT = 13,       /* the layer's output                [tokens, hidden] */
    GQA_STAGE_COUNT = 14
} gqa_stage;

/* Called on the calling thread with a part of a stage: tokens first .. first + shape[0] - 1 of
 * batch entry b (padding is left out, first counts the call's columns). The tensor lives until the
 * callback returns. A stage may come in several parts; parts of one entry come in order. A tap
 * changes no bit of the result. */
typedef void (*gqa_tap)(void *user, gqa_stage stage, int32_t b, int32_t first,
                        const gqa_tensor *tensor);

/* Which of Neuron's two forms a sequence takes: context encoding (CTE), the prompt, or token
 * generation (TKG), what follows it. Decides between the layer's two sets of projections and sinks
 * (gqa_weights, tkg_..), where it has two, and on backend neuron, which path is taken. */
typedef enum gqa_phase {
    GQA_PHASE_AUTO = 0, /* TKG where the sequence has past tokens, else CTE */
    GQA_PHASE_CTE = 1,
    GQA_PHASE_TKG = 2
} gqa_phase;

typedef struct gqa_inputs {
    uint32_t struct_size;

    /* Either hidden_states ... */
    gqa_tensor hidden_states; /* [B, T, hidden] f32, bf16 or f16 */
    gqa_tensor residual;      /* [B, T, hidden]: added first */
    /* ... or the projections with their bias: the pipeline starts at the clip. */
    gqa_tensor q_proj;    /* [B, T, Hq, Dk] */
    gqa_tensor k_proj;    /* [B, T, Hkv, Dk]; absent = read-only call, as with borrow_cache */
    gqa_tensor v_proj;    /* [B, T, Hkv, Dv]; absent with k_eq_v */
    gqa_tensor gate_proj; /* [B, T, Hq, Dv or 1]: gate logits, if config.gate */

    /* Which tokens. */
    const int32_t *sequences;    /* [B] cache sequence of each entry, no two equal; -1 = inactive
                                    (its output is zero, nothing appended); NULL = 0 .. B-1 */
    const int32_t *first_valid;  /* [B] padding tokens on the left; NULL = 0 */
    const int32_t *lengths;      /* [B] valid tokens from first_valid on; NULL = all the rest */
    const int32_t *position_ids; /* [B, T]; NULL = continue after the sequence's last position. On a
                                    ring (gqa/cache.h): GQA_ERR_ARG if a token at one of them could
                                    see one that has left.
                                    At least 0; rise within a sequence, unless mask, active_mask or
                                    key bounds are given (in a read-only call: within the entry, and
                                    NULL = as the cache holds them). Padding entries are ignored */
    const int32_t *rotary_position_ids; /* rotation only, any numbers: [B, T], or [axes, B, T] with
                                           mrope; NULL = position_ids */
    int32_t rope_length; /* dynamic and longrope: the length that chooses the table; 0 = the
                            sequence's length after this call */
    gqa_phase phase;

    /* Tables of an earlier layer with the same rope key; both or neither. */
    gqa_tensor cos_cache, sin_cache; /* [B, T, rotary_dim/2] f32, attention factor included */
    uint64_t rope_key;               /* required with them: gqa_layer_rope_key of their layer */

    /* Who may attend, on top of the config's rules (all must agree). Columns count the caller's
     * keys: every token ever passed for the sequence, padding included, then this call's T. */
    gqa_tensor mask;        /* [1|B, 1|Hq, T, K] GQA_U8 or GQA_BITS */
    gqa_tensor bias;        /* [1|B, 1|Hq, T, K] f32, bf16, f16; added after softcap; -inf masks */
    gqa_tensor active_mask; /* [1|B, T, T] GQA_U8 or GQA_BITS: among this call's tokens (trees) */
    const int32_t *key_begin; /* [B, T] first visible column of each token (packing); both ... */
    const int32_t *key_end;   /* [B, T] ... or neither; one past the last */

    int32_t borrow_cache; /* 1: read the cache, append nothing (KV-shared layers); K and V of this
                             call are not computed; queries are the last tokens of the cache */
    gqa_tap tap;          /* NULL = none */
    void *tap_user;
    gqa_trace trace; /* backend cpu: called for every tile of attention; NULL = none */
    void *trace_user;

    /* A flat call, or NULL and 0. Its present_key_value is [1, Hkv, N, D], mask and bias are
     * [1, 1|Hq, N, K], active_mask is [1, N, C] with C at least the tokens of the longest entry
     * (columns count the entry's own tokens, as a tap's `first` does). first_valid and lengths must
     * be NULL. */
    const int32_t *row_begin; /* [batch + 1] entry b has the tokens row_begin[b] ..
                                 row_begin[b + 1] - 1, none if both are equal: from 0 on, not
                                 falling, up to N */
    int32_t batch;            /* entries */

    /* The host's own keys and values, instead of a cache (which must be NULL); borrowed for the
     * call, which writes its new keys and values there. sequences: -1 = inactive, else the entry's
     * own number; NULL = all active. Columns count the entry's keys, and behind blocks.lengths the
     * call's T. */
    const gqa_block_kv *blocks;
} gqa_inputs;

GQA_API void gqa_inputs_init_sized(gqa_inputs *inputs, size_t size);

static inline void gqa_inputs_init(gqa_inputs *inputs)
{
    gqa_inputs_init_sized(inputs, sizeof *inputs);
}

/* Which way a call took. Neuron's four paths in CTE or TKG form, and the three choices behind. */
typedef enum gqa_path_kind {
    GQA_PATH_STANDARD = 0,
    GQA_PATH_SLIDING_WINDOW = 1,
    GQA_PATH_CHUNKED = 2
} gqa_path_kind;

typedef enum gqa_cut {
    GQA_CUT_ROWS = 0, /* work divided by query rows */
    GQA_CUT_KEYS = 1  /* and by key ranges, merged */
} gqa_cut;

typedef enum gqa_view {
    GQA_VIEW_PAGED = 0, /* a gqa_cache */
    GQA_VIEW_CALL = 1,  /* no cache: the call's own keys, paged in the workspace */
    GQA_VIEW_PLAIN = 2, /* gqa_attend on the caller's strided K and V */
    GQA_VIEW_BLOCKS = 3 /* the host's blocks */
} gqa_view;

typedef struct gqa_path {
    gqa_path_kind kind;
    gqa_phase phase; /* of the call: TKG when every active entry has a past, else CTE */
    gqa_cut cut;
    gqa_view view;
    gqa_backend backend;
    gqa_isa isa;
    const char *kernels; /* kernel set and numerics, static, for example "scalar/f32" */
    /* Backend neuron, of the first active entry with tokens; else 0. Where the config names the
     * profile nobody chooses, and the strategy is NONE. */
    gqa_neuron_profile neuron_profile;
    gqa_neuron_flash_strategy neuron_strategy;
} gqa_path;

/* What a call computed and read, counted. Numbers depend on the inputs, the pages that sequences
 * share, the layer and its kernel set (which decides how many query rows a tile has), never on
 * threads or on the cut.
 *
 * A tile is some rows of one KV head, a row being a (token, query head) pair, against one fold
 * block of keys (gqa_fold_block()). The grid has the call's tokens against all keys that their
 * sequence has when the call ends (with gqa_attend: against the range). Every tile of it is one of:
 *   whole     every row sees every key: no mask is applied
 *   masked    some row may not see some key: computed, then masked element by element
 *   skipped   no row sees any key: nothing is computed or read
 * tiles = whole + masked. A row of tiles reads its keys from the first panel to the last that one
 * of its rows may see by causal order, window, chunk and range, as far as tokens have been
 * appended, but for the tiles that mask, bias, key bounds and active mask hide from all its rows;
 * it masks a panel that the keys do not fill.
 *
 * Batch entries whose sequences share pages (gqa_cache_fork) are one row of tiles over the fold
 * blocks that all their rows see whole, where no mask, bias or key bounds are given: such tiles,
 * keys and bytes count once. In a traced call there are none.
 *
 * Backend reference has no tiles: tile_rows, tiles, tiles_masked and tiles_skipped are 0. It reads
 * every key of the sequence (of the range) once per run of tokens and KV head, and multiplies for
 * the pairs of row and key that see one another and for no others.
 *
 * Backend neuron: projection_madds, and tiles and tiles_skipped as gqa_neuron_report has them; the
 * rest is 0. */
typedef struct gqa_work {
    uint32_t struct_size;
    int32_t tile_rows;     /* most rows of a tile */
    int64_t tiles;         /* computed */
    int64_t tiles_masked;  /* of them */
    int64_t tiles_skipped; /* the rest of the grid */
    int64_t keys_read;     /* keys of one KV head, once for every tile that reads them */
    int64_t kv_bytes;      /* keys_read in bytes of K and V as they are stored, without padding */
    /* Multiply-adds, without those of padding lanes and keys. */
    int64_t score_madds;      /* query times key: rows x keys x Dk of every tile */
    int64_t value_madds;      /* probability times value: rows x keys x Dv */
    int64_t projection_madds; /* q, k, v, gate and output matrices; 0 with gqa_attend */
    int64_t tiles_shared;     /* of tiles: their rows are of several batch entries */
} gqa_work;

GQA_API void gqa_work_init_sized(gqa_work *work, size_t size);

static inline void gqa_work_init(gqa_work *work)
{
    gqa_work_init_sized(work, sizeof *work);
}

/* Pair of key and value tensors. */
typedef struct gqa_kv {
    gqa_tensor k, v;
} gqa_kv;

/* Set data of what is wanted (f32, bf16 or f16, any strides); data == NULL asks for nothing. At
 * least one of hidden_states and attn is required. Rows that are padding are exact zeros.
 *
 * hidden_states and residual may lie on hidden_states and residual of the inputs, row on row (the
 * same data, format and strides), but not on one another. No other output may share memory with an
 * input. Rows of f32 are read and written where they are, others through the workspace. */
typedef struct gqa_output {
    uint32_t struct_size;
    gqa_tensor hidden_states; /* [B, T, hidden]; absent = stop before the output projection */
    gqa_kv present_key_value; /* this call's K [B, Hkv, T, Dk] and V [B, Hkv, T, Dv], as
                                 appended (unrounded by the cache), plain copies */
    gqa_tensor cos_cache, sin_cache; /* [B, T, rotary_dim/2] f32: as used, for the next layer */
    gqa_tensor residual;             /* [B, T, hidden]: hidden_states + residual, before the norm */
    gqa_tensor attn;                 /* [B, T, Hq, Dv]: after the gate, before the projection */
    gqa_tensor lse;                  /* [B, T, Hq] f32: natural log of the softmax denominator, the
                                        sink's mass included; -inf for a row that sees nothing */
    uint64_t rope_key;               /* filled: the key of cos_cache and sin_cache */
    gqa_path path;                   /* filled */
    gqa_work *work; /* borrowed for the call, initialised, and filled (not added to) when it
                       succeeds; NULL = not counted */
    gqa_neuron_report *neuron; /* the same, for backend neuron; with another one it is refused */
    gqa_health *health; /* the same, for backends cpu and reference: NaN, far scores, empty rows,
                           the sinks' share, what storing did; NULL = nobody looks (gqa/health.h) */
} gqa_output;

GQA_API void gqa_output_init_sized(gqa_output *output, size_t size);

static inline void gqa_output_init(gqa_output *output)
{
    gqa_output_init_sized(output, sizeof *output);
}

/* Bytes that gqa_forward needs for these inputs and this output (pointers are not followed, so
 * data may be any non-NULL value, but inputs.blocks; lengths, sequences and row_begin are not
 * read). Grows with neither T nor the cache, except without a cache, where the call's own K and V
 * live in it, with blocks that the call appends to, by 8 bytes a token, and on backends reference
 * and neuron with max_tokens of the cache.
 *
 * One size for many calls: what a flat call of B entries and N tokens needs is enough for every
 * call, flat or not, of at most B entries and, padding included, at most N tokens that has the same
 * tensors in the same formats and with the same strides inside a token, whatever the lengths, and
 * asks alike for a health report and a tap. A workspace that is too small is refused
 * (GQA_ERR_WORKSPACE) with the bytes that the call needs. */
GQA_API gqa_status gqa_workspace_size(const gqa_layer *layer, const gqa_cache *cache,
                                      const gqa_inputs *inputs, const gqa_output *output,
                                      size_t *size, gqa_error *err);

/* Run the layer. cache NULL, and no blocks: every entry starts empty and nothing is kept.
 * workspace: size bytes, aligned to 64, used by one call at a time; NULL with size 0 = taken from
 * the runtime's allocator for this call. On failure cache and blocks are unchanged and the output
 * unspecified. The layer may be used by any number of calls at once, each with its own cache (or
 * sequences it only reads) and workspace. */
GQA_API gqa_status gqa_forward(const gqa_layer *layer, gqa_cache *cache, const gqa_inputs *inputs,
                               gqa_output *output, void *workspace, size_t size, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
