/* SPDX-License-Identifier: Apache-2.0 */
/* gqa/config.h - what one attention layer is, as numbers.
 *
 * A plain struct: call gqa_config_init, then set fields. Unless a comment says otherwise a field's
 * zero means "as if the field did not exist", so the struct can grow at its end. Names are those
 * of AWS Neuron's NeuronAttentionBase where they mean the same; docs/neuron.md maps every one of
 * its parameters. Pointers are read by gqa_create and copied; they need not outlive it.
 *
 * Nothing is silently ignored: a field that the rest of the config leaves without a use (a yarn
 * parameter without yarn, an eps without its norm) must have its default or zero. Multipliers,
 * score_scale and slopes are finite, of either sign and at most 1e6 in size; softcap is 0..1e6; an
 * eps is 0..1.
 */
#ifndef GQA_CONFIG_H
#define GQA_CONFIG_H

#include "gqa/neuron.h"
#include "gqa/neuron_maps.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How scores are restricted beyond masks. Only DENSE is served; the others are refused by name. */
typedef enum gqa_attention_kind {
    GQA_ATTENTION_DENSE = 0,
    GQA_ATTENTION_BLOCK_SPARSE = 1, /* Phi-3-small, MiniMax-M3: refused */
    GQA_ATTENTION_MLA = 2           /* multi-head latent attention (DeepSeek): refused */
} gqa_attention_kind;

typedef enum gqa_norm {
    GQA_NORM_NONE = 0,
    GQA_NORM_RMS = 1,   /* x / sqrt(mean(x^2) + eps) */
    GQA_NORM_LAYER = 2, /* (x - mean) / sqrt(var + eps), biased variance */
    GQA_NORM_L2 = 3     /* x / sqrt(sum(x^2) + eps); qk_norm only */
} gqa_norm;

/* Where the rows of the projection weights lie. */
typedef enum gqa_qkv_layout {
    GQA_QKV_SEPARATE = 0, /* weights.wq, wk, wv */
    GQA_QKV_FUSED = 1,    /* weights.wqkv, rows [Q heads | K heads | V heads] (Neuron's Wqkv) */
    GQA_QKV_GROUPED = 2   /* weights.wqkv, per KV head [its Q heads | K | V] (Falcon, GPT-NeoX) */
} gqa_qkv_layout;

typedef enum gqa_qk_norm_scope {
    GQA_QK_NORM_OFF = 0,
    GQA_QK_NORM_HEAD = 1, /* over the head_dim values of each head */
    GQA_QK_NORM_WHOLE = 2 /* over all heads' values of q, and of k (OLMo 2, MiniMax-M2) */
} gqa_qk_norm_scope;

typedef enum gqa_qk_norm_placement {
    GQA_QK_NORM_PRE_ROPE = 0,
    GQA_QK_NORM_POST_ROPE = 1
} gqa_qk_norm_placement;

typedef enum gqa_rope {
    GQA_ROPE_NONE = 0,       /* NoPE */
    GQA_ROPE_HALF = 1,       /* pairs (j, j + rotary_dim/2): NeoX, Hugging Face */
    GQA_ROPE_INTERLEAVED = 2 /* pairs (2j, 2j + 1) in place: GPT-J, Meta, Cohere, GLM */
} gqa_rope;

typedef enum gqa_rope_scaling {
    GQA_ROPE_SCALING_NONE = 0,
    GQA_ROPE_SCALING_LINEAR = 1,    /* f / rope_factor */
    GQA_ROPE_SCALING_NTK_ALPHA = 2, /* theta * rope_factor^(d/(d-2)) (Hunyuan) */
    GQA_ROPE_SCALING_DYNAMIC = 3,   /* dynamic NTK by the call's rope_length (InternLM) */
    GQA_ROPE_SCALING_LLAMA3 = 4,
    GQA_ROPE_SCALING_YARN = 5,
    GQA_ROPE_SCALING_LONGROPE = 6, /* short or long factors by the call's rope_length (Phi) */
    GQA_ROPE_SCALING_TABLE = 7     /* rope_inv_freq as given */
} gqa_rope_scaling;

typedef enum gqa_mrope {
    GQA_MROPE_NONE = 0,
    GQA_MROPE_SECTIONS = 1,   /* frequencies in consecutive sections, one per axis (Qwen2-VL) */
    GQA_MROPE_INTERLEAVED = 2 /* axis j % 3 while j < 3 * section, else axis 0 (Qwen3-VL) */
} gqa_mrope;

typedef enum gqa_query_temperature {
    GQA_QUERY_TEMPERATURE_NONE = 0,
    GQA_QUERY_TEMPERATURE_LLAMA4 = 1,   /* 1 + s * ln(1 + floor((p + 1) / floor_scale)) */
    GQA_QUERY_TEMPERATURE_MINISTRAL = 2 /* 1 + s * ln(1 + floor(p / floor_scale)) */
} gqa_query_temperature;

typedef enum gqa_gate {
    GQA_GATE_NONE = 0,
    GQA_GATE_ELEMENT = 1, /* one gate per head and value dimension, from weights.wgate */
    GQA_GATE_HEAD = 2,    /* one gate per head, from weights.wgate (Step-3.5, Laguna) */
    GQA_GATE_Q_TAIL = 3   /* per element; each head's wq rows are [head_dim of q | v_head_dim of
                             gate] (Qwen3-Next). Not with hidden_size 0 (there ELEMENT), nor with
                             GQA_QKV_GROUPED (GQA_ERR_UNSUPPORTED) */
} gqa_gate;

typedef enum gqa_gate_activation {
    GQA_GATE_SIGMOID = 0,
    GQA_GATE_SOFTPLUS = 1
} gqa_gate_activation;

/* How the layer keeps its projection matrices (qkv, gate, output). */
typedef enum gqa_weight_storage {
    GQA_WEIGHT_STORAGE_NATIVE = 0, /* in the operand type of the numerics: f32 or bf16 */
    GQA_WEIGHT_STORAGE_INT8 = 1    /* int8 and one f32 scale per output: a half or a quarter of the
                                      bytes, for prefill and decode alike (gqa_weights) */
} gqa_weight_storage;

/* What operands of products count as that are denormal: below 2^-126 in size, but not zero. With
 * f32 products an Intel CPU takes up to a hundred times as long on them; where none is denormal,
 * both give the same bits in the same time. */
typedef enum gqa_denormals {
    GQA_DENORMALS_KEEP = 0, /* what they are */
    GQA_DENORMALS_FLUSH = 1 /* zero: weights (int8 apart), activations of a projection, Q before and
                               after it is scaled, K and V before they are stored */
} gqa_denormals;

typedef struct gqa_config {
    uint32_t struct_size; /* set by gqa_config_init; do not touch */

    /* --- shape ------------------------------------------------------------------------------ */
    gqa_attention_kind attention_kind;
    int32_t hidden_size;         /* 0..1048576; 0 = attention only: no projections, no input or post
                                    norm, no residual */
    int32_t num_attention_heads; /* query heads Hq; required, 1..4096 */
    int32_t num_key_value_heads; /* KV heads Hkv; required, divides Hq. Query head h reads KV head
                                    h / (Hq / Hkv) */
    int32_t head_dim;            /* Dk, 8..512; 0 = hidden_size / num_attention_heads, exactly */
    int32_t v_head_dim;          /* Dv, 8..512; 0 = head_dim */
    int32_t hidden_size_unpadded; /* the true width when hidden_size is zero-padded: the input and
                                     post norm take their mean over it; 0 = hidden_size */

    /* --- before the projections --------------------------------------------------------------- */
    gqa_norm input_norm;       /* NONE, RMS or LAYER */
    float input_norm_eps;      /* default 1e-6 */
    int32_t input_norm_offset; /* 0: x * w; 1: x * (1 + w) (Gemma, Nemotron) */
    gqa_dtype norm_cast;       /* GQA_BF16 or GQA_F16: the input and post norm round the normalised
                                  value to it before the weight and the product after (Llama as HF
                                  runs it); GQA_F32: no rounding (gpt-oss) */
    float attn_in_multiplier;  /* x_norm * this (Falcon-H1); 0 = 1 */

    /* --- projections ------------------------------------------------------------------------- */
    gqa_qkv_layout qkv_layout;
    int32_t qkv_bias; /* 1: weights.bq, bk, bv or bqkv are required; 0: they must be absent */
    int32_t o_bias;   /* 1: weights.bo is required, added once; 0: it must be absent */
    float clip_qkv;   /* clamp q, k and v to [-c, c] after the bias; 0 = off */
    int32_t k_eq_v;   /* 1: V is the K projection (before norm, multiplier and rope); no wv, no V
                         rows in wqkv; v_head_dim = head_dim */
    float key_multiplier; /* k * this after the clip (Falcon-H1); 0 = 1 */
    float v_scale;        /* v * this, last (MiMo-V2: 0.707); 0 = 1 */

    /* --- q, k and v norm ---------------------------------------------------------------------- */
    gqa_qk_norm_scope qk_norm_scope;
    gqa_norm qk_norm; /* RMS, LAYER or L2 when the scope is not OFF */
    gqa_qk_norm_placement qk_norm_placement;
    float qk_norm_eps;      /* default 1e-6; v_norm uses it too */
    int32_t qk_norm_offset; /* 0 or 1, as input_norm_offset */
    gqa_norm v_norm;        /* NONE or RMS: per head, without weight (Gemma 4) */

    /* --- rotary embedding --------------------------------------------------------------------- */
    gqa_rope rope;
    gqa_rope_scaling rope_scaling;
    double rope_theta;     /* default 10000; 2..1e30 */
    int32_t rotary_dim;    /* the first rotary_dim of head_dim rotate; even; 0 = head_dim */
    int32_t rope_freq_dim; /* d in theta^(-2j/d), even, at most 4096; 0 = rotary_dim. NTK: d >= 4 */
    int32_t rope_proportional_dim; /* pairs j >= this/2 get frequency 0 (Gemma 4); even; 0 =
                                      rotary_dim */
    double rope_factor; /* required by linear (1e-3..1e9), and (1..1e9) by ntk_alpha (the alpha),
                           dynamic, llama3, yarn, and longrope without rope_attention_factor */
    int32_t rope_original_context; /* dynamic, llama3, yarn, longrope: trained context, required,
                                      at least 2 */
    double rope_low_freq_factor;   /* llama3; default 1 */
    double rope_high_freq_factor;  /* llama3; default 4; not below the low one */
    double rope_beta_fast;         /* yarn; default 32; above rope_beta_slow */
    double rope_beta_slow;         /* yarn; default 1 */
    int32_t rope_truncate;         /* yarn: 1 rounds the correction range outwards to integers (HF's
                                      default); 0 does not (gpt-oss) */
    double rope_attention_factor; /* multiplies cos and sin (so scores get its square). 0 = derived:
                                     yarn 0.1 ln(factor) + 1, or the ratio of the two mscales;
                                     longrope sqrt(1 + ln(s)/ln(original)), s = rope_factor;
                                     others 1 */
    double rope_mscale;           /* yarn (DeepSeek style): 0.1 m ln(factor) + 1 over the same */
    double rope_mscale_all_dim;   /* with this m; both 0 = not used, else both > 0 and
                                     rope_attention_factor 0 */
    const double *rope_short_factors; /* longrope [rotary_dim/2], 1e-3..1e9, divide frequencies */
    const double *rope_long_factors;  /* longrope [rotary_dim/2], the same beyond the context */
    const double *rope_inv_freq;      /* TABLE: [rotary_dim/2], -1000..1000 */
    gqa_mrope mrope;
    int32_t mrope_sections[4]; /* frequencies per axis; sum = rotary_dim/2; axes = 3, or 4 if [3]
                                  (not interleaved) */
    int32_t rope_reverse;      /* 1: rotate by the negative angle (nanochat) */
    int32_t rope_float_angles; /* 1: form pos * inv_freq, cos and sin arguments in float32, as torch
                                  references do; 0: accurate angles (double) */

    /* --- scores ------------------------------------------------------------------------------ */
    float score_scale; /* multiplies q.k, of either sign; 0 = 1 / sqrt(head_dim). Neuron's
                          softmax_scale divides: score_scale = 1 / softmax_scale */
    float softcap;     /* c * tanh(score / c), before bias and mask; 0 = off */
    gqa_query_temperature query_temperature;
    float query_temperature_scale; /* s; at least 1e-9 when a temperature is chosen */
    float query_temperature_floor; /* floor_scale; 1..2^31 when a temperature is chosen */
    const float *alibi_slopes;     /* [num_attention_heads] or NULL: score - slope * |p - k| */

    /* --- who sees whom ----------------------------------------------------------------------- */
    int32_t bidirectional;        /* 0: causal (k <= p); 1: keys after the query are visible too */
    int32_t sliding_window;       /* W keys including self, p-W+1 .. p; 0 = off */
    int32_t right_window;         /* bidirectional only: R keys after self, p+1 .. p+R; 0 = all */
    int32_t attention_chunk_size; /* C: floor(p/C) == floor(k/C), positions counted from the
                                     sequence's first token; 0 = off. With a window both apply */
    int32_t learned_sinks_size;   /* 1: weights.sinks is required; 0: none; others are refused */

    /* --- after attention --------------------------------------------------------------------- */
    gqa_gate gate;
    gqa_gate_activation gate_activation;
    float attn_out_multiplier; /* output projection * this; 0 = 1 */
    gqa_norm post_norm;        /* NONE, RMS or LAYER on the projected output (OLMo 2, Gemma 2) */
    float post_norm_eps;       /* default 1e-6 */
    int32_t post_norm_offset;  /* 0 or 1 */
    int32_t add_residual;      /* 1: out = sum + residual_multiplier * post_norm(...), where sum =
                                  hidden_states + residual; 0: out = post_norm(...) */
    float residual_multiplier; /* needs add_residual (Granite); 0 = 1 */

    /* --- how it is computed ------------------------------------------------------------------ */
    gqa_backend backend;
    gqa_numerics numerics; /* BF16 with backend REFERENCE or NEURON is refused */
    gqa_isa isa;           /* a forced kernel set that is not available is GQA_ERR_UNSUPPORTED */
    int32_t reference_f64; /* 1: backend REFERENCE (only) accumulates products and softmax in
                              double */
    gqa_weight_storage weight_storage; /* not with hidden_size 0, which has no matrices */
    gqa_isa max_isa; /* the highest kernel set that isa AUTO may choose: GQA_ISA_SCALAR limits every
                        machine, AVX2, AVX512 and AMX those of x86-64 only, NEON those of AArch64
                        only, so that one config serves both; AUTO = no limit. A forced isa above
                        it is GQA_ERR_ARG */

    /* --- backend GQA_BACKEND_NEURON; all zero with any other ---------------------------------- */
    gqa_neuron_profile neuron_profile; /* NO_PROFILE: what Neuron takes for the call
                                          (docs/neuron-paths.md); else this one for every call.
                                          paged_schedule takes all batch entries of a call
                                          together, its blocks have a page's tokens */
    gqa_neuron_release neuron_release; /* NEWEST: 2.29, or the newest that has the profile */
    gqa_neuron_io neuron_io;           /* the layer's I/O type; default bf16. gqa_create rounds
                                          weights to it: 2 or 4 bytes for each */
    gqa_neuron_accumulation neuron_accumulation;
    gqa_neuron_divisor neuron_divisor;
    int32_t neuron_lift_limits; /* 1: Neuron's limits that have a meaning without them do not
                                   hold; output.neuron then says so */
    /* What Neuron chooses by; all zero with a named profile. */
    gqa_neuron_attn_kernel neuron_attn_kernel; /* attn_kernel_enabled: AUTO (None), FALSE, TRUE */
    int32_t neuron_logical_nc_config;          /* LNC; 0 = 1 */
    int32_t neuron_trn1;                       /* 1: the platform is trn1 */
    int32_t neuron_prefix_caching;             /* 1: is_prefix_caching */

    /* --- what is slow --------------------------------------------------------------------------
     */
    gqa_denormals denormals; /* backend CPU only. Numerics BF16 always flushes: there it changes
                                nothing (docs/numerics.md) */

    /* --- backend GQA_BACKEND_NEURON: ranks, computed one after the other --------------------- */
    int32_t neuron_cp_degree;  /* ranks that divide the queries of a prefill (cp_degree), which must
                                  divide the tokens of the call; 0 = 1. Needs NO_PROFILE or
                                  GQA_NEURON_CTE */
    int32_t neuron_cp_strided; /* 1: rank r has tokens r, r + degree, .. (strided_context_parallel_
                                  kernel_enabled); 0: one piece each */
    int32_t neuron_kv_ranks; /* ranks that share a KV head (num_cores_per_group): key p lies on rank
                                p % kv_ranks. flash_decoding needs it; with NO_PROFILE it is
                                flash_decoding_enabled; 0 = none */
} gqa_config;

/* Fill *config with the defaults named above. size is the caller's sizeof(gqa_config). */
GQA_API void gqa_config_init_sized(gqa_config *config, size_t size);

static inline void gqa_config_init(gqa_config *config)
{
    gqa_config_init_sized(config, sizeof *config);
}

/* Check every field and every combination without creating anything. The first fault is reported
 * with its field ("config.head_dim"), value and limit. Thread-safe. */
GQA_API gqa_status gqa_config_check(const gqa_config *config, gqa_error *err);

#ifdef __cplusplus
}
#endif
#endif
