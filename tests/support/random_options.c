/* SPDX-License-Identifier: Apache-2.0 */
/* random_options.c - the table of options, the rules between them, and the draw. */
#include <stdlib.h>
#include <string.h>

#include "random_case.h"

const random_option_info random_options[OPTION_COUNT] = {
    [OPT_HIDDEN] = {"hidden", 4, 0, {"attention-only", "13", "24", "37-of-40"}},
    [OPT_LAYOUT] = {"qkv_layout", 3, 0, {"separate", "fused", "grouped"}},
    [OPT_KV_HEADS] = {"kv_heads", 3, 0, {"1", "2", "3"}},
    [OPT_GROUP] = {"group", 6, 0, {"1", "2", "3", "5", "7", "9"}},
    [OPT_HEAD_DIM] = {"head_dim", 9, 0, {"8", "9", "16", "20", "33", "64", "96", "129", "512"}},
    [OPT_V_DIM] = {"v_head_dim", 5, 3, {"head_dim", "8", "19", "40", "130"}},
    [OPT_INPUT_NORM] = {"input_norm", 3, 0, {"none", "rms", "layer"}},
    [OPT_INPUT_OFFSET] = {"input_norm_offset", 2, 0, {"0", "1"}},
    [OPT_INPUT_WEIGHT] = {"input_norm_weight", 4, 0, {"none", "weight", "weight+bias", "bias"}},
    [OPT_CAST] = {"norm_cast", 3, 4, {"f32", "bf16", "f16"}},
    [OPT_IN_MULTIPLIER] = {"attn_in_multiplier", 2, 5, {"0", "1.25"}},
    [OPT_QKV_BIAS] = {"qkv_bias", 2, 0, {"0", "1"}},
    [OPT_O_BIAS] = {"o_bias", 2, 0, {"0", "1"}},
    [OPT_CLIP] = {"clip_qkv", 2, 5, {"0", "0.9"}},
    [OPT_K_EQ_V] = {"k_eq_v", 2, 5, {"0", "1"}},
    [OPT_KEY_MULTIPLIER] = {"key_multiplier", 2, 5, {"0", "0.39"}},
    [OPT_V_SCALE] = {"v_scale", 2, 5, {"0", "0.707"}},
    [OPT_QK_NORM] = {"qk_norm",
                     7,
                     2,
                     {"off", "head-rms", "head-layer", "head-l2", "whole-rms", "whole-layer",
                      "whole-l2"}},
    [OPT_QK_PLACE] = {"qk_norm_placement", 2, 0, {"pre", "post"}},
    [OPT_QK_OFFSET] = {"qk_norm_offset", 2, 0, {"0", "1"}},
    [OPT_QK_WEIGHT] = {"qk_norm_weight", 4, 0, {"none", "[D]", "[H][D]", "weight+bias"}},
    [OPT_V_NORM] = {"v_norm", 2, 5, {"none", "rms"}},
    [OPT_ROPE] = {"rope", 3, 0, {"none", "half", "interleaved"}},
    [OPT_SCALING] = {"rope_scaling",
                     8,
                     2,
                     {"none", "linear", "ntk_alpha", "dynamic", "llama3", "yarn", "longrope",
                      "table"}},
    [OPT_ROTARY_DIM] = {"rotary_dim", 3, 4, {"head_dim", "4", "8"}},
    [OPT_FREQ_DIM] = {"rope_freq_dim", 2, 5, {"0", "24"}},
    [OPT_PROPORTIONAL] = {"rope_proportional_dim", 2, 5, {"0", "2"}},
    [OPT_TRUNCATE] = {"rope_truncate", 2, 0, {"0", "1"}},
    [OPT_ATTENTION_FACTOR] = {"rope_attention_factor", 3, 4, {"derived", "1.34", "mscale"}},
    [OPT_MROPE] = {"mrope", 4, 4, {"none", "sections-3", "sections-4", "interleaved"}},
    [OPT_REVERSE] = {"rope_reverse", 2, 5, {"0", "1"}},
    [OPT_FLOAT_ANGLES] = {"rope_float_angles", 2, 5, {"0", "1"}},
    [OPT_SCALE] = {"score_scale", 3, 4, {"1/sqrt(D)", "0.17", "-0.23"}},
    [OPT_SOFTCAP] = {"softcap", 2, 5, {"0", "3"}},
    [OPT_TEMPERATURE] = {"query_temperature", 3, 4, {"none", "llama4", "ministral"}},
    [OPT_ALIBI] = {"alibi", 2, 5, {"none", "slopes"}},
    [OPT_BIDIRECTIONAL] = {"bidirectional", 2, 5, {"0", "1"}},
    [OPT_WINDOW] = {"sliding_window", 5, 3, {"0", "1", "2", "5", "70"}},
    [OPT_RIGHT] = {"right_window", 3, 0, {"0", "1", "3"}},
    [OPT_CHUNK] = {"attention_chunk_size", 4, 4, {"0", "1", "7", "64"}},
    [OPT_SINKS] = {"sinks", 4, 2, {"none", "one", "some -inf", "separate tkg"}},
    [OPT_GATE] = {"gate", 4, 2, {"none", "element", "head", "q_tail"}},
    [OPT_ACTIVATION] = {"gate_activation", 2, 0, {"sigmoid", "softplus"}},
    [OPT_OUT_MULTIPLIER] = {"attn_out_multiplier", 2, 5, {"0", "0.8"}},
    [OPT_POST_NORM] = {"post_norm", 3, 3, {"none", "rms", "layer"}},
    [OPT_POST_OFFSET] = {"post_norm_offset", 2, 0, {"0", "1"}},
    [OPT_POST_WEIGHT] = {"post_norm_weight", 4, 0, {"none", "weight", "weight+bias", "bias"}},
    [OPT_ADD_RESIDUAL] = {"add_residual", 2, 0, {"0", "1"}},
    [OPT_RESIDUAL_MULTIPLIER] = {"residual_multiplier", 2, 0, {"0", "0.22"}},
    [OPT_WEIGHT_STORAGE] = {"weight_storage", 3, 4, {"native", "int8", "int8 given"}},
    [OPT_DENORMALS] = {"denormals", 2, 5, {"keep", "flush"}},
    [OPT_NUMERICS] = {"numerics", 2, 2, {"f32", "bf16"}},
    [OPT_TKG] = {"tkg projections", 4, 3, {"none", "qkv", "output", "both"}},
    [OPT_REFERENCE_F64] = {"reference_f64", 2, 0, {"0", "1"}},
    [OPT_THREADS] = {"threads", 3, 0, {"none", "1", "3"}},
    [OPT_WEIGHT_TYPE] = {"weight_type", 4, 0, {"f32", "bf16", "f16", "mixed"}},
    [OPT_ACTIVATION_TYPE] = {"activation_type", 4, 0, {"f32", "bf16", "f16", "mixed"}},
    [OPT_OUTPUT_TYPE] = {"output_type", 3, 4, {"f32", "bf16", "f16"}},
    [OPT_STRIDES] = {"strides", 3, 0, {"packed", "gaps", "zero"}},
    [OPT_CACHE] = {"cache",
                   13,
                   1,
                   {"none", "default", "bf16", "k-bf16", "v-bf16", "f16", "k-f16", "int8",
                    "e4m3,int4", "int4,e4m3", "int4 rotated", "int8 rotated,e4m3",
                    "e4m3 rotated,int8 rotated"}},
    [OPT_PAGE] = {"page_size", 7, 0, {"0", "16", "32", "64", "128", "256", "512"}},
    [OPT_BATCH] = {"batch", 3, 0, {"1", "2", "3"}},
    [OPT_CALLS] = {"calls", 5, 0, {"one", "prefill+prefill", "prefill+1", "prefill+1+1", "a+k+1"}},
    [OPT_LENGTH] = {"length", 3, 4, {"short", "one", "long"}},
    [OPT_PADDING] = {"padding", 4, 3, {"none", "right", "left", "both"}},
    [OPT_SEQUENCES] = {"sequences", 4, 4, {"null", "given", "permuted", "one inactive"}},
    [OPT_POSITIONS] = {"position_ids", 4, 3, {"null", "from 0", "far, gaps", "any order"}},
    [OPT_ROTARY_POSITIONS] = {"rotary_position_ids", 2, 4, {"null", "given"}},
    [OPT_ROPE_LENGTH] = {"rope_length", 2, 4, {"0", "given"}},
    [OPT_TABLES] = {"cos/sin in", 2, 6, {"no", "yes"}},
    [OPT_PHASE] = {"phase", 3, 4, {"auto", "cte", "tkg"}},
    [OPT_MASK] = {"mask", 5, 4, {"none", "u8", "u8 shared", "bits", "bits shared"}},
    [OPT_BIAS] = {"bias", 4, 4, {"none", "full", "shared", "with -inf"}},
    [OPT_ACTIVE_MASK] = {"active_mask", 4, 5, {"none", "u8", "bits", "u8 shared"}},
    [OPT_BOUNDS] = {"key bounds", 2, 5, {"none", "given"}},
    [OPT_NAN] = {"nan", 3, 3, {"padding only", "hidden tokens", "visible tokens"}},
    [OPT_START] = {"start", 2, 5, {"hidden_states", "projections"}},
    [OPT_STOP] = {"stop", 3, 0, {"both outputs", "hidden_states", "attn"}},
    [OPT_RESIDUAL] = {"residual", 2, 0, {"none", "given"}},
    [OPT_BORROW] = {"borrow", 3, 5, {"no", "borrow_cache", "q_proj alone"}},
};

/* If option a has one of the values in set_a, option b must have one of those in set_b. */
typedef struct random_rule {
    random_option a;
    unsigned set_a;
    random_option b;
    unsigned set_b;
} random_rule;

enum { V0 = 1, V1 = 2, V2 = 4, V3 = 8, V4 = 16, V5 = 32, V6 = 64, V7 = 128, V8 = 256, V9 = 512 };
enum { V10 = 1024, V11 = 2048, V12 = 4096 };
enum { SOME = 8190 };

/* Those between two options of the config only save draws: the checker has the last word. */
static const random_rule rules[] = {
    /* An attention-only layer has no projections, and its calls start behind them. */
    {OPT_HIDDEN, V0, OPT_START, V1},
    {OPT_HIDDEN, V0, OPT_STOP, V2},
    {OPT_HIDDEN, V0, OPT_RESIDUAL, V0},
    {OPT_HIDDEN, V0, OPT_LAYOUT, V0},
    {OPT_HIDDEN, V0, OPT_INPUT_NORM, V0},
    {OPT_HIDDEN, V0, OPT_IN_MULTIPLIER, V0},
    {OPT_HIDDEN, V0, OPT_QKV_BIAS, V0},
    {OPT_HIDDEN, V0, OPT_O_BIAS, V0},
    {OPT_HIDDEN, V0, OPT_WEIGHT_STORAGE, V0},
    {OPT_HIDDEN, V0, OPT_TKG, V0},
    {OPT_HIDDEN, V0, OPT_GATE, V0 | V1 | V2},
    {OPT_HIDDEN, V0, OPT_OUT_MULTIPLIER, V0},
    {OPT_HIDDEN, V0, OPT_POST_NORM, V0},
    {OPT_HIDDEN, V0, OPT_ADD_RESIDUAL, V0},
    /* What belongs to a feature that is off has no use. */
    {OPT_INPUT_OFFSET, V1, OPT_INPUT_NORM, SOME},
    {OPT_INPUT_WEIGHT, V2 | V3, OPT_INPUT_NORM, V2},
    {OPT_INPUT_WEIGHT, SOME, OPT_INPUT_NORM, SOME},
    {OPT_POST_OFFSET, V1, OPT_POST_NORM, SOME},
    {OPT_POST_WEIGHT, V2 | V3, OPT_POST_NORM, V2},
    {OPT_POST_WEIGHT, SOME, OPT_POST_NORM, SOME},
    {OPT_RESIDUAL_MULTIPLIER, V1, OPT_ADD_RESIDUAL, V1},
    {OPT_QK_PLACE, V1, OPT_QK_NORM, SOME},
    {OPT_QK_OFFSET, V1, OPT_QK_NORM, SOME},
    {OPT_QK_WEIGHT, SOME, OPT_QK_NORM, SOME},
    {OPT_QK_WEIGHT, V2, OPT_QK_NORM, V1 | V2 | V3},
    {OPT_QK_WEIGHT, V3, OPT_QK_NORM, V2 | V5},
    {OPT_RIGHT, SOME, OPT_BIDIRECTIONAL, V1},
    {OPT_ACTIVATION, V1, OPT_GATE, SOME},
    {OPT_GATE, V3, OPT_LAYOUT, V0 | V1},
    {OPT_SCALING, SOME, OPT_ROPE, SOME},
    {OPT_ROTARY_DIM, SOME, OPT_ROPE, SOME},
    {OPT_FREQ_DIM, SOME, OPT_ROPE, SOME},
    {OPT_PROPORTIONAL, SOME, OPT_ROPE, SOME},
    {OPT_ATTENTION_FACTOR, SOME, OPT_ROPE, SOME},
    {OPT_MROPE, SOME, OPT_ROPE, SOME},
    {OPT_REVERSE, SOME, OPT_ROPE, SOME},
    {OPT_FLOAT_ANGLES, SOME, OPT_ROPE, SOME},
    {OPT_TRUNCATE, V1, OPT_SCALING, V5},
    {OPT_ATTENTION_FACTOR, V2, OPT_SCALING, V5},
    /* Calls. */
    {OPT_TABLES, V1, OPT_ROPE, SOME},
    {OPT_TABLES, V1, OPT_ROTARY_POSITIONS, V0},
    {OPT_ROTARY_POSITIONS, V1, OPT_ROPE, SOME},
    {OPT_ROPE_LENGTH, V1, OPT_SCALING, V3 | V6}, /* read by these alone */
    {OPT_BORROW, SOME, OPT_CACHE, SOME},
    {OPT_CALLS, SOME, OPT_CACHE, SOME},
    {OPT_PAGE, SOME, OPT_CACHE, SOME},
    {OPT_NUMERICS, V1, OPT_CACHE, V0 | V1 | V2 | V7 | V8 | V9 | V10 | V11 | V12},
    /* (no f32, no f16) */
    {OPT_NUMERICS, V1, OPT_REFERENCE_F64, V0}, /* backend reference has f32 numerics */
    {OPT_POSITIONS, V3, OPT_MASK, SOME},       /* ids that do not rise need a mask */
    {OPT_NAN, V1, OPT_MASK, SOME},
    {OPT_LENGTH, V2, OPT_HEAD_DIM, V0 | V1 | V2 | V3},
    {OPT_LENGTH, V2, OPT_V_DIM, V0 | V1 | V2},
};

enum { RULES = sizeof rules / sizeof *rules };

/* A random value of the set, other than the present one if it is not in the set. */
static int pick(random_case *c, random_option option, unsigned set)
{
    int allowed[RANDOM_VALUES];
    int n = 0;
    for (int v = 0; v < random_options[option].count; v++) {
        if ((set >> v & 1u) != 0) {
            allowed[n++] = v;
        }
    }
    return n > 0 ? allowed[random_below(c, n)] : -1;
}

/* Make the choices obey the rules without touching locked options. */
static bool repair(random_case *c, const bool *locked)
{
    for (int round = 0; round < 50; round++) {
        bool clean = true;
        for (int i = 0; i < RULES; i++) {
            const random_rule *rule = &rules[i];
            if ((rule->set_a >> c->choice[rule->a] & 1u) == 0 ||
                (rule->set_b >> c->choice[rule->b] & 1u) != 0) {
                continue;
            }
            clean = false;
            bool change_b = locked[rule->a] || (!locked[rule->b] && random_below(c, 2) != 0);
            random_option changed = change_b ? rule->b : rule->a;
            int value = pick(c, changed, change_b ? rule->set_b : ~rule->set_a);
            if (locked[changed] || value < 0) {
                return false;
            }
            c->choice[changed] = value;
        }
        if (clean) {
            return true;
        }
    }
    return false;
}

static void draw_choices(random_case *c)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        const random_option_info *info = &random_options[i];
        bool zero = random_below(c, 8) < info->common;
        c->choice[i] = zero ? 0 : random_below(c, info->count);
    }
    /* Wide heads and long calls cost most of the time: one in eight of their draws is kept. */
    if (c->choice[OPT_HEAD_DIM] >= 7 && random_below(c, 8) != 0) {
        c->choice[OPT_HEAD_DIM] = random_below(c, 7);
    }
    if (c->choice[OPT_LENGTH] == 2 && random_below(c, 4) != 0) {
        c->choice[OPT_LENGTH] = 0;
    }
}

bool random_draw(random_case *c, uint64_t seed, random_option first, int first_value,
                 random_option second, int second_value)
{
    bool locked[OPTION_COUNT] = {false};
    bool given = first_value >= 0 || second_value >= 0;
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->state = seed;
    c->state = random_case_next(c) ^ 0x5851f42d4c957f2du; /* neighbours must not run in step */
    locked[first] = first_value >= 0;
    locked[second] = second_value >= 0 || (second == first && locked[first]);
    for (int attempt = 0; attempt < (given ? 300 : 100000); attempt++) {
        draw_choices(c);
        if (given && attempt % 2 == 0) { /* few options at once: fewer reasons to be refused */
            for (int i = 0; i < OPTION_COUNT; i++) {
                c->choice[i] = attempt == 0 || random_below(c, 4) != 0 ? 0 : c->choice[i];
            }
        }
        c->choice[first] = first_value >= 0 ? first_value : c->choice[first];
        c->choice[second] = second_value >= 0 ? second_value : c->choice[second];
        if (repair(c, locked) && random_config(c)) {
            return true;
        }
    }
    return false;
}

static bool in_config(random_option o)
{
    return o <= OPT_NUMERICS && o != OPT_INPUT_WEIGHT && o != OPT_QK_WEIGHT && o != OPT_POST_WEIGHT;
}

bool random_pair_checks(random_option a, int v, random_option b, int w)
{
    random_case c = {.seed = 1};
    bool accepted = false;
    for (int third = 0; third <= OPT_NUMERICS && in_config(a) && in_config(b); third++) {
        for (int x = 0; x < random_options[third].count && !accepted; x++) {
            memset(c.choice, 0, sizeof c.choice);
            c.choice[OPT_HIDDEN] = 1;
            c.choice[third] = x;
            c.choice[a] = v;
            c.choice[b] = w;
            accepted = random_config(&c);
        }
    }
    random_free(&c);
    return accepted;
}

void random_print(FILE *file, const random_case *c)
{
    fprintf(file, "seed %llu:", (unsigned long long)c->seed);
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (c->choice[i] != 0) {
            fprintf(file, " %s=%s", random_options[i].name, random_options[i].values[c->choice[i]]);
        }
    }
    fprintf(file, "\n");
}
