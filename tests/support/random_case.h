/* SPDX-License-Identifier: Apache-2.0 */
/* random_case.h - a layer, its weights and a few calls, drawn from a seed.
 *
 * A case is a vector of choices, one per option (the table in random_options.c: every option of the
 * config, the tensors and the calls). Rules between two options (softplus needs a gate) are
 * repaired after the draw; what remains is the checker's to decide: a draw that gqa_config_check
 * refuses is drawn again. The same seed gives the same case on every machine.
 */
#ifndef TEST_RANDOM_CASE_H
#define TEST_RANDOM_CASE_H

#include <stdbool.h>
#include <stdio.h>

#include "gqa/gqa.h"

typedef enum random_option {
    OPT_HIDDEN,
    OPT_LAYOUT,
    OPT_KV_HEADS,
    OPT_GROUP,
    OPT_HEAD_DIM,
    OPT_V_DIM,
    OPT_INPUT_NORM,
    OPT_INPUT_OFFSET,
    OPT_INPUT_WEIGHT,
    OPT_CAST,
    OPT_IN_MULTIPLIER,
    OPT_QKV_BIAS,
    OPT_O_BIAS,
    OPT_CLIP,
    OPT_K_EQ_V,
    OPT_KEY_MULTIPLIER,
    OPT_V_SCALE,
    OPT_QK_NORM,
    OPT_QK_PLACE,
    OPT_QK_OFFSET,
    OPT_QK_WEIGHT,
    OPT_V_NORM,
    OPT_ROPE,
    OPT_SCALING,
    OPT_ROTARY_DIM,
    OPT_FREQ_DIM,
    OPT_PROPORTIONAL,
    OPT_TRUNCATE,
    OPT_ATTENTION_FACTOR,
    OPT_MROPE,
    OPT_REVERSE,
    OPT_FLOAT_ANGLES,
    OPT_SCALE,
    OPT_SOFTCAP,
    OPT_TEMPERATURE,
    OPT_ALIBI,
    OPT_BIDIRECTIONAL,
    OPT_WINDOW,
    OPT_RIGHT,
    OPT_CHUNK,
    OPT_SINKS,
    OPT_GATE,
    OPT_ACTIVATION,
    OPT_OUT_MULTIPLIER,
    OPT_POST_NORM,
    OPT_POST_OFFSET,
    OPT_POST_WEIGHT,
    OPT_ADD_RESIDUAL,
    OPT_RESIDUAL_MULTIPLIER,
    OPT_WEIGHT_STORAGE,
    OPT_DENORMALS,
    OPT_NUMERICS, /* the last option that lies in the config, up to here all but the weights' */
    OPT_TKG,
    OPT_REFERENCE_F64,
    OPT_THREADS,
    OPT_WEIGHT_TYPE,
    OPT_ACTIVATION_TYPE,
    OPT_OUTPUT_TYPE,
    OPT_STRIDES,
    OPT_CACHE,
    OPT_PAGE,
    OPT_BATCH,
    OPT_CALLS,
    OPT_LENGTH,
    OPT_PADDING,
    OPT_SEQUENCES,
    OPT_POSITIONS,
    OPT_ROTARY_POSITIONS,
    OPT_ROPE_LENGTH,
    OPT_TABLES,
    OPT_PHASE,
    OPT_MASK,
    OPT_BIAS,
    OPT_ACTIVE_MASK,
    OPT_BOUNDS,
    OPT_NAN,
    OPT_START,
    OPT_STOP,
    OPT_RESIDUAL,
    OPT_BORROW,
    OPTION_COUNT
} random_option;

enum { RANDOM_VALUES = 13, RANDOM_CALLS = 4 };

typedef struct random_option_info {
    const char *name;
    int count;  /* values */
    int common; /* of 8 draws this many take value 0; 0 = all alike */
    const char *values[RANDOM_VALUES];
} random_option_info;

extern const random_option_info random_options[OPTION_COUNT];

typedef struct random_call {
    gqa_inputs inputs; /* rope_key is left 0: the layer knows it */
    int tokens;
    bool appends;
} random_call;

typedef struct random_case {
    uint64_t seed;
    uint64_t state; /* of the generator */
    int choice[OPTION_COUNT];
    gqa_config config;
    gqa_weights weights;
    bool has_cache;
    gqa_cache_options cache;
    int sequences; /* that the cache holds */
    int batch, calls;
    random_call call[RANDOM_CALLS];
    void **memory; /* everything that the tensors point to */
    int blocks, room;
} random_case;

/* Draw until the rules and the checker are content. first, second: options whose values are given
 * (value -1 = free). False if no draw was: then the pair is not allowed. Weights and calls are not
 * there yet. */
bool random_draw(random_case *c, uint64_t seed, random_option first, int first_value,
                 random_option second, int second_value);

/* Does gqa_config_check accept a pair of values of options that lie in the config (else: false) in
 * a small config, or with one more option changed? Asks the checker alone, not the rules. */
bool random_pair_checks(random_option a, int v, random_option b, int w);

/* Weights, caches and calls of a drawn case. */
void random_build(random_case *c);
void random_free(random_case *c);

/* The seed and the choices that are not 0, in one line. */
void random_print(FILE *file, const random_case *c);

/* The config of the choices; false if the checker refuses it. */
bool random_config(random_case *c);

/* --- for the case's own files ------------------------------------------------------------------
 */

uint64_t random_case_next(random_case *c);
int random_below(random_case *c, int n);                        /* 0 .. n-1 */
double random_normal(random_case *c);                           /* about N(0, 1), |x| < 4 */
void *random_memory(random_case *c, size_t count, size_t size); /* zeroed */

/* A tensor of the given shape (rank dimensions), filled with scale * N(0, 1) + centre; with strides
 * that leave gaps of NaN if gaps. dtype GQA_U8 and GQA_BITS: all ones. */
typedef struct random_fill {
    gqa_dtype dtype;
    bool gaps;
    double scale, centre;
} random_fill;
gqa_tensor random_tensor(random_case *c, int rank, const int64_t *shape, random_fill fill);
/* Set one element; index has the tensor's rank. */
void random_set(const gqa_tensor *t, const int64_t *index, double value);
gqa_dtype random_type(random_case *c, random_option option);

void random_weights(random_case *c);
void random_calls(random_case *c);

#endif
