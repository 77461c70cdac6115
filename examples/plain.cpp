/* SPDX-License-Identifier: Apache-2.0 */
/* C++: attention alone on plain keys and values, in two halves of the keys, merged.
 *
 * No projections and no cache: gqa_attend reads the caller's tensors. The keys are cut at a fold
 * block, each half gives raw softmax states, and gqa_merge_states and gqa_finish_states bring them
 * together: the bits are those of one call. This is how a sequence is shared out to machines.
 */
#include <gqa/gqa.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace
{
constexpr int T = 5, HQ = 6, HKV = 2, D = 40;

struct destroy_layer {
    void operator()(gqa_layer *layer) const
    {
        gqa_destroy(&layer);
    }
};
using layer_ptr = std::unique_ptr<gqa_layer, destroy_layer>;

void check(gqa_status status, const gqa_error &err)
{
    if (status != GQA_OK) {
        throw std::runtime_error(err.message);
    }
}

std::vector<float> numbers(size_t n, unsigned state)
{
    std::vector<float> a(n);
    for (float &v : a) {
        state = state * 1664525u + 1013904223u;
        v = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
    }
    return a;
}

/* Raw states of [1, T, HQ] rows and their memory. */
struct states {
    std::vector<float> m = std::vector<float>(T * HQ), l = m, o = std::vector<float>(T * HQ * D);
    gqa_states view{};

    states()
    {
        view.m = gqa_tensor_3d(m.data(), GQA_F32, 1, T, HQ);
        view.l = gqa_tensor_3d(l.data(), GQA_F32, 1, T, HQ);
        view.o = gqa_tensor_4d(o.data(), GQA_F32, 1, T, HQ, D);
    }
    states(const states &) = delete;
    states &operator=(const states &) = delete;
};

layer_ptr make_layer()
{
    gqa_config config;
    gqa_config_init(&config);
    config.num_attention_heads = HQ;
    config.num_key_value_heads = HKV;
    config.head_dim = D;
    gqa_layer *layer = nullptr;
    gqa_error err;
    check(gqa_create(&layer, &config, nullptr, nullptr, &err), err);
    return layer_ptr(layer);
}

void attend(const gqa_layer *layer, const gqa_attend_inputs &inputs, gqa_attend_output &output)
{
    gqa_error err;
    check(gqa_attend(layer, nullptr, &inputs, &output, nullptr, 0, &err), err);
}
} // namespace

int main()
try {
    const int block = gqa_fold_block();
    const int keys = 2 * block - 3;
    auto q = numbers(size_t(T) * HQ * D, 1);
    auto k = numbers(size_t(keys) * HKV * D, 2);
    auto v = numbers(size_t(keys) * HKV * D, 3);
    std::vector<float> once(q.size()), merged(q.size());
    const layer_ptr layer = make_layer();

    gqa_attend_inputs inputs;
    gqa_attend_inputs_init(&inputs);
    inputs.query = gqa_tensor_4d(q.data(), GQA_F32, 1, T, HQ, D);
    inputs.key = gqa_tensor_4d(k.data(), GQA_F32, 1, keys, HKV, D);
    inputs.value = gqa_tensor_4d(v.data(), GQA_F32, 1, keys, HKV, D);

    gqa_attend_output output;
    gqa_attend_output_init(&output);
    output.output = gqa_tensor_4d(once.data(), GQA_F32, 1, T, HQ, D);
    attend(layer.get(), inputs, output);

    states left, right, both;
    const gqa_states *parts[2] = {&left.view, &right.view};
    for (int half = 0; half < 2; half++) {
        states &part = half == 0 ? left : right;
        inputs.range_begin = half == 0 ? 0 : block;
        inputs.range_end = half == 0 ? block : keys;
        gqa_attend_output_init(&output);
        output.states = part.view;
        attend(layer.get(), inputs, output);
        part.view = output.states;
    }
    gqa_error err;
    const gqa_tensor result = gqa_tensor_4d(merged.data(), GQA_F32, 1, T, HQ, D);
    check(gqa_merge_states(parts, 2, &both.view, &err), err);
    check(gqa_finish_states(layer.get(), &both.view, GQA_PHASE_AUTO, 0, &result, nullptr, &err),
          err);

    const bool same = std::memcmp(once.data(), merged.data(), once.size() * sizeof(float)) == 0;
    std::printf("%d keys at once and in two parts: %s\n", keys,
                same ? "the same bits" : "DIFFERENT");
    return same ? 0 : 1;
} catch (const std::exception &e) {
    std::printf("%s\n", e.what());
    return 1;
}
