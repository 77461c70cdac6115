/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - a checked call, from its workspace to its results: what gqa_forward and gqa_attend do
 * alike. */
#ifndef GQA__RUN_H
#define GQA__RUN_H

#include "layer/call.h"

/* The bytes that the call needs. */
gqa_status gqa__run_size(struct gqa__call *call, size_t *size, gqa_error *err);

/* Check the workspace (NULL, 0: one of the call's own) and the batch, run, and fill call->out.path,
 * rope_key, *call->out.work and *call->out.health. */
gqa_status gqa__run(struct gqa__call *call, void *workspace, size_t size, gqa_error *err);

#endif
