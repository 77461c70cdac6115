/* SPDX-License-Identifier: Apache-2.0 */
/* health.h - the numbers of a call's tensors, for its health report. */
#ifndef GQA__LAYER_HEALTH_H
#define GQA__LAYER_HEALTH_H

#include "layer/spine.h"

/* What the caller gave, before anything is written: outputs may lie on inputs. */
void gqa__health_inputs(const struct gqa__call *call, struct gqa__health *health);

/* The operands of attention that a block of tokens makes, once it has made them. */
void gqa__health_block(struct gqa__spine *spine, int32_t runs, int makes);

/* What became of K and V once they were appended. */
void gqa__health_appended(struct gqa__spine *spine, int32_t runs);

/* What is returned. */
void gqa__health_outputs(const struct gqa__call *call, struct gqa__health *health);

#endif
