/* SPDX-License-Identifier: Apache-2.0 */
/* spec.c - see spec.h. */
#include "spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[BENCH_KINDS] = {
    [BENCH_ATTENTION] = "attention", [BENCH_LAYER] = "layer",
    [BENCH_LINEAR] = "linear",       [BENCH_MIX] = "mix",
    [BENCH_PRODUCTS] = "products",   [BENCH_SOFTMAX] = "softmax",
    [BENCH_PAIR] = "pair",           [BENCH_PROBE] = "probe",
};

#define FIELDS 33

struct field {
    const char *name;
    int32_t value;
};

static void get_fields(const struct bench_spec *spec, struct field field[FIELDS])
{
    const struct field all[FIELDS] = {
        {"numerics", (int32_t)spec->numerics},
        {"isa", (int32_t)spec->isa},
        {"max_isa", (int32_t)spec->max_isa},
        {"backend", (int32_t)spec->backend},
        {"threads", spec->threads},
        {"hq", spec->hq},
        {"hkv", spec->hkv},
        {"d", spec->d},
        {"hidden", spec->hidden},
        {"batch", spec->batch},
        {"tokens", spec->tokens},
        {"past", spec->past},
        {"window", spec->window},
        {"chunk", spec->chunk},
        {"sinks", spec->sinks},
        {"cold", spec->cold},
        {"out", spec->out},
        {"in", spec->in},
        {"form", spec->form},
        {"probe", spec->probe},
        {"streams", spec->streams},
        {"kib", spec->kib},
        {"int8", spec->int8},
        {"place", spec->in_place},
        {"tensors", spec->tensors},
        {"mask", spec->mask},
        {"home", spec->home},
        {"ring", spec->ring},
        {"shared", spec->shared},
        {"apart", spec->apart},
        {"k_type", spec->k_type},
        {"v_type", spec->v_type},
        {"rotate", spec->rotate},
    };

    memcpy(field, all, sizeof all);
}

static void set_fields(struct bench_spec *spec, const struct field field[FIELDS])
{
    int32_t *const plain[FIELDS] = {
        NULL,           NULL,         NULL,          NULL,
        &spec->threads, &spec->hq,    &spec->hkv,    &spec->d,
        &spec->hidden,  &spec->batch, &spec->tokens, &spec->past,
        &spec->window,  &spec->chunk, &spec->sinks,  &spec->cold,
        &spec->out,     &spec->in,    &spec->form,   &spec->probe,
        &spec->streams, &spec->kib,   &spec->int8,   &spec->in_place,
        &spec->tensors, &spec->mask,  &spec->home,   &spec->ring,
        &spec->shared,  &spec->apart, &spec->k_type, &spec->v_type,
        &spec->rotate,
    };

    spec->numerics = (gqa_numerics)field[0].value;
    spec->isa = (gqa_isa)field[1].value;
    spec->max_isa = (gqa_isa)field[2].value;
    spec->backend = (gqa_backend)field[3].value;
    for (int i = 4; i < FIELDS; i++) {
        *plain[i] = field[i].value;
    }
}

void bench_spec_init(struct bench_spec *spec)
{
    memset(spec, 0, sizeof *spec);
    spec->threads = 1;
    spec->batch = 1;
    spec->tokens = 1;
}

void bench_spec_print(const struct bench_spec *spec, char text[BENCH_SPEC_TEXT])
{
    struct field field[FIELDS];
    size_t at = (size_t)snprintf(text, BENCH_SPEC_TEXT, "%s", kinds[spec->kind]);

    get_fields(spec, field);
    for (int i = 0; i < FIELDS; i++) {
        if (field[i].value != 0) {
            at += (size_t)snprintf(text + at, BENCH_SPEC_TEXT - at, " %s=%d", field[i].name,
                                   (int)field[i].value);
        }
    }
}

bool bench_spec_parse(struct bench_spec *spec, const char *text)
{
    struct field field[FIELDS];
    size_t length = strcspn(text, " \n");
    int kind = 0;

    memset(spec, 0, sizeof *spec);
    get_fields(spec, field);
    while (kind < BENCH_KINDS &&
           (strlen(kinds[kind]) != length || strncmp(kinds[kind], text, length) != 0)) {
        kind++;
    }
    if (kind == BENCH_KINDS) {
        return false;
    }
    spec->kind = (enum bench_kind)kind;
    for (text += length; *text == ' '; text += length) {
        int i = 0;
        char *end = NULL;

        text++;
        length = strcspn(text, "=");
        while (i < FIELDS &&
               (strlen(field[i].name) != length || strncmp(field[i].name, text, length) != 0)) {
            i++;
        }
        if (i == FIELDS || text[length] != '=') {
            return false;
        }
        field[i].value = (int32_t)strtol(text + length + 1, &end, 10);
        length = (size_t)(end - text);
    }
    set_fields(spec, field);
    return true;
}

static int32_t tree_parent(int32_t t)
{
    return (t - 1) / 2;
}

/* New tokens that new token t of a tree sees: itself and those above. */
static int32_t tree_depth(int32_t t)
{
    int32_t depth = 1;

    for (; t > 0; t = tree_parent(t)) {
        depth++;
    }
    return depth;
}

bool bench_spec_sees(const struct bench_spec *spec, int32_t t, int32_t k)
{
    int32_t at = spec->past + t;

    if (spec->mask == MASK_TREE && k >= spec->past) {
        while (t > k - spec->past) {
            t = tree_parent(t);
        }
        return t == k - spec->past;
    }
    return k <= at && (spec->window == 0 || k > at - spec->window) &&
           (spec->chunk == 0 || k / spec->chunk == at / spec->chunk);
}

int32_t bench_spec_mix_tokens(const struct bench_spec *spec, int32_t sequence)
{
    return sequence % 8 == 0 ? spec->tokens : 1;
}

int32_t bench_spec_mix_past(const struct bench_spec *spec, int32_t sequence)
{
    return spec->past * (sequence % 5 + 1) / 5;
}

/* The case of one sequence of a mix, as a layer's. */
static struct bench_spec mix_part(const struct bench_spec *spec, int32_t sequence)
{
    struct bench_spec part = *spec;

    part.kind = BENCH_LAYER;
    part.batch = 1;
    part.tokens = bench_spec_mix_tokens(spec, sequence);
    part.past = bench_spec_mix_past(spec, sequence);
    return part;
}

int64_t bench_spec_tokens(const struct bench_spec *spec)
{
    int64_t tokens = (int64_t)spec->batch * spec->tokens;

    if (spec->kind == BENCH_MIX) {
        tokens = 0;
        for (int32_t s = 0; s < spec->batch; s++) {
            tokens += bench_spec_mix_tokens(spec, s);
        }
    }
    return tokens;
}

int64_t bench_spec_context(const struct bench_spec *spec)
{
    int64_t most = (int64_t)spec->past + spec->tokens;

    if (spec->kind == BENCH_MIX) {
        most = 0;
        for (int32_t s = 0; s < spec->batch; s++) {
            const int64_t own =
                (int64_t)bench_spec_mix_past(spec, s) + bench_spec_mix_tokens(spec, s);
            most = own > most ? own : most;
        }
    }
    return most;
}

double bench_spec_pairs(const struct bench_spec *spec)
{
    double pairs = 0;

    if (spec->kind == BENCH_PAIR) { /* of both layers */
        struct bench_spec one = *spec;

        one.kind = BENCH_ATTENTION;
        pairs = bench_spec_pairs(&one);
        one.window = 0;
        return pairs + bench_spec_pairs(&one);
    }

    for (int32_t t = 0; t < spec->tokens; t++) {
        int32_t at = spec->past + t;
        int32_t seen = spec->mask == MASK_TREE ? spec->past + tree_depth(t) : at + 1;

        if (spec->window > 0 && seen > spec->window) {
            seen = spec->window;
        }
        if (spec->chunk > 0 && seen > at % spec->chunk + 1) {
            seen = at % spec->chunk + 1;
        }
        pairs += seen;
    }
    return pairs * spec->batch;
}

/* Weights of a projection, or of a layer's two. */
static double weights(const struct bench_spec *spec)
{
    if (spec->kind == BENCH_LINEAR) {
        return (double)spec->out * spec->in;
    }
    return (double)spec->hidden * spec->d * (2.0 * spec->hq + 2.0 * spec->hkv);
}

double bench_spec_flop(const struct bench_spec *spec)
{
    double flop = 0;

    if (spec->kind == BENCH_MIX) {
        for (int32_t s = 0; s < spec->batch; s++) {
            const struct bench_spec part = mix_part(spec, s);
            flop += bench_spec_flop(&part);
        }
        return flop;
    }
    if (spec->kind == BENCH_SOFTMAX) {
        return bench_spec_pairs(spec) * spec->hq; /* elements: one exponential each */
    }
    if (spec->kind != BENCH_LINEAR) {
        flop += 4.0 * spec->hq * spec->d * bench_spec_pairs(spec);
    }
    if (spec->kind == BENCH_LINEAR || spec->kind == BENCH_LAYER) {
        flop += 2.0 * weights(spec) * spec->batch * spec->tokens;
    }
    return flop;
}

/* Of a weight, key or value: as the numerics hold it, or as it lies in the caller's memory. */
static double element_bytes(const struct bench_spec *spec)
{
    if (spec->home != HOME_CACHE) {
        return spec->tensors == GQA_F32 ? 4 : 2;
    }
    return spec->numerics == GQA_NUMERICS_BF16 ? 2 : 4;
}

/* A row of K or V: int4 has a scale for 32 elements, the other scaled types one. */
static double row_bytes(const struct bench_spec *spec, int32_t type)
{
    switch (type) {
    case GQA_I8:
    case GQA_E4M3:
    case GQA_E4M3_240:
        return spec->d + 4.0;
    case GQA_I4:
        return spec->d * 0.5 + (spec->d + 31) / 32 * 4.0;
    case GQA_F16:
    case GQA_BF16:
        return spec->d * 2.0;
    default:
        return spec->d * element_bytes(spec);
    }
}

double bench_spec_key_bytes(const struct bench_spec *spec)
{
    return row_bytes(spec, spec->k_type) + row_bytes(spec, spec->v_type);
}

double bench_spec_bytes(const struct bench_spec *spec)
{
    double element = element_bytes(spec);
    double bytes = 0;

    for (int32_t s = 0; s < spec->batch && spec->kind == BENCH_MIX; s++) {
        const struct bench_spec part = mix_part(spec, s);
        bytes += bench_spec_bytes(&part) - (s > 0 ? weights(spec) * element : 0.0);
    }
    if (spec->kind == BENCH_MIX) {
        return bytes;
    }
    if (spec->kind != BENCH_LINEAR) {
        struct bench_spec last = *spec;

        last.past = spec->past + spec->tokens - 1;
        last.tokens = 1;
        bytes += spec->hkv * bench_spec_pairs(&last) * bench_spec_key_bytes(spec);
        bytes -= (double)spec->hkv * spec->shared * (spec->batch - 1) * bench_spec_key_bytes(spec);
    }
    if (spec->kind == BENCH_LINEAR || spec->kind == BENCH_LAYER) {
        bytes += weights(spec) * (spec->int8 ? 1.0 : element);
    }
    return bytes;
}
