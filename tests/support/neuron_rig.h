/* SPDX-License-Identifier: Apache-2.0 */
/* neuron_rig.h - calls of Neuron's profiles with random tensors, each once as the caller has it and
 * once as plain floats. */
#ifndef TEST_NEURON_RIG_H
#define TEST_NEURON_RIG_H

#include "gqa/gqa.h"

enum { NEURON_RIG_BLOCKS = 64 };

struct neuron_rig {
    gqa_neuron_call call;
    gqa_neuron_output output;
    uint64_t state; /* of the random numbers */
    void *blocks[NEURON_RIG_BLOCKS];
    int count;
};

void neuron_rig_open(struct neuron_rig *rig, gqa_neuron_profile profile, uint64_t seed);
void neuron_rig_close(struct neuron_rig *rig);

/* Zeroed memory that goes with the rig. */
void *neuron_rig_memory(struct neuron_rig *rig, int64_t count, size_t size);

/* In [0, below). */
int neuron_rig_number(struct neuron_rig *rig, int below);

/* Fill the tensor, [a, b, c, d] or, with b below 0, [a], with numbers of the format f32 or bf16 in
 * [-scale, scale); returns them as floats, in the same order. The rows of the tensor are further
 * apart than they are long. */
struct neuron_shape {
    gqa_dtype dtype;
    int a, b, c, d;
};
float *neuron_rig_fill(struct neuron_rig *rig, gqa_tensor *tensor, const struct neuron_shape *shape,
                       float scale);

/* A mask [a, 1, c, d], one byte or one bit for each element; of `of` elements about `seen` are 1.
 * Returns one byte for each. */
struct neuron_odds {
    int seen, of;
};
uint8_t *neuron_rig_mask(struct neuron_rig *rig, gqa_tensor *tensor,
                         const struct neuron_shape *shape, const struct neuron_odds *odds);

/* The mask's bytes have been changed: change the tensor. */
void neuron_rig_remask(gqa_tensor *tensor, const uint8_t *bytes);

/* Give the output a tensor like q, run, and return it as floats; fails the test if refused. */
float *neuron_rig_run(struct neuron_rig *rig, const gqa_runtime *runtime);

/* The call is refused: this status, this field, and this in the message. */
void neuron_rig_refused(struct neuron_rig *rig, gqa_status status, const char *field,
                        const char *words);

/* How many warnings of this code the last run gave. */
int neuron_rig_warnings(const struct neuron_rig *rig, gqa_neuron_warning_code code);

#endif
