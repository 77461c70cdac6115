/* SPDX-License-Identifier: Apache-2.0 */
/* config_fields.h - the list of gqa_config's fields, checked by the compiler to be complete. */
#ifndef TEST_CONFIG_FIELDS_H
#define TEST_CONFIG_FIELDS_H

#include <stddef.h>

#include "gqa/config.h"

/* Every field with its kind and the field before it: i int32, e enum, f float, d double, a array,
 * p pointer. */
#define FIELDS(X)                                                                                  \
    X(e, attention_kind, struct_size)                                                              \
    X(i, hidden_size, attention_kind)                                                              \
    X(i, num_attention_heads, hidden_size)                                                         \
    X(i, num_key_value_heads, num_attention_heads)                                                 \
    X(i, head_dim, num_key_value_heads)                                                            \
    X(i, v_head_dim, head_dim)                                                                     \
    X(i, hidden_size_unpadded, v_head_dim)                                                         \
    X(e, input_norm, hidden_size_unpadded)                                                         \
    X(f, input_norm_eps, input_norm)                                                               \
    X(i, input_norm_offset, input_norm_eps)                                                        \
    X(e, norm_cast, input_norm_offset)                                                             \
    X(f, attn_in_multiplier, norm_cast)                                                            \
    X(e, qkv_layout, attn_in_multiplier)                                                           \
    X(i, qkv_bias, qkv_layout)                                                                     \
    X(i, o_bias, qkv_bias)                                                                         \
    X(f, clip_qkv, o_bias)                                                                         \
    X(i, k_eq_v, clip_qkv)                                                                         \
    X(f, key_multiplier, k_eq_v)                                                                   \
    X(f, v_scale, key_multiplier)                                                                  \
    X(e, qk_norm_scope, v_scale)                                                                   \
    X(e, qk_norm, qk_norm_scope)                                                                   \
    X(e, qk_norm_placement, qk_norm)                                                               \
    X(f, qk_norm_eps, qk_norm_placement)                                                           \
    X(i, qk_norm_offset, qk_norm_eps)                                                              \
    X(e, v_norm, qk_norm_offset)                                                                   \
    X(e, rope, v_norm)                                                                             \
    X(e, rope_scaling, rope)                                                                       \
    X(d, rope_theta, rope_scaling)                                                                 \
    X(i, rotary_dim, rope_theta)                                                                   \
    X(i, rope_freq_dim, rotary_dim)                                                                \
    X(i, rope_proportional_dim, rope_freq_dim)                                                     \
    X(d, rope_factor, rope_proportional_dim)                                                       \
    X(i, rope_original_context, rope_factor)                                                       \
    X(d, rope_low_freq_factor, rope_original_context)                                              \
    X(d, rope_high_freq_factor, rope_low_freq_factor)                                              \
    X(d, rope_beta_fast, rope_high_freq_factor)                                                    \
    X(d, rope_beta_slow, rope_beta_fast)                                                           \
    X(i, rope_truncate, rope_beta_slow)                                                            \
    X(d, rope_attention_factor, rope_truncate)                                                     \
    X(d, rope_mscale, rope_attention_factor)                                                       \
    X(d, rope_mscale_all_dim, rope_mscale)                                                         \
    X(p, rope_short_factors, rope_mscale_all_dim)                                                  \
    X(p, rope_long_factors, rope_short_factors)                                                    \
    X(p, rope_inv_freq, rope_long_factors)                                                         \
    X(e, mrope, rope_inv_freq)                                                                     \
    X(a, mrope_sections, mrope)                                                                    \
    X(i, rope_reverse, mrope_sections)                                                             \
    X(i, rope_float_angles, rope_reverse)                                                          \
    X(f, score_scale, rope_float_angles)                                                           \
    X(f, softcap, score_scale)                                                                     \
    X(e, query_temperature, softcap)                                                               \
    X(f, query_temperature_scale, query_temperature)                                               \
    X(f, query_temperature_floor, query_temperature_scale)                                         \
    X(p, alibi_slopes, query_temperature_floor)                                                    \
    X(i, bidirectional, alibi_slopes)                                                              \
    X(i, sliding_window, bidirectional)                                                            \
    X(i, right_window, sliding_window)                                                             \
    X(i, attention_chunk_size, right_window)                                                       \
    X(i, learned_sinks_size, attention_chunk_size)                                                 \
    X(e, gate, learned_sinks_size)                                                                 \
    X(e, gate_activation, gate)                                                                    \
    X(f, attn_out_multiplier, gate_activation)                                                     \
    X(e, post_norm, attn_out_multiplier)                                                           \
    X(f, post_norm_eps, post_norm)                                                                 \
    X(i, post_norm_offset, post_norm_eps)                                                          \
    X(i, add_residual, post_norm_offset)                                                           \
    X(f, residual_multiplier, add_residual)                                                        \
    X(e, backend, residual_multiplier)                                                             \
    X(e, numerics, backend)                                                                        \
    X(e, isa, numerics)                                                                            \
    X(i, reference_f64, isa)                                                                       \
    X(e, weight_storage, reference_f64)                                                            \
    X(e, max_isa, weight_storage)                                                                  \
    X(e, neuron_profile, max_isa)                                                                  \
    X(e, neuron_release, neuron_profile)                                                           \
    X(e, neuron_io, neuron_release)                                                                \
    X(e, neuron_accumulation, neuron_io)                                                           \
    X(e, neuron_divisor, neuron_accumulation)                                                      \
    X(i, neuron_lift_limits, neuron_divisor)                                                       \
    X(e, neuron_attn_kernel, neuron_lift_limits)                                                   \
    X(i, neuron_logical_nc_config, neuron_attn_kernel)                                             \
    X(i, neuron_trn1, neuron_logical_nc_config)                                                    \
    X(i, neuron_prefix_caching, neuron_trn1)                                                       \
    X(e, denormals, neuron_prefix_caching)                                                         \
    X(i, neuron_cp_degree, denormals)                                                              \
    X(i, neuron_cp_strided, neuron_cp_degree)                                                      \
    X(i, neuron_kv_ranks, neuron_cp_strided)

#define LAST_FIELD neuron_kv_ranks

/* The list covers the struct: between a field and the one before it lies less than the field's
 * alignment, so at most padding. */
#define FIELD_SIZE(field) sizeof(((gqa_config *)NULL)->field)
#define FIELD_END(field)  (offsetof(gqa_config, field) + FIELD_SIZE(field))
#define FIELD_ALIGN(field)                                                                         \
    (FIELD_SIZE(field) > 8 ? 4 : FIELD_SIZE(field)) /* the one array holds int32_t */
#define FIELD_COVERED(kind, field, previous)                                                       \
    _Static_assert(offsetof(gqa_config, field) >= FIELD_END(previous) &&                           \
                       offsetof(gqa_config, field) - FIELD_END(previous) < FIELD_ALIGN(field),     \
                   "a field of gqa_config is missing in FIELDS before " #field);

FIELDS(FIELD_COVERED)
_Static_assert(sizeof(gqa_config) - FIELD_END(LAST_FIELD) < _Alignof(gqa_config),
               "a field of gqa_config is missing at the end of FIELDS");
_Static_assert(offsetof(gqa_config, struct_size) == 0, "struct_size is first");

#endif
