/* SPDX-License-Identifier: Apache-2.0 */
/* head_maps.h - heads on ranks: padding and repetition of weights, meshes, and orders of ranks.
 *
 * The arguments were checked; gqa/neuron_maps.h says what they and the arrays are. Arrays may be
 * NULL.
 */
#ifndef GQA__NEURON_HEAD_MAPS_H
#define GQA__NEURON_HEAD_MAPS_H

#include <stdbool.h>

#include "gqa/neuron_maps.h"

gqa_neuron_heads gqa__neuron_count_heads(int32_t query_heads, int32_t kv_heads, int32_t tp_degree);

/* The source of padded head i, -1 = zeros. */
int32_t gqa__neuron_query_source(int32_t query_heads, int32_t kv_heads,
                                 const gqa_neuron_heads *heads, int32_t i);
int32_t gqa__neuron_kv_source(int32_t query_heads, int32_t kv_heads, const gqa_neuron_heads *heads,
                              int32_t i);

/* The rank at a place of the mesh, row by row, and the place of a rank. */
int32_t gqa__neuron_mesh_rank(int32_t world, int32_t groups, int32_t place);
int32_t gqa__neuron_mesh_place(int32_t world, int32_t groups, int32_t rank);

/* dp_degree, at least 1. */
int32_t gqa__neuron_dp_degree(const gqa_neuron_ranks *ranks);

void gqa__neuron_rank_order(const gqa_neuron_ranks *ranks, int32_t *order);
void gqa__neuron_rank_heads(const gqa_neuron_ranks *ranks, int32_t *index);

#endif
