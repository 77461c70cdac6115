/* SPDX-License-Identifier: Apache-2.0 */
/* suites.h - which cases there are. */
#ifndef GQA_BENCH_SUITES_H
#define GQA_BENCH_SUITES_H

#include "case.h"
#include "options.h"

/* All cases that the options choose, in order. false without memory. */
bool bench_suites_make(struct bench_cases *cases, const struct bench_options *options);

/* A suite being made: the cases are added to `cases`. */
struct bench_maker {
    struct bench_cases *cases;
    const struct bench_options *options;
    const char *suite;
    bool failed;
};

/* A case of the suite, with the options' threads, isa and backend; NULL (failed is set) without
 * memory. */
struct bench_case *bench_make(struct bench_maker *maker, gqa_numerics numerics);

/* ... of attention on a shape, one token after `past` ones, cold unless what it reads stays in a
 * cache anyway. */
struct bench_case *bench_make_step(struct bench_maker *maker, gqa_numerics numerics,
                                   const char *shape, int32_t past);

/* Name it "suite/TEXT/NUMERICS/Nt" and set what bounds it. */
void bench_name(struct bench_case *one, const char *text);
void bench_bound(struct bench_case *one, enum bench_bound bound);

/* One more opponent: the same case in a baseline of another library. */
void bench_oppose(struct bench_case *one, enum bench_peer peer);

/* ONNX Runtime with keys and values of integers, without sinks: with them it takes its slow way. */
void bench_oppose_integers(struct bench_case *one, enum bench_peer peer);

/* ggml with keys and values in this format, GQA_F32, GQA_BF16 or GQA_F16. */
enum bench_peer bench_ggml_of(int32_t format);

/* "f32", "bf16" or "f16". */
const char *bench_format_name(int32_t tensors);

/* The same case once more with tensors in bf16 and once in f16, each against the one in f32: the
 * case that was added last. Its name ends in "bf16-tensors". */
void bench_add_formats(struct bench_maker *maker);

/* Does the user want these numerics? */
bool bench_wants(const struct bench_maker *maker, gqa_numerics numerics);

/* suites_attention.c */
void bench_suite_prefill(struct bench_maker *maker);
void bench_suite_decode(struct bench_maker *maker);
void bench_suite_window(struct bench_maker *maker);
void bench_suite_chunked(struct bench_maker *maker);
/* suites_ring.c */
void bench_suite_ring(struct bench_maker *maker);
/* suites_serving.c */
void bench_suite_cascade(struct bench_maker *maker);
void bench_suite_serving(struct bench_maker *maker);
/* suites_kvtypes.c */
void bench_suite_kvtypes(struct bench_maker *maker);
/* suites_hostkv.c */
void bench_suite_hostkv(struct bench_maker *maker);
/* suites_masks.c */
void bench_suite_mask(struct bench_maker *maker);
/* suites_layer.c */
void bench_suite_layer(struct bench_maker *maker);
void bench_suite_linear(struct bench_maker *maker);
void bench_suite_threads(struct bench_maker *maker);
void bench_suite_overhead(struct bench_maker *maker);
void bench_suite_roofline(struct bench_maker *maker);

#endif
