/* SPDX-License-Identifier: Apache-2.0 */
/* gqa.h - grouped-query attention for inference, embeddable, C11.
 *
 * One gqa_layer is one attention block:
 *
 *   hidden_states -> [norm] -> qkv -> [q/k norm] -> rope -> cache -> attention -> projection
 *
 * The headers. This one includes all of them:
 *
 *   types.h    statuses and errors, number formats, gqa_tensor: a view of the caller's memory
 *   config.h   gqa_config: what a layer is, as numbers
 *   runtime.h  gqa_runtime: the memory, threads and log that the host lends
 *   pool.h     gqa_pool: threads, for hosts that have none to lend
 *   layer.h    gqa_weights and gqa_create: a layer, made once, shared by all threads
 *   cache.h    gqa_cache: keys and values of past tokens, in pages
 *   model_cache.h  gqa_model_cache: the caches of all layers as one object
 *   blocks.h   gqa_block_kv: keys and values in the host's own blocks
 *   trace.h    gqa_trace: what became of each tile of attention
 *   health.h   gqa_health: NaN, far scores, rows without keys and sinks of a call
 *   forward.h  gqa_forward: one call of a layer, from hidden states to hidden states
 *   attend.h   gqa_attend: attention alone, its raw softmax states and their merge
 *   stage.h    each stage of a layer as a function of its own
 *   neuron.h   the attention of AWS Neuron, rounding by rounding
 *   neuron_maps.h  the choices and maps of AWS Neuron's attention, in integers
 *   info.h     what this library is, and what this machine runs
 *   version.h  version numbers
 *
 * How to use it, in five steps. Here with 4 query heads and 2 KV heads of 16, float matrices wq,
 * wk, wv and wo (row-major, [out, in]), hidden states x and a place y for the result.
 *
 * 1. Say what the layer is. What is not set is off.
 *
 *      gqa_config config;
 *      gqa_config_init(&config);
 *      config.hidden_size = 64;
 *      config.num_attention_heads = 4;
 *      config.num_key_value_heads = 2;
 *      config.rope = GQA_ROPE_HALF;
 *
 * 2. Say where its weights lie.
 *
 *      gqa_weights weights;
 *      gqa_weights_init(&weights);
 *      weights.wq = gqa_tensor_2d(wq, GQA_F32, 4 * 16, 64);
 *      weights.wk = gqa_tensor_2d(wk, GQA_F32, 2 * 16, 64);
 *      weights.wv = gqa_tensor_2d(wv, GQA_F32, 2 * 16, 64);
 *      weights.wo = gqa_tensor_2d(wo, GQA_F32, 64, 4 * 16);
 *
 * 3. Create the layer, which packs the weights, and a cache for the tokens that it has seen.
 *
 *      gqa_layer *layer = NULL;
 *      gqa_cache *cache = NULL;
 *      gqa_cache_options options;
 *      gqa_error err;
 *      if (gqa_create(&layer, &config, &weights, NULL, &err) != GQA_OK)
 *          goto failed;
 *      gqa_cache_options_init(&options, layer);
 *      options.max_tokens = 4096;
 *      if (gqa_cache_create(&cache, layer, &options, &err) != GQA_OK)
 *          goto failed;
 *
 * 4. Say what comes in and what is wanted: a prompt of 6 tokens, one sequence.
 *
 *      gqa_inputs inputs;
 *      gqa_output output;
 *      gqa_inputs_init(&inputs);
 *      gqa_output_init(&output);
 *      inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, 6, 64);
 *      output.hidden_states = gqa_tensor_2d(y, GQA_F32, 6, 64);
 *
 * 5. Run it, and again for each token that follows. Position ids continue by themselves.
 *
 *      if (gqa_forward(layer, cache, &inputs, &output, NULL, 0, &err) != GQA_OK)
 *          goto failed;
 *      inputs.hidden_states = gqa_tensor_2d(x + 6 * 64, GQA_F32, 1, 64);
 *      output.hidden_states = gqa_tensor_2d(y + 6 * 64, GQA_F32, 1, 64);
 *      if (gqa_forward(layer, cache, &inputs, &output, NULL, 0, &err) != GQA_OK)
 *          goto failed;
 *      gqa_cache_destroy(&cache);
 *      gqa_destroy(&layer);
 *
 * At failed err.message says what was wrong, and the two destroy functions take NULL too.
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
#include "gqa/blocks.h"
#include "gqa/cache.h"
#include "gqa/config.h"
#include "gqa/forward.h"
#include "gqa/health.h"
#include "gqa/info.h"
#include "gqa/layer.h"
#include "gqa/model_cache.h"
#include "gqa/neuron.h"
#include "gqa/neuron_maps.h"
#include "gqa/pool.h"
#include "gqa/runtime.h"
#include "gqa/stage.h"
#include "gqa/trace.h"
#include "gqa/types.h"
#include "gqa/version.h"

#endif
