/* SPDX-License-Identifier: Apache-2.0 */
/* config_neuron_bads.h - bad values of the fields of backend neuron, and of one that it does not
 * have: base, field, value, what the message says, and which limit it names. All are GQA_ERR_ARG.
 */
#ifndef TEST_CONFIG_NEURON_BADS_H
#define TEST_CONFIG_NEURON_BADS_H

#include "gqa/config.h"

static inline void bare_cpu(gqa_config *c)
{
    gqa_config_init(c);
    c->num_attention_heads = 8;
    c->num_key_value_heads = 2;
    c->head_dim = 16;
}

static inline void bare_neuron(gqa_config *c)
{
    bare_cpu(c);
    c->backend = GQA_BACKEND_NEURON;
}

static inline void bare_neuron_decoding(gqa_config *c)
{
    bare_neuron(c);
    c->neuron_profile = GQA_NEURON_FLASH_DECODING;
    c->neuron_kv_ranks = 4;
}

static inline void bare_neuron_named(gqa_config *c)
{
    bare_neuron(c);
    c->neuron_profile = GQA_NEURON_CTE;
}

#define NEURON_BADS(X)                                                                             \
    X(bare_cpu, "denormals", 2, "is 2", "0..1")                                                    \
    X(bare_neuron, "denormals", 1, "is 1", "without backend GQA_BACKEND_CPU")                      \
    X(bare_neuron, "neuron_profile", 8, "is 8", "0..7")                                            \
    X(bare_cpu, "neuron_profile", 2, "is 2", "GQA_BACKEND_NEURON")                                 \
    X(bare_neuron, "neuron_release", 228, "is 228", "226, 227 or 229")                             \
    X(bare_cpu, "neuron_release", 229, "is 229", "GQA_BACKEND_NEURON")                             \
    X(bare_neuron, "neuron_io", 2, "is 2", "0..1")                                                 \
    X(bare_cpu, "neuron_io", 1, "is 1", "GQA_BACKEND_NEURON")                                      \
    X(bare_neuron, "neuron_accumulation", 2, "is 2", "0..1")                                       \
    X(bare_cpu, "neuron_accumulation", 1, "is 1", "GQA_BACKEND_NEURON")                            \
    X(bare_neuron, "neuron_divisor", 2, "is 2", "0..1")                                            \
    X(bare_cpu, "neuron_divisor", 1, "is 1", "GQA_BACKEND_NEURON")                                 \
    X(bare_neuron, "neuron_lift_limits", 2, "is 2", "0..1")                                        \
    X(bare_cpu, "neuron_lift_limits", 1, "is 1", "GQA_BACKEND_NEURON")                             \
    X(bare_neuron, "neuron_attn_kernel", 3, "is 3", "0..2")                                        \
    X(bare_neuron_named, "neuron_attn_kernel", 1, "is 1", "neuron_profile")                        \
    X(bare_neuron, "neuron_logical_nc_config", 9, "is 9", "0..8")                                  \
    X(bare_neuron_named, "neuron_logical_nc_config", 2, "is 2", "neuron_profile")                  \
    X(bare_neuron, "neuron_trn1", 2, "is 2", "0..1")                                               \
    X(bare_neuron_named, "neuron_trn1", 1, "is 1", "neuron_profile")                               \
    X(bare_neuron, "neuron_prefix_caching", 2, "is 2", "0..1")                                     \
    X(bare_neuron_named, "neuron_prefix_caching", 1, "is 1", "neuron_profile")                     \
    X(bare_neuron, "neuron_cp_degree", 4097, "is 4097", "0..4096")                                 \
    X(bare_cpu, "neuron_cp_degree", 2, "is 2", "GQA_BACKEND_NEURON")                               \
    X(bare_neuron_decoding, "neuron_cp_degree", 2, "is 2", "GQA_NEURON_CTE")                       \
    X(bare_neuron, "neuron_cp_strided", 2, "is 2", "0..1")                                         \
    X(bare_neuron, "neuron_cp_strided", 1, "is 1", "neuron_cp_degree")                             \
    X(bare_cpu, "neuron_cp_strided", 1, "is 1", "GQA_BACKEND_NEURON")                              \
    X(bare_neuron, "neuron_kv_ranks", -1, "is -1", "0..4096")                                      \
    X(bare_neuron_decoding, "neuron_kv_ranks", 0, "is 0", "1..4096")                               \
    X(bare_neuron_named, "neuron_kv_ranks", 2, "is 2", "GQA_NEURON_FLASH_DECODING")                \
    X(bare_cpu, "neuron_kv_ranks", 2, "is 2", "GQA_BACKEND_NEURON")

#endif
