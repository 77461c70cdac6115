/* case.h - a golden file as the library's config, weights and inputs, and what is expected. */
#ifndef GQA__TOOL_CASE_H
#define GQA__TOOL_CASE_H

#include "gqa/gqa.h"
#include "tool/safetensors.h"

/* What a run computes and a file may expect, named as in the file. */
enum tool_value {
    TOOL_X_NORM,
    TOOL_Q_PROJ,
    TOOL_K_PROJ,
    TOOL_V_PROJ,
    TOOL_Q,
    TOOL_K,
    TOOL_V,
    TOOL_ATTN,
    TOOL_LSE,
    TOOL_O_PROJ,
    TOOL_OUT,
    TOOL_VALUES
};

/* Who says what is expected. */
enum tool_source { TOOL_F64_ORACLE, TOOL_REF, TOOL_BF16_REF, TOOL_SOURCES };

/* Tolerances of the metadata; NaN where the file gives none. */
struct tool_tolerances {
    double q, k, attn, out; /* against f64 */
    double q_f32angle, k_f32angle, attn_f32angle, out_f32angle;
    double attn_ref, out_ref;   /* against ref */
    double attn_bf16, out_bf16; /* against f64, numerics bf16 */
};

struct tool_schedule {
    const char *text; /* not terminated at its end: length characters */
    int length;
    int32_t n;      /* calls */
    int32_t *sizes; /* [n] tokens of each */
};

/* Tensors point into the file. B batch, T tokens, P past, K = P + T. */
struct tool_case {
    const struct tool_file *file;
    const char *path;
    const char *name;  /* metadata case, else the path */
    char assumed[512]; /* "key value, ..." of the defaults that were taken; empty for a full file */
    bool block;        /* stage block: from x; else from q_proj, k_proj, v_proj */
    int32_t batch, tokens, past, keys;
    int32_t hidden, hq, hkv, dk, dv;
    int32_t pairs; /* rope_dim / 2 */

    gqa_config config; /* backend, numerics, isa, max_isa and angles are set by the run */
    gqa_weights weights;
    double rope_mscale;     /* what multiplies cos and sin */
    const double *inv_freq; /* [pairs]; NULL if the file has none */

    gqa_tensor x;                      /* [B, T, hidden] */
    gqa_tensor q_proj, k_proj, v_proj; /* [B, T, H, D] */
    const float *bias;                 /* [bias_batch, bias_heads, T, K] or NULL */
    int32_t bias_batch, bias_heads;
    const float *past_k, *past_v; /* [B, P, Hkv, D] or NULL */
    const int32_t *q_pos, *k_pos; /* [B, T], [B, K] */
    const int32_t *rope_pos3;     /* [3, B, T] or NULL */
    const uint8_t *key_valid;     /* [B, K] */
    const uint8_t *row_valid;     /* [B, T] */
    void *made[4];                /* what of these four the file lacks */

    const struct tool_tensor *expected[TOOL_SOURCES][TOOL_VALUES]; /* NULL = not in the file */
    struct tool_tolerances tolerance;

    struct tool_schedule *schedules; /* [schedule_count], at least one */
    int32_t schedule_count;
};

/* Read and check everything; the file must outlive the case. On failure nothing is held. */
bool tool_case_load(struct tool_case *c, const struct tool_file *file, struct tool_fault *fault);

void tool_case_free(struct tool_case *c);

const char *tool_value_name(enum tool_value value);

/* Shape of a value, [B, T, ...]; returns the rank. Zero elements where the stage has no such. */
int32_t tool_value_shape(const struct tool_case *c, enum tool_value value, int64_t shape[4]);
int64_t tool_value_count(const struct tool_case *c, enum tool_value value);

/* The file has this tensor; its metadata have this key. */
static inline bool tool_case_has(const struct tool_case *c, const char *tensor)
{
    return tool_file_find(c->file, tensor) != NULL;
}

static inline bool tool_case_says(const struct tool_case *c, const char *key)
{
    return tool_file_text(c->file, key) != NULL;
}

/* case_sizes.c: stage and sizes; refuses a file that lacks what no default replaces. */
bool tool_case_sizes(struct tool_case *c, struct tool_fault *fault);

/* case_config.c: sizes, config and tolerances from the metadata. */
bool tool_case_config(struct tool_case *c, struct tool_fault *fault);

/* case_tensors.c: all tensors: each known, of the right type and shape, there if and only if the
 * metadata calls for it. */
bool tool_case_tensors(struct tool_case *c, struct tool_fault *fault);

/* case_positions.c: positions and valid flags that the file lacks. */
bool tool_case_positions(struct tool_case *c, struct tool_fault *fault);

#endif
