/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/neuron_maps.h - what AWS Neuron's attention decides in integers, before any arithmetic: which
 * path and kernel a call takes, which head lies on which rank, which token in which slot of a
 * cache, and in which order tiles are visited.
 *
 * For engineers who port to or from NeuronX Distributed Inference (releases 2.26, 2.27 and 2.29).
 * Pure functions of numbers: no layer, no memory of the library's, no state; all are thread-safe.
 * Names are Neuron's; CTE is context encoding (prefill), TKG token generation (decode). Where a
 * release has a defect, the result is the defective one, and the comment says so.
 *
 * Results go to arrays of the caller. The length stands beside the array; where it does not follow
 * from the arguments at a glance, a function tells it. An array that is not wanted is NULL.
 *
 * A number out of its range is GQA_ERR_ARG; what Neuron refuses, or what is not known of a release,
 * is GQA_ERR_UNSUPPORTED. Nothing is written then. Flags are 0 or 1. Of releases GQA_NEURON_NEWEST
 * is 2.29. Masks are bytes: 1 = may attend. -1 stands for "no head", "no slot" and "padding".
 */
#ifndef GQA_NEURON_MAPS_H
#define GQA_NEURON_MAPS_H

#include "gqa/neuron.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- which kernel: get_flash_attention_strategy -------------------------------------------------
 */

/* FlashAttentionStrategy. */
typedef enum gqa_neuron_flash_strategy {
    GQA_NEURON_STRATEGY_NONE = 0, /* no kernel: the framework's own operators */
    GQA_NEURON_STRATEGY_UNSHARDED_KERNEL = 1,
    GQA_NEURON_STRATEGY_SHARDED_KERNEL = 2,
    GQA_NEURON_STRATEGY_CONTEXT_PARALLEL_KERNEL = 3,
    GQA_NEURON_STRATEGY_STRIDED_CONTEXT_PARALLEL_KERNEL = 4,
    GQA_NEURON_STRATEGY_SLIDING_WINDOW_KERNEL = 5 /* 2.26; 2.27 on trn1 */
} gqa_neuron_flash_strategy;

/* neuron_config.attn_kernel_enabled. */
typedef enum gqa_neuron_attn_kernel {
    GQA_NEURON_ATTN_KERNEL_AUTO = 0,  /* None: where it pays */
    GQA_NEURON_ATTN_KERNEL_FALSE = 1, /* never */
    GQA_NEURON_ATTN_KERNEL_TRUE = 2   /* for short sequences too */
} gqa_neuron_attn_kernel;

typedef struct gqa_neuron_strategy_input {
    gqa_neuron_release release;
    gqa_neuron_attn_kernel attn_kernel_enabled;
    int32_t logical_nc_config;  /* cores that work as one (LNC); 0 = 1 */
    int32_t cp_degree;          /* ranks of context parallelism; 0 = 1 */
    int32_t strided;            /* strided_context_parallel_kernel_enabled; without context
                                   parallelism it changes nothing */
    int32_t sliding_window;     /* 0 = none */
    int32_t head_dim;           /* at least 1 */
    int32_t q_len;              /* what the caller passes: with context parallelism perform_prefill
                                   passes the rank's share of the tokens, prep_qkv_tensors all of
                                   them, and the two answers may differ. At least 1 */
    int32_t has_attention_mask; /* given = causal */
    int32_t trn1;               /* the platform is trn1 */
} gqa_neuron_strategy_input;

/* GQA_ERR_UNSUPPORTED, field "strided": the strided kernel was asked for and cannot be had
 * (Neuron: ValueError). Whether the kernel then takes head_dim, the format and the padding is not
 * asked here, as it is not in Neuron. */
GQA_API gqa_status gqa_neuron_strategy(const gqa_neuron_strategy_input *input,
                                       gqa_neuron_flash_strategy *strategy, gqa_error *err);

/* "NONE", "UNSHARDED_KERNEL", ..; "unknown" for other values. Static, never NULL. */
GQA_API const char *gqa_neuron_strategy_name(gqa_neuron_flash_strategy strategy);

/* --- which path: NeuronAttentionBase.forward ----------------------------------------------------
 */

typedef enum gqa_neuron_path {
    GQA_NEURON_PATH_STANDARD_CAUSAL_ATTENTION = 0,
    GQA_NEURON_PATH_CHUNKED_ATTENTION = 1,
    GQA_NEURON_PATH_CHUNKED_ATTENTION_WITH_CONTEXT_PARALLEL = 2,
    GQA_NEURON_PATH_WINDOWED_ATTENTION = 3
} gqa_neuron_path;

/* What computes attention then. On the paths other than the standard one only the first two. */
typedef enum gqa_neuron_operation {
    GQA_NEURON_ATTENTION_CONTEXT_ENCODE = 0,  /* perform_prefill */
    GQA_NEURON_ATTENTION_TOKENGEN = 1,        /* compute_for_token_gen: prior and active part */
    GQA_NEURON_PERFORM_PREFIX_PREFILL = 2,    /* context encoding on top of a cached prefix */
    GQA_NEURON_ATTENTION_BLOCK_CTE = 3,       /* one kernel from norm to projection */
    GQA_NEURON_ATTENTION_BLOCK_TKG = 4,       /* the same for token generation */
    GQA_NEURON_ATTENTION_TKG_BUILTIN = 5,     /* 2.26, 2.27: rope is in the kernel */
    GQA_NEURON_ATTENTION_TKG_NKI = 6,         /* 2.26, 2.27 */
    GQA_NEURON_TOKENGEN_PREFIX_CACHING = 7,   /* compute_for_token_gen that minds active_mask */
    GQA_NEURON_PERFORM_CONTEXTED_PREFILL = 8, /* 2.26, 2.27: the paged kernel of chunked prefill */
    GQA_NEURON_COMPUTE_FOR_FLASH_DECODING = 9
} gqa_neuron_operation;

typedef struct gqa_neuron_route_input {
    gqa_neuron_release release;
    int32_t attention_chunk_size;      /* 0 = none */
    int32_t sliding_window;            /* 0 = none */
    int32_t cp_degree;                 /* 0 = 1 */
    int32_t seq_len;                   /* neuron_config.seq_len; 0 = longer than any chunk */
    int32_t input_len;                 /* tokens of the call, padding included; at least 1 */
    int32_t speculation_length;        /* 0 = none */
    int32_t has_past;                  /* past_key_value is given, or read inside the layer */
    int32_t windowed_context_encoding; /* a window index of at least 0 is given (from 2.27 on) */
    int32_t is_prefix_caching;
    int32_t is_chunked_prefill;
    int32_t flash_decoding_enabled;
    int32_t attn_block_tkg_kernel; /* the four kernels: enabled */
    int32_t attn_block_cte_kernel;
    int32_t attn_tkg_builtin_kernel; /* from 2.29 on another name of attn_block_tkg_kernel, */
    int32_t attn_tkg_nki_kernel;     /* and so is this */
} gqa_neuron_route_input;

typedef struct gqa_neuron_route {
    gqa_neuron_path path;
    gqa_neuron_operation operation;
    int32_t is_token_gen;        /* what the layer takes the call for */
    int32_t is_context_encoding; /* what the model takes it for, by its length alone: a prompt of
                                    one token is none, nor one of speculation_length tokens */
    int32_t is_for_speculation;  /* so such a prompt is taken for a verification step */
    int32_t chunk_dropped;       /* attention_chunk_size is not below seq_len (Neuron warns) */
    int32_t window_ignored;      /* a chunk beats a window, silently */
} gqa_neuron_route;

/* With prefix caching a call with a past counts as context encoding from 128 tokens on: the
 * smallest bucket of a prefix. The windowed and the chunked paths lack this rule. */
GQA_API gqa_status gqa_neuron_find_route(const gqa_neuron_route_input *input,
                                         gqa_neuron_route *route, gqa_error *err);

/* "standard_causal_attention_forward", ..; "unknown" for other values. Static, never NULL. */
GQA_API const char *gqa_neuron_path_name(gqa_neuron_path path);

/* "attention_context_encode", "compute_for_token_gen", ..; the same. */
GQA_API const char *gqa_neuron_operation_name(gqa_neuron_operation operation);

/* --- heads on ranks: gqa.py ---------------------------------------------------------------------
 */

/* GQA.determine_sharding_strategy. */
typedef enum gqa_neuron_sharding {
    GQA_NEURON_REPLICATE_TO_TP_DEGREE = 0,
    GQA_NEURON_CONVERT_TO_MHA = 1 /* said of tp < KV heads too, where nothing is converted */
} gqa_neuron_sharding;

typedef struct gqa_neuron_heads {
    gqa_neuron_sharding sharding;
    int32_t query_heads;     /* of all ranks, padding included; each rank owns an equal slice */
    int32_t kv_heads;        /* the same; repeated and padded */
    int32_t kv_heads_loaded; /* KV heads that the released loader makes of the weights. Defect: with
                                CONVERT_TO_MHA and fewer KV heads than query heads it pads what it
                                has repeated already, and the load fails; else equal to kv_heads */
} gqa_neuron_heads;

/* query_heads: a multiple of kv_heads. tp_degree: at least 1. */
GQA_API gqa_status gqa_neuron_count_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree,
                                          gqa_neuron_heads *heads, gqa_error *err);

/* The source head of every padded head, -1 = zeros. q_map: [heads.query_heads]; kv_map:
 * [heads.kv_heads] of gqa_neuron_count_heads, as intended where the loader is defective. */
GQA_API gqa_status gqa_neuron_map_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree,
                                        int32_t *q_map, int32_t *kv_map, gqa_error *err);

/* --- ranks: attention_process_groups.py and utils.py -------------------------------------------
 */

#define GQA_NEURON_RANKS_MAX 4096

/* The mesh of ranks: rows are groups that share out heads, columns those that share out tokens (or
 * batch rows). Contiguous, but for 8 rows of 8, where rows lie along the links of the machine.
 * mesh: [groups][world / groups] ranks; place: [world] its inverse: where in the mesh a rank lies,
 * and so which shard of the weights it is given. */
GQA_API gqa_status gqa_neuron_mesh(int32_t world, int32_t groups, int32_t *mesh, int32_t *place,
                                   gqa_error *err);

typedef struct gqa_neuron_ranks {
    int32_t world;     /* ranks; a multiple of the degrees and of kv_heads */
    int32_t cp_degree; /* context parallelism of context encoding, at least 1 */
    int32_t dp_degree; /* data parallelism of token generation; 0 = 1: all ranks share out heads */
    int32_t kv_heads;  /* at least 1; they divide the ranks that share out tokens' heads, or are
                          divided by them */
    int32_t order_8x8; /* 1: context encoding uses the mesh of 8 x 8: world 64, cp_degree 8 */
} gqa_neuron_ranks;

/* get_context_parallel_reordered_tp_mapping and ..._dp_mapping: order[r] is the rank of token
 * generation whose shard of the weights rank r is given, so that it holds a KV head that it
 * wrote. order: [world].
 *
 * cp_degree must be a multiple of dp_degree. GQA_ERR_UNSUPPORTED: fewer ranks in a group of token
 * generation than KV heads; world 64 with both degrees 8, where Neuron reorders nothing (and the
 * released function would read beyond its table, or mix two meshes). */
GQA_API gqa_status gqa_neuron_rank_order(const gqa_neuron_ranks *ranks, int32_t *order,
                                         gqa_error *err);

/* get_kv_head_indices_context_parallel_full_tp_decode and ..._dp_decode: which of the KV heads that
 * rank r holds in context encoding it writes to the cache. index: [world]. order_8x8 must be 0.
 * (The docstring of the first one prints another order than the function returns.) */
GQA_API gqa_status gqa_neuron_rank_heads(const gqa_neuron_ranks *ranks, int32_t *index,
                                         gqa_error *err);

/* validate_tp_prefill_to_dp_decode: 1 if prefill without context parallelism may be followed by
 * token generation with data parallelism, that is, if a rank holds as many KV heads in both. */
GQA_API gqa_status gqa_neuron_dp_supported(int32_t kv_heads, int32_t world, int32_t dp_degree,
                                           int32_t *supported, gqa_error *err);

/* stride_tensor: new[i] = old[order[i]]; order_strided_tensor: old[i] = new[inverse[i]]. Both:
 * [length]. stride divides length. */
GQA_API gqa_status gqa_neuron_stride_order(int32_t length, int32_t stride, int32_t *order,
                                           int32_t *inverse, gqa_error *err);

/* --- caches -------------------------------------------------------------------------------------
 */

/* The cache of a layer with a window: as many slots as past tokens can be seen, used in turns. */
typedef struct gqa_neuron_window {
    gqa_neuron_release release; /* 2.27 is as 2.29 */
    int32_t window;             /* W, the query's own token included. 2.26: at least 1, else 2 */
    int32_t speculation_length; /* k new tokens in a step; 0 = 1. Not in 2.26. The generic cache
                                   manager of 2.29 ignores it and uses W - 1 slots in its turns
                                   (defect); GptOssKVCacheManager is followed here */
} gqa_neuron_window;

/* *slots: token p lies in slot p % slots. 2.26: W. Later: W - 1, or W + k - 2 with speculation.
 * *width: slots of a decode mask; W, or with speculation the bucket that the kernel takes, which
 * leaves at least one slot free. */
GQA_API gqa_status gqa_neuron_window_size(const gqa_neuron_window *window, int32_t *slots,
                                          int32_t *width, gqa_error *err);

/* get_last_kv_window: the position that each slot holds after a prefill whose last token has
 * last_position. positions: [slots]. Positions above last_position are padding, which the masks of
 * decode steps leave out until it is overwritten. */
GQA_API gqa_status gqa_neuron_window_slots(const gqa_neuron_window *window, int32_t last_position,
                                           int32_t *positions, gqa_error *err);

/* A decode step of one token: which slots it sees beside itself. mask: [width]; *write_slot: where
 * it is written afterwards. speculation_length must be 0. */
GQA_API gqa_status gqa_neuron_window_decode(const gqa_neuron_window *window, int32_t position,
                                            uint8_t *mask, int32_t *write_slot, gqa_error *err);

/* A step of k = speculation_length tokens, at least 2, from position first on. logical: [slots] the
 * position that a slot holds, below 0: none yet. mask: [k][width]. */
GQA_API gqa_status gqa_neuron_window_speculate(const gqa_neuron_window *window, int32_t first,
                                               int32_t *logical, uint8_t *mask, gqa_error *err);

/* The cache of a layer with chunks: chunk slots. get_last_kv_chunk: the position that each slot
 * holds after a prefill padded to bucket tokens; -1 = zeros, beyond the bucket. (2.26 pads only
 * buckets longer than a chunk, and reads out of bounds in shorter ones.) positions: [chunk]. */
GQA_API gqa_status gqa_neuron_chunk_slots(int32_t chunk, int32_t last_position, int32_t bucket,
                                          int32_t *positions, gqa_error *err);

/* A decode step: which slots the token sees beside itself. mask: [chunk]. */
GQA_API gqa_status gqa_neuron_chunk_decode(int32_t chunk, int32_t position, uint8_t *mask,
                                           int32_t *write_slot, gqa_error *err);

/* Flash decoding: ranks share a KV head; position p lies on rank p % ranks, slot p / ranks. */
typedef struct gqa_neuron_flash_decoding {
    int32_t first_position; /* of the new tokens */
    int32_t tokens;         /* k, at least 1 */
    int32_t rank, ranks;    /* rank 0 .. ranks - 1 */
    int32_t slots;          /* of the rank's cache */
} gqa_neuron_flash_decoding;

/* mask_util: active: [tokens][tokens], the new tokens that this rank counts; prior: [slots], the
 * same for every token. */
GQA_API gqa_status gqa_neuron_flash_decoding_masks(const gqa_neuron_flash_decoding *input,
                                                   uint8_t *active, uint8_t *prior, gqa_error *err);

/* The masks that token generation kernels make of positions: slots [begin, end) of all of them; if
 * end is before begin, around the end of the cache. The built-in kernel of 2.26: [0, position).
 * mask: [slots]. */
GQA_API gqa_status gqa_neuron_range_mask(int32_t begin, int32_t end, int32_t slots, uint8_t *mask,
                                         gqa_error *err);

/* Medusa: accepted tokens are moved together when the cache is next read. source[s] is the slot
 * whose old content slot s then has: accepted[i] for s = current[i], else s. source: [slots]. Two
 * equal entries of current with different sources are GQA_ERR_ARG. */
GQA_API gqa_status gqa_neuron_medusa_slots(const int32_t *accepted, const int32_t *current,
                                           int32_t tokens, int32_t *source, int32_t slots,
                                           gqa_error *err);

/* --- paged caches: slot = block * block_size + offset -------------------------------------------
 */

typedef struct gqa_neuron_block_table {
    int32_t requests;     /* at least 1 */
    int32_t width;        /* entries of a row, at least 1 */
    int32_t block_size;   /* at least 1 */
    const int32_t *table; /* [requests][width] blocks; entries that are not used may be anything */
} gqa_neuron_block_table;

/* get_active_block_table: the blocks that contexts fill, request by request. *count: how many;
 * active: [room], or NULL with room 0: only the count is wanted. GQA_ERR_SHAPE: there is too little
 * room; *count is set. */
GQA_API gqa_status gqa_neuron_active_blocks(const gqa_neuron_block_table *blocks,
                                            const int32_t *context_lens, int32_t *active,
                                            int32_t room, int32_t *count, gqa_error *err);

/* generate_tokengen_slot_mapping, and its form for fused speculation: the slots of tokens new
 * tokens from each request's position on. given: [requests][tokens]; a request whose given slots
 * are all below 0 is inactive, and its slots are -1. positions: [requests]; slots:
 * [requests][tokens]. */
GQA_API gqa_status gqa_neuron_token_slots(const gqa_neuron_block_table *blocks, int32_t tokens,
                                          const int32_t *positions, const int32_t *given,
                                          int32_t *slots, gqa_error *err);

/* Where a token is written that has no slot. */
typedef enum gqa_neuron_paged_layout {
    GQA_NEURON_PREFIX_CACHING = 0, /* one block more than the pool has: nothing is lost */
    GQA_NEURON_CHUNKED_PREFILL = 1 /* defect: the last slot of the last block, whoever owns it */
} gqa_neuron_paged_layout;

/* written[i] = slots[i], or the slot of the layout where that is below 0; both [count]. blocks: of
 * the pool. */
GQA_API gqa_status gqa_neuron_write_slots(gqa_neuron_paged_layout layout, int32_t blocks,
                                          int32_t block_size, const int32_t *slots,
                                          int32_t *written, int32_t count, gqa_error *err);

/* Requests side by side in one row of queries and one of keys. */
typedef struct gqa_neuron_block_diagonal {
    int32_t requests;          /* at least 1 */
    const int32_t *query_lens; /* [requests] */
    const int32_t *key_lens;   /* [requests] at least query_lens: the last keys are the queries */
    int32_t queries, keys;     /* extents of the mask: at least the sums */
    int32_t is_prior;          /* 1: only keys before the queries */
} gqa_neuron_block_diagonal;

/* The masks of chunked prefill. mask: [queries][keys]. */
GQA_API gqa_status gqa_neuron_block_diagonal_mask(const gqa_neuron_block_diagonal *input,
                                                  uint8_t *mask, gqa_error *err);

/* --- the schedule of paged prefill (releases 2.26 and 2.27) --------------------------------------
 *
 * flash_paged_attention_with_schedule takes the new tokens of all requests in one row, and their
 * cached tokens as one list of blocks. GridTileScheduler cuts both into tiles and lists those
 * pairs of a query tile and a key tile that share a request.
 *
 * Neuron decides by ranges of requests, not by tokens: a pair may be scheduled although all that it
 * shares is the unused end of a block. Its mask is then 0. */

#define GQA_NEURON_PARTITIONS 128 /* of the on-chip memory SBUF: rows of a tile as it is loaded */

/* A query tile may meet every key tile: more pairs than this are refused. */
#define GQA_NEURON_TILES_MAX (1 << 26)

typedef struct gqa_neuron_schedule_input {
    int32_t requests;            /* at least 1 */
    const int32_t *query_lens;   /* [requests] new tokens, at least 0 */
    const int32_t *context_lens; /* [requests] tokens in the cache, at least 0 */
    int32_t q_tile;              /* rows of a query tile (device: a multiple of 128) */
    int32_t kv_tile;             /* keys of a key tile (device: a multiple of 512) */
    int32_t block_size;          /* tokens of a block; divides kv_tile */
    int32_t row_order;           /* 0: key tile by key tile (column_order); 1: by query tiles */
    int32_t padded_tiles;        /* pad_schedule: how many tiles there are in the end; 0 = all that
                                    are needed, no padding */
    int32_t partitions;          /* what key_order is built for; 0 = GQA_NEURON_PARTITIONS */
    const int32_t *active_table; /* [active_blocks] blocks of the contexts, request by request
                                    (gqa_neuron_active_blocks); NULL if no block table is wanted */
    int32_t active_blocks;
    int32_t skip_value; /* stands in a block table for "load nothing, keep the keys of the tile
                           before" (Neuron: 1000 times the number of blocks of the pool) */
} gqa_neuron_schedule_input;

/* Arrays of the caller; NULL = not wanted. Padded tiles come last: query tile 0, offset 0, request
 * 0 for rows and 1 for columns, so that nothing is visible; their keys are never loaded. */
typedef struct gqa_neuron_schedule {
    int32_t tiles;                     /* with padding */
    int32_t skips;                     /* tiles whose keys are those of the tile before */
    int32_t *tile_q_indices;           /* [tiles] query tile */
    int32_t *tile_block_table_offsets; /* [tiles] the key tile's first entry of active_table */
    int32_t *tile_q_seq_ids;           /* [tiles][q_tile] request of each row; requests = padding */
    int32_t *tile_kv_seq_ids;          /* [tiles][kv_tile] request of each key, in linear order;
                                          requests + 1 = padding */
    int32_t *tile_kv_skip_indices;     /* [skips] rising */
    int32_t *tile_block_tables;        /* [tiles][kv_tile / block_size]; beyond the end of
                                          active_table its first block */
    uint8_t *tile_masks;               /* [tiles][q_tile][kv_tile] columns in kernel order */
    int32_t *key_order;                /* [kv_tile] linear place in the tile of each column */
} gqa_neuron_schedule;

/* Set tiles and skips of *schedule; its arrays are not read.
 *
 * GQA_ERR_ARG: a number out of its range, a tile that the blocks or the partitions do not divide,
 * fewer padded_tiles than tiles, or padding where no tile is needed (Neuron: "Can't skip the first
 * tile"). GQA_ERR_UNSUPPORTED: more than GQA_NEURON_TILES_MAX pairs to look at. */
GQA_API gqa_status gqa_neuron_schedule_size(const gqa_neuron_schedule_input *input,
                                            gqa_neuron_schedule *schedule, gqa_error *err);

/* Fill the arrays of *schedule, whose tiles and skips are those of gqa_neuron_schedule_size: else
 * GQA_ERR_SHAPE. GQA_ERR_ARG as there, or if tile_block_tables is wanted and active_blocks is less
 * than the contexts need. */
GQA_API gqa_status gqa_neuron_schedule_fill(const gqa_neuron_schedule_input *input,
                                            const gqa_neuron_schedule *schedule, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
