/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the layer that a case of attention or a whole layer runs, and what its caches hold. */
#ifndef GQA_BENCH_CONFIG_H
#define GQA_BENCH_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "gqa/gqa.h"
#include "spec.h"

/* The config of the shape: with hidden states that of gpt-oss, whatever its dims. */
void bench_config(const struct bench_spec *spec, gqa_config *config);

/* Elements of the larger matrix of a layer with hidden states, and of its longest vector. */
size_t bench_matrix_size(const struct bench_spec *spec);
size_t bench_vector_size(const struct bench_spec *spec);

/* A layer of that config. small: [bench_vector_size] sinks, biases and norms; wqkv and wo: bf16,
 * read if it has hidden states, [bench_matrix_size] at most. */
gqa_status bench_layer(gqa_layer **layer, const struct bench_spec *spec, const gqa_runtime *runtime,
                       const float *small, const uint16_t *wqkv, const uint16_t *wo,
                       gqa_error *err);

#define BENCH_FILL_TOKENS 512

/* Random numbers to fill caches with, [2][BENCH_FILL_TOKENS][hkv][d]: K, then V; NULL without
 * memory. bench_free frees it. */
float *bench_kv(const struct bench_spec *spec);

/* Append them, again and again, so that the sequence's length goes from `from` to `to`. */
gqa_status bench_append(gqa_cache *cache, int32_t sequence, const struct bench_spec *spec,
                        float *kv, int32_t from, int32_t to, gqa_error *err);

#endif
