/* SPDX-License-Identifier: Apache-2.0 */
/* The public headers as a C11 program sees them: every function is there, struct_size comes first,
 * zero is the harmless value of every enum, and the init functions set what they promise.
 * test_api_cpp.cpp compiles the same text as C++17. Neither needs cmocka. */
#include <gqa/gqa.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#define FIRST(type) static_assert(offsetof(type, struct_size) == 0, #type ": struct_size is first")
FIRST(gqa_config);
FIRST(gqa_weights);
FIRST(gqa_runtime);
FIRST(gqa_cache_options);
FIRST(gqa_inputs);
FIRST(gqa_output);
FIRST(gqa_work);
FIRST(gqa_health);
FIRST(gqa_attend_inputs);
FIRST(gqa_attend_output);
FIRST(gqa_build_info);
FIRST(gqa_neuron_call);
FIRST(gqa_neuron_output);
FIRST(gqa_neuron_report);
FIRST(gqa_neuron_tile);

static_assert((int)GQA_OK == 0 && (int)GQA_F32 == 0 && (int)GQA_ISA_AUTO == 0, "zero is default");
static_assert((int)GQA_BACKEND_AUTO == 0 && (int)GQA_NUMERICS_F32 == 0, "zero is default");
static_assert((int)GQA_ATTENTION_DENSE == 0 && (int)GQA_NORM_NONE == 0, "zero is default");
static_assert((int)GQA_QKV_SEPARATE == 0 && (int)GQA_QK_NORM_OFF == 0, "zero is default");
static_assert((int)GQA_ROPE_NONE == 0 && (int)GQA_ROPE_SCALING_NONE == 0, "zero is default");
static_assert((int)GQA_MROPE_NONE == 0 && (int)GQA_GATE_NONE == 0, "zero is default");
static_assert((int)GQA_NEURON_NO_PROFILE == 0 && (int)GQA_NEURON_EXACT == 0, "zero is default");
static_assert((int)GQA_QUERY_TEMPERATURE_NONE == 0 && (int)GQA_PHASE_AUTO == 0, "zero is default");

static_assert((int)GQA_LOG_DEBUG < (int)GQA_LOG_INFO && (int)GQA_LOG_INFO < (int)GQA_LOG_WARNING,
              "levels rise");

static int failed;

static void expect(int holds, const char *what)
{
    if (!holds) {
        printf("fails: %s\n", what);
        failed = 1;
    }
}

typedef void (*function)(void);
#define FUNCTION(name) expect((function)(name) != NULL, #name)

static void test_every_function(void)
{
    FUNCTION(gqa_status_string);
    FUNCTION(gqa_convert);
    FUNCTION(gqa_config_init_sized);
    FUNCTION(gqa_config_check);
    FUNCTION(gqa_runtime_init_sized);
    FUNCTION(gqa_pool_create);
    FUNCTION(gqa_pool_destroy);
    FUNCTION(gqa_pool_threads);
    FUNCTION(gqa_weights_init_sized);
    FUNCTION(gqa_create);
    FUNCTION(gqa_destroy);
    FUNCTION(gqa_layer_isa);
    FUNCTION(gqa_layer_rope_key);
    FUNCTION(gqa_block_kv_init_sized);
    FUNCTION(gqa_cache_options_init_sized);
    FUNCTION(gqa_cache_options_retain);
    FUNCTION(gqa_cache_size);
    FUNCTION(gqa_cache_create);
    FUNCTION(gqa_cache_destroy);
    FUNCTION(gqa_cache_length);
    FUNCTION(gqa_cache_first);
    FUNCTION(gqa_cache_free_pages);
    FUNCTION(gqa_cache_truncate);
    FUNCTION(gqa_cache_fork);
    FUNCTION(gqa_cache_keep);
    FUNCTION(gqa_cache_save_size);
    FUNCTION(gqa_cache_save);
    FUNCTION(gqa_cache_load);
    FUNCTION(gqa_cache_copy);
    FUNCTION(gqa_cache_append);
    FUNCTION(gqa_cache_read);
    FUNCTION(gqa_cache_room);
    FUNCTION(gqa_model_cache_options_init_sized);
    FUNCTION(gqa_model_cache_size);
    FUNCTION(gqa_model_cache_create);
    FUNCTION(gqa_model_cache_destroy);
    FUNCTION(gqa_model_cache_layer);
    FUNCTION(gqa_model_cache_length);
    FUNCTION(gqa_model_cache_room);
    FUNCTION(gqa_model_cache_truncate);
    FUNCTION(gqa_model_cache_fork);
    FUNCTION(gqa_model_cache_keep);
    FUNCTION(gqa_model_cache_save_size);
    FUNCTION(gqa_model_cache_save);
    FUNCTION(gqa_model_cache_load);
    FUNCTION(gqa_model_cache_copy);
    FUNCTION(gqa_inputs_init_sized);
    FUNCTION(gqa_output_init_sized);
    FUNCTION(gqa_work_init_sized);
    FUNCTION(gqa_health_init_sized);
    FUNCTION(gqa_workspace_size);
    FUNCTION(gqa_forward);
    FUNCTION(gqa_attend_inputs_init_sized);
    FUNCTION(gqa_attend_output_init_sized);
    FUNCTION(gqa_fold_block);
    FUNCTION(gqa_cut_keys);
    FUNCTION(gqa_attend_workspace_size);
    FUNCTION(gqa_attend);
    FUNCTION(gqa_merge_states);
    FUNCTION(gqa_finish_states);
    FUNCTION(gqa_stage_input_norm);
    FUNCTION(gqa_stage_qkv);
    FUNCTION(gqa_stage_clip);
    FUNCTION(gqa_stage_qk_norm);
    FUNCTION(gqa_stage_rope_table);
    FUNCTION(gqa_stage_rope);
    FUNCTION(gqa_stage_query_temperature);
    FUNCTION(gqa_stage_gate);
    FUNCTION(gqa_stage_output_projection);
    FUNCTION(gqa_stage_output);
    FUNCTION(gqa_rope_frequencies);
    FUNCTION(gqa_neuron_strategy);
    FUNCTION(gqa_neuron_strategy_name);
    FUNCTION(gqa_neuron_find_route);
    FUNCTION(gqa_neuron_path_name);
    FUNCTION(gqa_neuron_operation_name);
    FUNCTION(gqa_neuron_count_heads);
    FUNCTION(gqa_neuron_map_heads);
    FUNCTION(gqa_neuron_mesh);
    FUNCTION(gqa_neuron_rank_order);
    FUNCTION(gqa_neuron_rank_heads);
    FUNCTION(gqa_neuron_dp_supported);
    FUNCTION(gqa_neuron_stride_order);
    FUNCTION(gqa_neuron_window_size);
    FUNCTION(gqa_neuron_window_slots);
    FUNCTION(gqa_neuron_window_decode);
    FUNCTION(gqa_neuron_window_speculate);
    FUNCTION(gqa_neuron_chunk_slots);
    FUNCTION(gqa_neuron_chunk_decode);
    FUNCTION(gqa_neuron_flash_decoding_masks);
    FUNCTION(gqa_neuron_range_mask);
    FUNCTION(gqa_neuron_medusa_slots);
    FUNCTION(gqa_neuron_active_blocks);
    FUNCTION(gqa_neuron_token_slots);
    FUNCTION(gqa_neuron_write_slots);
    FUNCTION(gqa_neuron_block_diagonal_mask);
    FUNCTION(gqa_neuron_schedule_size);
    FUNCTION(gqa_neuron_schedule_fill);
    FUNCTION(gqa_neuron_call_init_sized);
    FUNCTION(gqa_neuron_output_init_sized);
    FUNCTION(gqa_neuron_report_init_sized);
    FUNCTION(gqa_neuron_profile_name);
    FUNCTION(gqa_neuron_workspace_size);
    FUNCTION(gqa_neuron_attention);
    FUNCTION(gqa_build_info_sized);
    FUNCTION(gqa_version);
    FUNCTION(gqa_api_version);
    FUNCTION(gqa_cpu_features);
    FUNCTION(gqa_isa_available);
    FUNCTION(gqa_isa_name);
    FUNCTION(gqa_isa_from_environment);
}

#define INIT(type, init)                                                                           \
    do {                                                                                           \
        type value;                                                                                \
        memset((void *)&value, 0x5a, sizeof value);                                                \
        init(&value);                                                                              \
        expect(value.struct_size == sizeof value, #init " sets struct_size");                      \
    } while (0)

static void test_init(void)
{
    INIT(gqa_config, gqa_config_init);
    INIT(gqa_weights, gqa_weights_init);
    INIT(gqa_runtime, gqa_runtime_init);
    INIT(gqa_inputs, gqa_inputs_init);
    INIT(gqa_output, gqa_output_init);
    INIT(gqa_work, gqa_work_init);
    INIT(gqa_health, gqa_health_init);
    INIT(gqa_attend_inputs, gqa_attend_inputs_init);
    INIT(gqa_attend_output, gqa_attend_output_init);
    INIT(gqa_neuron_call, gqa_neuron_call_init);
    INIT(gqa_neuron_output, gqa_neuron_output_init);
    INIT(gqa_neuron_report, gqa_neuron_report_init);

    gqa_config config;
    gqa_config_init(&config);
    expect(config.rope_theta == 10000.0, "rope_theta has its default");
    expect(config.input_norm_eps == 1e-6f, "input_norm_eps has its default");
    expect(config.sliding_window == 0 && config.bidirectional == 0, "all else is zero");
}

/* A caller compiled against an older, shorter struct: nothing beyond it is written. */
static void test_shorter_struct(void)
{
    union {
        gqa_config config;
        unsigned char bytes[sizeof(gqa_config)];
    } u;
    const size_t size = offsetof(gqa_config, backend);
    memset(u.bytes, 0x5a, sizeof u.bytes);
    gqa_config_init_sized(&u.config, size);
    expect(u.config.struct_size == size, "struct_size is the caller's");
    for (size_t i = size; i < sizeof u.bytes; i++) {
        expect(u.bytes[i] == 0x5a, "bytes beyond the caller's struct are left alone");
    }
}

static void test_tensor(void)
{
    float data[24] = {0};
    gqa_tensor t = gqa_tensor_4d(data, GQA_F32, 1, 2, 3, 4);
    expect(t.data == data && t.rank == 4 && t.stride[0] == 24 && t.stride[1] == 12, "4d");
    t = gqa_tensor_3d(data, GQA_F32, 2, 3, 4);
    expect(t.rank == 3 && t.shape[0] == 2 && t.stride[0] == 12 && t.stride[1] == 4, "3d");
    t = gqa_tensor_2d(data, GQA_F32, 6, 4);
    expect(t.rank == 2 && t.shape[1] == 4 && t.stride[0] == 4 && t.stride[1] == 1, "2d");
    t = gqa_tensor_1d(data, GQA_F32, 24);
    expect(t.rank == 1 && t.shape[0] == 24 && t.stride[0] == 1, "1d");
}

static void test_info(void)
{
    gqa_build_info info;
    gqa_build_info_get(&info);
    expect(info.struct_size == sizeof info, "gqa_build_info_get sets struct_size");
    expect(info.version == GQA_VERSION && gqa_version() == GQA_VERSION, "version");
    expect(gqa_api_version() == GQA_API_VERSION && GQA_API_VERSION > 0, "version of the API");
    expect((info.kernels_built >> GQA_ISA_SCALAR & 1u) == 1u, "the scalar kernels is built");
    expect(gqa_isa_available(GQA_ISA_SCALAR) == 1, "and runs everywhere");
    expect(strcmp(gqa_isa_name(GQA_ISA_SCALAR), "scalar") == 0, "name of a kernel set");
    expect(info.fold_block == gqa_fold_block() && info.fold_block % 128 == 0, "fold block");
    expect(info.compiler != NULL && info.blas != NULL && info.blas_core != NULL, "strings");
    expect(strlen(gqa_status_string(GQA_ERR_NOMEM)) > 0, "text of a status");
    expect(strlen(gqa_status_string((gqa_status)-8)) > 0, "text of an unknown status");
}

int main(void)
{
    test_every_function();
    test_init();
    test_shorter_struct();
    test_tensor();
    test_info();
    printf(failed ? "failed\n" : "passed\n");
    return failed;
}
