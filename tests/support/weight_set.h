/* SPDX-License-Identifier: Apache-2.0 */
/* weight_set.h - weights for a config: one heap block per tensor, so that a read beyond one is seen
 * by the sanitizers. */
#ifndef TEST_WEIGHT_SET_H
#define TEST_WEIGHT_SET_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum { WEIGHT_FIELDS = 42 };

struct weight_set {
    gqa_config config;
    gqa_weights weights;
    bool norm_per_head; /* q_norm and its kin as [H, Dk] */
    bool integers;      /* matrices as GQA_I8 with a scale */
    bool tkg_qkv;       /* token generation has q, k and v of its own, */
    bool tkg_output;    /* and an output */
    float scale; /* values in [-scale, scale); 0: multiples of 2^-7 up to 1, exact in 16 bits too */
};

/* hidden 20, heads 6/2, head_dim 10, v_head_dim 9, no rope, nothing else. */
void weight_set_init(struct weight_set *set);

/* Kits of many configs. required: the fields that a layer cannot be without, by name, separated by
 * blanks; the other tensors of the set are optional. */
struct weight_set_case {
    void (*change)(struct weight_set *set); /* after weight_set_init, before weight_set_fill */
    const char *name;
    const char *required;
};
enum { WEIGHT_SET_CASES = 25 };
extern const struct weight_set_case weight_set_cases[WEIGHT_SET_CASES];

/* weight_set_init and the change of the case of this name. */
void weight_set_open(struct weight_set *set, const char *name);

/* Every tensor that the config allows, with random values; call it once, after config is final. */
void weight_set_fill(struct weight_set *set);
void weight_set_free(struct weight_set *set);

/* Field i of the weights, 0 .. WEIGHT_FIELDS - 1, and its name ("weights.wq"). */
gqa_tensor *weight_field(gqa_weights *weights, int i);
const char *weight_name(int i);

/* Is it a matrix of token generation, which may be given wherever its like is? */
bool weight_may_be_given(struct weight_set *set, int i);

/* The same values as another tensor: dtype F32, BF16 or F16 (the values must fit), and, with gap,
 * rows gap elements apart from one another. Integers stay what they are. */
void weight_recast(gqa_tensor *tensor, gqa_dtype dtype, int64_t gap);

/* Absent from now on. */
void weight_remove(gqa_tensor *tensor);

/* A tensor of ones. */
gqa_tensor weight_ones(int32_t rank, int64_t a, int64_t b);
float *weight_values(const gqa_tensor *tensor); /* of a packed f32 tensor */

/* Fails the test with the message if the layer is refused. */
gqa_layer *weight_set_layer(const struct weight_set *set, const gqa_runtime *runtime);

#endif
