/* SPDX-License-Identifier: Apache-2.0 */
/* kit.h - weights for a config: one heap block per tensor, so that a read beyond one is seen by the
 * sanitizers. */
#ifndef TEST_KIT_H
#define TEST_KIT_H

#include <stdbool.h>

#include "gqa/gqa.h"

enum { KIT_FIELDS = 27 };

struct kit {
    gqa_config config;
    gqa_weights weights;
    bool norm_per_head; /* q_norm and its kin as [H, Dk] */
    bool integers;      /* matrices as GQA_I8 with a scale */
};

/* hidden 20, heads 6/2, head_dim 10, v_head_dim 9, no rope, nothing else. */
void kit_init(struct kit *kit);

/* Kits of many configs. required: the fields that a layer cannot be without, by name, separated by
 * blanks; the other tensors of the kit are optional. */
struct kit_case {
    void (*change)(struct kit *kit); /* after kit_init, before kit_fill */
    const char *name;
    const char *required;
};
enum { KIT_CASES = 22 };
extern const struct kit_case kit_cases[KIT_CASES];

/* kit_init and the change of the case of this name. */
void kit_open(struct kit *kit, const char *name);

/* Every tensor that the config allows, with random values; call it once, after config is final. */
void kit_fill(struct kit *kit);
void kit_free(struct kit *kit);

/* Field i of the weights, 0 .. KIT_FIELDS - 1, and its name ("weights.wq"). */
gqa_tensor *kit_field(gqa_weights *weights, int i);
const char *kit_name(int i);

/* The same values as another tensor: dtype F32, BF16 or F16 (the values must fit), and, with gap,
 * rows gap elements apart from one another. Integers stay what they are. */
void kit_recast(gqa_tensor *tensor, gqa_dtype dtype, int64_t gap);

/* A tensor of ones. */
gqa_tensor kit_tensor(int32_t rank, int64_t a, int64_t b);
float *kit_values(const gqa_tensor *tensor); /* of a packed f32 tensor */

/* Fails the test with the message if the layer is refused. */
gqa_layer *kit_layer(const struct kit *kit, const gqa_runtime *runtime);

#endif
