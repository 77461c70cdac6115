/* SPDX-License-Identifier: Apache-2.0 */
/* gqa.h - grouped-query attention for inference, embeddable, C11.
 *
 * One gqa_layer is one attention block:
 *
 *   hidden_states -> [norm] -> qkv -> [q/k norm] -> rope -> cache -> attention -> projection
 *
 * Ownership.  The library frees only what it allocated. gqa_create copies config and weights; a
 *   call keeps no pointer of the caller.
 * Threads.    A gqa_layer is immutable after gqa_create: share it freely. A gqa_cache has one
 *   writer. A workspace serves one call at a time. There is no global and no thread-local state.
 * Errors.     Every fallible call returns a gqa_status and, given a gqa_error, names the field, its
 *   value and the limit. On failure the cache is unchanged. Never aborts, exits or prints.
 * Bits.       On backend cpu the same inputs give the same bits for any thread count, batch
 *   composition, page size and division of the tokens over calls (docs/numerics.md).
 */
#ifndef GQA_GQA_H
#define GQA_GQA_H

#include "gqa/attend.h"
#include "gqa/cache.h"
#include "gqa/config.h"
#include "gqa/forward.h"
#include "gqa/info.h"
#include "gqa/layer.h"
#include "gqa/pool.h"
#include "gqa/runtime.h"
#include "gqa/stage.h"
#include "gqa/types.h"
#include "gqa/version.h"

#endif
