/* SPDX-License-Identifier: Apache-2.0 */
/* run_cache.h - the cache of a run: filled with the file's past, read back at the end. */
#ifndef GQA__TOOL_RUN_CACHE_H
#define GQA__TOOL_RUN_CACHE_H

#include "tool/run.h"

/* A cache with room for the whole case, the past appended. */
bool tool_cache_make(struct tool_session *session, gqa_cache **cache, struct tool_fault *fault);

/* Everything it holds into values; its length must be that of the computed tokens. */
bool tool_cache_collect(struct tool_session *session, const gqa_cache *cache,
                        struct tool_values *values, struct tool_fault *fault);

#endif
