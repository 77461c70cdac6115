/* SPDX-License-Identifier: Apache-2.0 */
/* maps_strategy.c - the kernel of a prefill and the path of a call: arguments checked, and names.
 */
#include "api/maps_check.h"
#include "base/error.h"
#include "neuron/strategy.h"

gqa_status gqa_neuron_strategy(const gqa_neuron_strategy_input *input,
                               gqa_neuron_flash_strategy *strategy, gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};
    gqa_neuron_flash_strategy found;

    gqa__maps_pointer(&check, "input", input);
    gqa__maps_pointer(&check, "strategy", strategy);
    if (check.status != GQA_OK) {
        return check.status;
    }
    gqa__maps_release(&check, input->release);
    gqa__maps_number(&check, "attn_kernel_enabled", (int32_t)input->attn_kernel_enabled, 0, 2);
    gqa__maps_number(&check, "logical_nc_config", input->logical_nc_config, 0, INT32_MAX);
    gqa__maps_number(&check, "cp_degree", input->cp_degree, 0, INT32_MAX);
    gqa__maps_flag(&check, "strided", input->strided);
    gqa__maps_number(&check, "sliding_window", input->sliding_window, 0, INT32_MAX);
    gqa__maps_number(&check, "head_dim", input->head_dim, 1, INT32_MAX);
    gqa__maps_number(&check, "q_len", input->q_len, 1, INT32_MAX);
    gqa__maps_flag(&check, "has_attention_mask", input->has_attention_mask);
    gqa__maps_flag(&check, "trn1", input->trn1);
    if (check.status != GQA_OK) {
        return check.status;
    }
    if (!gqa__neuron_strategy(input, &found)) {
        return gqa__fail(err, GQA_ERR_UNSUPPORTED, "strided",
                         "is 1; the kernel needs logical_nc_config (%d) of 2, no sliding_window "
                         "(%d), and q_len (%d) above head_dim %d",
                         (int)input->logical_nc_config, (int)input->sliding_window,
                         (int)input->q_len, (int)input->head_dim);
    }
    *strategy = found;
    return GQA_OK;
}

static void check_route(struct gqa__maps_check *check, const gqa_neuron_route_input *in)
{
    gqa__maps_release(check, in->release);
    gqa__maps_number(check, "attention_chunk_size", in->attention_chunk_size, 0, INT32_MAX);
    gqa__maps_number(check, "sliding_window", in->sliding_window, 0, INT32_MAX);
    gqa__maps_number(check, "cp_degree", in->cp_degree, 0, INT32_MAX);
    gqa__maps_number(check, "seq_len", in->seq_len, 0, INT32_MAX);
    gqa__maps_number(check, "input_len", in->input_len, 1, INT32_MAX);
    gqa__maps_number(check, "speculation_length", in->speculation_length, 0, INT32_MAX);
    gqa__maps_flag(check, "has_past", in->has_past);
    gqa__maps_flag(check, "windowed_context_encoding", in->windowed_context_encoding);
    gqa__maps_flag(check, "is_prefix_caching", in->is_prefix_caching);
    gqa__maps_flag(check, "is_chunked_prefill", in->is_chunked_prefill);
    gqa__maps_flag(check, "flash_decoding_enabled", in->flash_decoding_enabled);
    gqa__maps_flag(check, "attn_block_tkg_kernel", in->attn_block_tkg_kernel);
    gqa__maps_flag(check, "attn_block_cte_kernel", in->attn_block_cte_kernel);
    gqa__maps_flag(check, "attn_tkg_builtin_kernel", in->attn_tkg_builtin_kernel);
    gqa__maps_flag(check, "attn_tkg_nki_kernel", in->attn_tkg_nki_kernel);
}

/* What a release does not have. */
static void check_release_of(struct gqa__maps_check *check, const gqa_neuron_route_input *in)
{
    const gqa_neuron_release release = gqa__neuron_release(in->release);

    if (check->status == GQA_OK && release == GQA_NEURON_2_26 &&
        in->windowed_context_encoding != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "windowed_context_encoding",
                                  "is 1; release 226 does not have it, 227 and 229 do");
    }
    if (check->status == GQA_OK && release == GQA_NEURON_2_29 && in->is_chunked_prefill != 0) {
        check->status = gqa__fail(check->err, GQA_ERR_UNSUPPORTED, "is_chunked_prefill",
                                  "is 1; release 229 no longer has it, 226 and 227 do");
    }
}

gqa_status gqa_neuron_find_route(const gqa_neuron_route_input *input, gqa_neuron_route *route,
                                 gqa_error *err)
{
    struct gqa__maps_check check = {err, GQA_OK};

    gqa__maps_pointer(&check, "input", input);
    gqa__maps_pointer(&check, "route", route);
    if (check.status != GQA_OK) {
        return check.status;
    }
    check_route(&check, input);
    check_release_of(&check, input);
    if (check.status == GQA_OK) {
        *route = gqa__neuron_find_route(input);
    }
    return check.status;
}

const char *gqa_neuron_strategy_name(gqa_neuron_flash_strategy strategy)
{
    static const char *const names[] = {"NONE",
                                        "UNSHARDED_KERNEL",
                                        "SHARDED_KERNEL",
                                        "CONTEXT_PARALLEL_KERNEL",
                                        "STRIDED_CONTEXT_PARALLEL_KERNEL",
                                        "SLIDING_WINDOW_KERNEL"};

    return (size_t)strategy < sizeof names / sizeof names[0] ? names[strategy] : "unknown";
}

const char *gqa_neuron_path_name(gqa_neuron_path path)
{
    static const char *const names[] = {
        "standard_causal_attention_forward", "chunked_attention_forward",
        "chunked_attention_with_context_parallel_forward", "windowed_attention_forward"};

    return (size_t)path < sizeof names / sizeof names[0] ? names[path] : "unknown";
}

const char *gqa_neuron_operation_name(gqa_neuron_operation operation)
{
    static const char *const names[] = {"attention_context_encode",
                                        "attention_tokengen",
                                        "perform_prefix_prefill",
                                        "attention_block_cte_nki_kernel",
                                        "attention_block_tokengen_nki_kernel",
                                        "attention_tokengen_kernel_builtin",
                                        "attention_tokengen_kernel_nki",
                                        "compute_for_token_gen with is_prefix_caching",
                                        "perform_contexted_prefill",
                                        "compute_for_flash_decoding"};

    return (size_t)operation < sizeof names / sizeof names[0] ? names[operation] : "unknown";
}
