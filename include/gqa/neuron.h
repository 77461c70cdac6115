/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/neuron.h - the attention of AWS Neuron on a CPU, tile by tile and rounding by rounding.
 *
 * For people who port models to Trainium and Inferentia: what a kernel of theirs computes, which
 * tiles it visits in which order, and where it rounds. A *profile* is one of Neuron's ways to
 * compute attention, named as Neuron names it. docs/neuron-paths.md walks through each with a
 * picture; src/neuron has one file for each, to be read beside Neuron's own.
 *
 * Words of the machine that are used here: 128 *partitions* are the rows that are computed at once;
 * a *PSUM group* is all that the product unit adds up before anybody reads it; *HBM* is the memory
 * that tiles are loaded from.
 */
#ifndef GQA_NEURON_H
#define GQA_NEURON_H

#include "gqa/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Neuron's releases that differ here. 0 = the newest one that has the profile. */
typedef enum gqa_neuron_release {
    GQA_NEURON_NEWEST = 0,
    GQA_NEURON_2_26 = 226,
    GQA_NEURON_2_27 = 227,
    GQA_NEURON_2_29 = 229
} gqa_neuron_release;

typedef enum gqa_neuron_profile {
    GQA_NEURON_NO_PROFILE = 0,     /* a config: as Neuron chooses. A call names its profile */
    GQA_NEURON_FLASH_FWD = 1,      /* sliding window and causal kernel (2.26, 2.27) */
    GQA_NEURON_CTE = 2,            /* attention_cte (2.29) */
    GQA_NEURON_NATIVE_PREFILL = 3, /* scaled_qk and softmax of the framework, with a whole mask */
    GQA_NEURON_NATIVE_PREFIX = 4,  /* perform_prefix_prefill without a kernel */
    GQA_NEURON_NATIVE_TKG = 5,     /* compute_for_token_gen: prior and active part */
    GQA_NEURON_FLASH_DECODING = 6, /* the same over the ranks that share one KV head */
    GQA_NEURON_PAGED_SCHEDULE = 7  /* flash_paged_attention_with_schedule (2.26, 2.27) */
} gqa_neuron_profile;

/* How a PSUM group and a row sum are added up. EXACT: in double, rounded once to f32, which makes
 * the order (that Neuron does not document) irrelevant. FLOAT32: in f32, in rising order. */
typedef enum gqa_neuron_accumulation {
    GQA_NEURON_EXACT = 0,
    GQA_NEURON_FLOAT32 = 1
} gqa_neuron_accumulation;

/* What divides q or the scores: sqrt(D), as a Python scalar that takes the tensor's type (rounded
 * to the I/O type), or as f32. */
typedef enum gqa_neuron_divisor {
    GQA_NEURON_SQRT_D_ROUNDED = 0,
    GQA_NEURON_SQRT_D_F32 = 1
} gqa_neuron_divisor;

/* The I/O type of a layer: the format of activations, weights, keys and values. */
typedef enum gqa_neuron_io { GQA_NEURON_IO_BF16 = 0, GQA_NEURON_IO_F32 = 1 } gqa_neuron_io;

/* Something that the profile silently leaves out or does otherwise than one may expect. The call
 * does as Neuron does, and says so. */
typedef enum gqa_neuron_warning_code {
    GQA_NEURON_WARN_SINKS_DROPPED = 1,
    GQA_NEURON_WARN_MASK_IGNORED = 2,
    GQA_NEURON_WARN_PRIOR_MASK_IGNORED = 3,
    GQA_NEURON_WARN_BOUND_ADMITTED = 4,    /* packing: the key at bound_max itself is seen */
    GQA_NEURON_WARN_ROWS_NOT_WRITTEN = 5,  /* rows beyond the last whole tile of 128 */
    GQA_NEURON_WARN_ROWS_WITHOUT_KEYS = 6, /* they get an average of values, not 0 */
    GQA_NEURON_WARN_PADDING_ROWS = 7,      /* they get an average of values, not 0 */
    GQA_NEURON_WARN_OUT_ROUNDED = 8,       /* f32 I/O, but the result has been rounded to bf16 */
    GQA_NEURON_WARN_LIMIT_LIFTED = 9,      /* Neuron refuses this call */
    GQA_NEURON_WARN_WINDOW_IGNORED = 10
} gqa_neuron_warning_code;

typedef struct gqa_neuron_warning {
    gqa_neuron_warning_code code;
    const char *field; /* static, for example "call.sinks" */
    const char *text;  /* static: "flash_fwd drops learned sinks" */
} gqa_neuron_warning;

#define GQA_NEURON_WARNINGS_MAX 16

/* --- the trace ---------------------------------------------------------------------------------
 */

/* What has just happened. */
typedef enum gqa_neuron_event {
    GQA_NEURON_MM1 = 0,   /* scores of a tile: s (masked), and s_raw where it is rounded by itself;
                             tile_max */
    GQA_NEURON_EXP = 1,   /* exponentials of a tile: p, row_sum */
    GQA_NEURON_MM2 = 2,   /* product of p and v of a tile */
    GQA_NEURON_LARGE = 3, /* a large tile is done: o; flash kernels: m, l, alpha, row_sum too */
    GQA_NEURON_SECTION = 4, /* a section, phase, part or rank is done: m, l, alpha, o */
    GQA_NEURON_ROWS = 5     /* these rows are done: m, l, and out rounded to the I/O type as o */
} gqa_neuron_event;

/* What became of a tile. */
typedef enum gqa_neuron_fate {
    GQA_NEURON_WHOLE = 0,          /* computed, and every row sees every key */
    GQA_NEURON_MASKED = 1,         /* computed, some elements are masked */
    GQA_NEURON_ALL_MASKED = 2,     /* computed, although no row sees a key */
    GQA_NEURON_FILLED = 3,         /* not computed, but its scores count as masked ones */
    GQA_NEURON_SKIPPED_CAUSAL = 4, /* not computed: right of the diagonal */
    GQA_NEURON_SKIPPED_WINDOW = 5, /* not computed: left of the window */
    GQA_NEURON_SKIPPED_PRIOR = 6,  /* not computed: beyond the prior keys in use */
    GQA_NEURON_SKIPPED_BOUNDS = 7  /* not computed: outside of the packed sequence */
} gqa_neuron_fate;

/* How scores were masked. */
typedef enum gqa_neuron_masking {
    GQA_NEURON_MASKING_NONE = 0,
    GQA_NEURON_MASKING_RANGE_SELECT = 1, /* by bounds that are known at run time */
    GQA_NEURON_MASKING_AFFINE = 2,       /* by affine selects, known at compile time */
    GQA_NEURON_MASKING_TENSOR = 3        /* by a tensor of who sees whom */
} gqa_neuron_masking;

typedef enum gqa_neuron_part { GQA_NEURON_ACTIVE = 0, GQA_NEURON_PRIOR = 1 } gqa_neuron_part;

/* One event. Pointers are NULL where the event has no such value, and live until the callback
 * returns. rows is at most 128 (one per partition). */
typedef struct gqa_neuron_tile {
    uint32_t struct_size;
    gqa_neuron_profile profile;
    gqa_neuron_event event;
    gqa_neuron_fate fate;
    gqa_neuron_masking masking;
    gqa_neuron_part part;         /* of the keys */
    int64_t order;                /* events so far */
    int32_t batch, head;          /* query head */
    int32_t rank;                 /* flash_decoding */
    int32_t schedule;             /* paged_schedule: the tile of the schedule; -1 = active phase */
    int32_t section, large, tile; /* section, large tile, and K or V tile; numbers within the next
                                     larger one (tile: within the section, flash_fwd: within the
                                     large tile) */
    int32_t query, rows;          /* first query row, and how many */
    int32_t key, keys;            /* first key (its place in the profile's axis of keys, prior slots
                                     first), and how many */
    int32_t dim;
    int32_t rows_without_keys;  /* MM1: rows that see no key of the tile */
    int64_t score_step;         /* from row to row of s_raw, s and p */
    const float *s_raw;         /* [rows][keys] */
    const float *s;             /* [rows][keys] */
    const float *p;             /* [rows][keys], rounded as the product takes it */
    const float *tile_max;      /* [rows] */
    const float *row_sum;       /* [rows] */
    const float *m, *l, *alpha; /* [rows] */
    const float *o;             /* [rows][dim] */
    const int32_t *blocks;      /* paged_schedule: blocks in the load buffers */
    int32_t blocks_count;
    int64_t hbm_bytes; /* loaded for this event */
    int64_t madds;     /* multiply-adds of this event */
} gqa_neuron_tile;

typedef void (*gqa_neuron_trace)(void *user, const gqa_neuron_tile *tile);

/* --- a call ------------------------------------------------------------------------------------
 */

/* Everything that any profile takes. What a profile does not take is refused by name, or left out
 * with a warning where Neuron leaves it out silently. B batch entries, T query rows, K keys, P
 * prior keys, query heads Hq, KV heads Hkv, head_dim D; query head h reads KV head h / (Hq / Hkv).
 * The I/O type is the format of q, f32 or bf16; k, v, k_prior, v_prior and the caches have it too.
 */
typedef struct gqa_neuron_call {
    uint32_t struct_size;
    gqa_neuron_profile profile;
    gqa_neuron_release release;
    gqa_neuron_accumulation accumulation;
    gqa_neuron_divisor divisor;
    int32_t lift_limits; /* 1: limits of the kernel that have a meaning without them do not hold */

    gqa_tensor q;    /* [B, T, Hq, D], neither rotated nor scaled here */
    gqa_tensor k, v; /* [B, K, Hkv, D]; K = T but for flash_fwd with windowed context
                        encoding and cte with context parallelism. tkg: the new tokens */
    gqa_tensor k_prior,
        v_prior; /* [B, P, Hkv, D]; flash_decoding: by position, P = ranks * S_rank */
    gqa_tensor k_cache, v_cache; /* paged_schedule: [blocks, Hkv, block size, D] */
    gqa_tensor sinks;            /* [Hq], any float format, rounded to the I/O type */
    /* Masks, GQA_U8 or GQA_BITS, 1 = attend; absent: all attend. A row that sees no key gets
     * an average over all of them; exactly 0 if there are sinks. */
    gqa_tensor mask; /* native_prefill: [1|B, 1, T, K]; causality, window, padding: all of it */
    gqa_tensor prior_mask;  /* native_tkg: [1|B, 1, T, P]; native_prefix ignores it */
    gqa_tensor active_mask; /* native_tkg: [1|B, 1, T, T], ignored for T = 1; native_prefix: absent:
                               causal */

    int32_t window;        /* W keys, the query's own included; 0 = no window */
    int32_t right_window;  /* 0; anything else is refused as flash_fwd does */
    int32_t bidirectional; /* 1: no causal mask */
    float scale;      /* flash_fwd, paged_schedule: multiplies q, 0 = 1 / sqrt(D). cte: 0 or 1 =
                         q is divided by sqrt(D); else q as it is, and scores times scale */
    int32_t seq_tile; /* flash_fwd: keys of a large tile; 0 = 2048 from T = 2048 on, else 512 */
    int32_t attn_core_tile; /* flash_fwd: query tiles that are resident; 0 = 256 */
    int32_t
        windowed_context_encoding; /* flash_fwd, 2.27: 1: keys 0 .. W - 1 are the window before */

    int32_t prior_used;       /* cte: prior keys that are seen, 0 .. P */
    int32_t cp_degree;        /* cte: ranks of context parallelism, 1 .. 32; 0 = none */
    int32_t cp_offset;        /* cte: position of row 0 (strided: the rank) */
    int32_t cp_strided;       /* cte: 1: row t has position cp_offset + t * cp_degree */
    const int32_t *bound_min; /* cte: [T] keys [bound_min, bound_max) of packed sequences; */
    const int32_t *bound_max; /* cte: [T]; both or neither */

    int32_t ranks;            /* flash_decoding: ranks that share the KV head */
    const int32_t *positions; /* flash_decoding: [B, T] of the new tokens; prior slots count that
                                 lie before the first of a batch entry, at most P */

    int32_t requests;            /* paged_schedule */
    const int32_t *query_lens;   /* paged_schedule: [requests] */
    const int32_t *context_lens; /* paged_schedule: [requests] */
    const int32_t *block_table;  /* paged_schedule: [requests, block_table_width] */
    int32_t block_table_width;
    int32_t q_tile, kv_tile; /* paged_schedule: 0 = 128, 1024 */
    int32_t row_order;    /* paged_schedule: 0: tiles by columns of keys, 1: by rows of queries */
    int32_t tiles_padded; /* paged_schedule: the schedule is padded to this many; 0 = not */
    int32_t skip_value;   /* paged_schedule: block number that loads nothing; 0 = 1000 * blocks */

    gqa_neuron_trace trace; /* NULL = none. A traced call runs on the calling thread, in the order
                               of the kernel */
    void *trace_user;

    float softmax_scale; /* the native profiles, cte (2.29): stands for sqrt(D) as the divisor, and
                            is rounded as it is; 0 = sqrt(D) */

    int32_t k_transposed; /* native_tkg, native_prefix: 1: k_prior is [B, Hkv, D, P], as a cache
                             with k_cache_transposed holds it */
} gqa_neuron_call;

GQA_API void gqa_neuron_call_init_sized(gqa_neuron_call *call, size_t size);

static inline void gqa_neuron_call_init(gqa_neuron_call *call)
{
    gqa_neuron_call_init_sized(call, sizeof *call);
}

typedef struct gqa_neuron_output {
    uint32_t struct_size;
    int32_t warning_count; /* filled */
    gqa_tensor out;        /* [B, T, Hq, D]; bf16 or f32. Required */
    gqa_tensor q_scaled;   /* [B, T, Hq, D]: what enters the product, if wanted */
    gqa_tensor neg_max;    /* cte: [B, Hq, 128, groups] f32, the kernel's softmax cache: entry */
    gqa_tensor recip;      /* cte: the same; [p, g] belongs to query 128 g + p */
    int64_t tiles;         /* filled: MM1 tiles that were computed */
    int64_t tiles_skipped; /* filled: and were not */
    int64_t hbm_bytes;     /* filled: keys, values and queries that were loaded */
    int64_t madds;         /* filled: multiply-adds */
    gqa_neuron_warning warnings[GQA_NEURON_WARNINGS_MAX]; /* filled, [warning_count] */
} gqa_neuron_output;

GQA_API void gqa_neuron_output_init_sized(gqa_neuron_output *output, size_t size);

static inline void gqa_neuron_output_init(gqa_neuron_output *output)
{
    gqa_neuron_output_init_sized(output, sizeof *output);
}

/* What gqa_forward and gqa_attend say of a call of backend GQA_BACKEND_NEURON: warnings of all
 * batch entries, each once, and counts as in gqa_neuron_output. */
typedef struct gqa_neuron_report {
    uint32_t struct_size;
    int32_t warning_count;
    gqa_neuron_warning warnings[GQA_NEURON_WARNINGS_MAX]; /* [warning_count] */
    int64_t tiles, tiles_skipped, hbm_bytes, madds;       /* of attention */
} gqa_neuron_report;

GQA_API void gqa_neuron_report_init_sized(gqa_neuron_report *report, size_t size);

static inline void gqa_neuron_report_init(gqa_neuron_report *report)
{
    gqa_neuron_report_init_sized(report, sizeof *report);
}

/* "flash_fwd", "cte", ..; "unknown" for other values. Static, never NULL. */
GQA_API const char *gqa_neuron_profile_name(gqa_neuron_profile profile);

/* Bytes that gqa_neuron_attention needs. Data of tensors is not read (any non-NULL pointer will
 * do); the integer arrays are. runtime NULL = all zero. */
GQA_API gqa_status gqa_neuron_workspace_size(const gqa_neuron_call *call,
                                             const gqa_neuron_output *output,
                                             const gqa_runtime *runtime, size_t *size,
                                             gqa_error *err);

/* Run one profile. workspace: size bytes, aligned to 64; NULL with size 0 = taken from the
 * runtime's allocator for this call. GQA_ERR_UNSUPPORTED with the limit and who sets it: what
 * Neuron refuses. The result does not depend on the number of threads. Thread-safe. */
GQA_API gqa_status gqa_neuron_attention(const gqa_neuron_call *call, gqa_neuron_output *output,
                                        const gqa_runtime *runtime, void *workspace, size_t size,
                                        gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
