/* SPDX-License-Identifier: Apache-2.0 */
/* neuron.h - what all profiles share: a checked call, tiles of its tensors, the table of profiles,
 * and the one place through which every event goes.
 *
 * A profile is one struct gqa__neuron_path: what it takes, its limits, its scratch, and its items
 * of work. To add one: its file, and a line in profile.c. */
#ifndef GQA__NEURON_NEURON_H
#define GQA__NEURON_NEURON_H

#include "base/arena.h"
#include "gqa/neuron.h"
#include "neuron/engine.h"

struct gqa__neuron_path;

/* A call, checked. Tensors have four dimensions (sinks one) and explicit strides; a mask for all
 * batch entries has stride 0 there. Fields that were 0 hold the profile's default. */
struct gqa__neuron {
    const struct gqa__neuron_path *path;
    gqa_neuron_call in;
    gqa_neuron_output out;
    gqa_runtime runtime;
    int32_t batch, tokens, keys, prior; /* B, T, K, P */
    int32_t hq, hkv, group, dim;
    gqa_dtype io;
    float divisor; /* sqrt(D), as the call's divisor says */
    int32_t slots; /* slices of scratch: 1 when traced */
    void *shared;  /* what the profile's share() made */
};

/* What a profile takes of the optional fields. */
enum gqa__neuron_field {
    GQA__TAKES_PRIOR = 1 << 0, /* k_prior, v_prior */
    GQA__TAKES_CACHE = 1 << 1, /* k_cache, v_cache */
    GQA__TAKES_SINKS = 1 << 2,
    GQA__TAKES_MASK = 1 << 3,
    GQA__TAKES_PRIOR_MASK = 1 << 4,
    GQA__TAKES_ACTIVE_MASK = 1 << 5,
    GQA__TAKES_WINDOW = 1 << 6,
    GQA__TAKES_BIDIRECTIONAL = 1 << 7,
    GQA__TAKES_SCALE = 1 << 8,
    GQA__TAKES_DIVISOR = 1 << 9,
    GQA__TAKES_FLASH = 1 << 10, /* seq_tile, attn_core_tile, windowed_context_encoding */
    GQA__TAKES_PRIOR_USED = 1 << 11,
    GQA__TAKES_CP = 1 << 12, /* cp_degree, cp_offset, cp_strided */
    GQA__TAKES_BOUNDS = 1 << 13,
    GQA__TAKES_RANKS = 1 << 14,         /* ranks, positions */
    GQA__TAKES_SCHEDULE = 1 << 15,      /* requests .. skip_value */
    GQA__TAKES_SOFTMAX_CACHE = 1 << 16, /* output.neg_max, output.recip */
    GQA__TAKES_Q_SCALED = 1 << 17,      /* output.q_scaled */
    GQA__TAKES_TRANSPOSED = 1 << 18     /* k_transposed */
};

/* The running slice of work. */
struct gqa__neuron_worker {
    const struct gqa__neuron *call;
    struct gqa__neuron_count *count;
};

/* What a slot has counted. */
struct gqa__neuron_count {
    int64_t events, tiles, tiles_skipped, hbm_bytes, madds;
    int64_t rows_without_keys; /* counted by the profile: they got an average of values, not 0 */
};

struct gqa__neuron_path {
    gqa_neuron_profile profile;
    const char *name;
    uint32_t takes; /* bits of gqa__neuron_field; other fields are refused when they are set .. */
    uint32_t drops; /* .. or, of these, left out with a warning */

    /* NULL, or: limits, defaults and warnings of the profile; shapes have been checked. */
    gqa_status (*check)(struct gqa__neuron *call, gqa_error *err);
    /* NULL, or: carve what all items read, and fill it unless the arena counts. */
    void *(*share)(const struct gqa__neuron *call, struct gqa__arena *arena);
    /* Independent items of work; those of a traced call are run in order. */
    int64_t (*items)(const struct gqa__neuron *call);
    /* Carve one slot's scratch (by the code that run uses). */
    void (*scratch)(const struct gqa__neuron *call, struct gqa__arena *arena);
    /* Run one item in a slot's scratch. Cannot fail. */
    void (*run)(const struct gqa__neuron_worker *worker, struct gqa__arena *scratch, int64_t item);
};

/* The profiles; NULL if there is none of this number. */
const struct gqa__neuron_path *gqa__neuron_path(gqa_neuron_profile profile);

extern const struct gqa__neuron_path gqa__neuron_flash_fwd;
extern const struct gqa__neuron_path gqa__neuron_cte;
extern const struct gqa__neuron_path gqa__neuron_native_prefill;
extern const struct gqa__neuron_path gqa__neuron_native_prefix;
extern const struct gqa__neuron_path gqa__neuron_native_tkg;
extern const struct gqa__neuron_path gqa__neuron_flash_decoding;
extern const struct gqa__neuron_path gqa__neuron_paged_schedule;

/* Import, check and complete a call. formats: 0, or GQA__ANY_ADDRESS when a size is asked for. */
gqa_status gqa__neuron_check(struct gqa__neuron *call, const gqa_neuron_call *in,
                             const gqa_neuron_output *out, int formats, gqa_error *err);

/* Bytes of workspace of a checked call, and the call itself. */
size_t gqa__neuron_bytes(struct gqa__neuron *call); /* SIZE_MAX: does not fit a size_t */
void gqa__neuron_run(struct gqa__neuron *call, void *workspace, size_t size);

/* For checks: note a warning; refuse a limit of Neuron's, unless limits are lifted, which is then
 * noted. field and text are static. who: "flash_fwd asserts it", .. */
void gqa__neuron_warn(struct gqa__neuron *call, gqa_neuron_warning_code code, const char *field,
                      const char *text);
struct gqa__neuron_limit {
    const char *field; /* "call.q" */
    const char *what;  /* "head_dim" */
    int64_t value;
    const char *must; /* "at most 128 (flash_fwd asserts it)" */
};
/* holds: the call keeps the limit. */
gqa_status gqa__neuron_hold(struct gqa__neuron *call, bool holds,
                            const struct gqa__neuron_limit *limit, gqa_error *err);

/* --- tiles -------------------------------------------------------------------------------------
 */

/* n rows of one head of a [B, rows, heads, D] tensor, of any strides: to[n][dim]; or turned,
 * to[dim][n] with the dims step apart. */
struct gqa__neuron_rows {
    const gqa_tensor *tensor;
    int32_t batch, first, n, head;
};
void gqa__neuron_load(const struct gqa__neuron_rows *rows, float *to);
void gqa__neuron_load_turned(const struct gqa__neuron_rows *rows, float *to, int64_t step);
void gqa__neuron_store(const struct gqa__neuron_rows *rows, const float *from); /* [n][dim] */

/* May row t of a batch entry see column c, by a mask of the call? An absent mask lets all. */
bool gqa__neuron_sees(const gqa_tensor *mask, int32_t batch, int32_t t, int32_t c);

/* Sink of a head, rounded to the I/O type. */
float gqa__neuron_sink(const struct gqa__neuron *call, int32_t head);

/* --- events ------------------------------------------------------------------------------------
 */

/* An event of this worker's call, all else zero. */
gqa_neuron_tile gqa__neuron_event(const struct gqa__neuron_worker *worker, gqa_neuron_event event);

/* Count it, and show it to the trace. */
void gqa__neuron_emit(const struct gqa__neuron_worker *worker, gqa_neuron_tile *tile);

#endif
