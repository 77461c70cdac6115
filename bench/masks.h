/* SPDX-License-Identifier: Apache-2.0 */
/* masks.h - the mask, bias or tree of a case, as tensors of its call. */
#ifndef GQA_BENCH_MASKS_H
#define GQA_BENCH_MASKS_H

#include <stdbool.h>

#include "gqa/gqa.h"
#include "spec.h"

struct bench_masks {
    void *memory;
    int32_t *positions; /* [batch][tokens] of a tree, each one below its parent; else NULL */
};

/* Make what the case's mask says and put it into the inputs. false without memory; what was taken
 * is freed by bench_masks_free all the same. */
bool bench_masks_make(struct bench_masks *masks, const struct bench_spec *spec, gqa_inputs *inputs);
void bench_masks_free(struct bench_masks *masks);

#endif
