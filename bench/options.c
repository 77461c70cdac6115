/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#define _POSIX_C_SOURCE 200809L
#include "options.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "gqa/gqa.h"
#include "workers.h"

enum option_kind { TEXT, INTEGER, SECONDS, ISA, BACKEND, NUMERICS, FLAG };

struct option {
    const char *name;
    enum option_kind kind;
    void *value;
    int32_t low, high;
};

static bool parse_name(const struct option *option, const char *text)
{
    if (option->kind == ISA) {
        for (int isa = GQA_ISA_AUTO; isa <= GQA_ISA_NEON; isa++) {
            if (strcmp(text, gqa_isa_name((gqa_isa)isa)) == 0) {
                *(gqa_isa *)option->value = (gqa_isa)isa;
                return true;
            }
        }
    } else if (option->kind == BACKEND) {
        bool reference = strcmp(text, "reference") == 0;

        *(gqa_backend *)option->value = reference ? GQA_BACKEND_REFERENCE : GQA_BACKEND_CPU;
        return reference || strcmp(text, "cpu") == 0;
    } else if (option->kind == NUMERICS) {
        bool bf16 = strcmp(text, "bf16") == 0;

        *(int32_t *)option->value = bf16 ? GQA_NUMERICS_BF16 : GQA_NUMERICS_F32;
        return bf16 || strcmp(text, "f32") == 0;
    }
    return false;
}

static bool parse_value(const struct option *option, const char *text)
{
    char *end = NULL;

    if (option->kind == TEXT) {
        *(const char **)option->value = text;
        return true;
    }
    if (option->kind == INTEGER) {
        long n = strtol(text, &end, 10);

        *(int32_t *)option->value = (int32_t)n;
        return end != text && *end == '\0' && n >= option->low && n <= option->high;
    }
    if (option->kind == SECONDS) {
        double x = strtod(text, &end);

        *(double *)option->value = x;
        return end != text && *end == '\0' && x >= 0;
    }
    return parse_name(option, text);
}

/* *isa_named: --isa is among them. */
static bool read_words(struct bench_options *o, int argc, char **argv, bool *isa_named)
{
    const struct option all[] = {
        {"--suite", TEXT, &o->suite, 0, 0},
        {"--filter", TEXT, &o->filter, 0, 0},
        {"--peers", TEXT, &o->peers, 0, 0},
        {"--threads", INTEGER, &o->threads, 1, BENCH_MAX_THREADS},
        {"--isa", ISA, &o->isa, 0, 0},
        {"--max-isa", ISA, &o->max_isa, 0, 0},
        {"--backend", BACKEND, &o->backend, 0, 0},
        {"--numerics", NUMERICS, &o->numerics, 0, 0},
        {"--repetitions", INTEGER, &o->repetitions, 1, 100000},
        {"--warmup", INTEGER, &o->warmup, 0, 100000},
        {"--seconds", SECONDS, &o->seconds, 0, 0},
        {"--json", TEXT, &o->json, 0, 0},
        {"--csv", TEXT, &o->csv, 0, 0},
        {"--compare", TEXT, &o->compare, 0, 0},
        {"--onnxruntime", TEXT, &o->onnxruntime, 0, 0},
        {"--ggml", TEXT, &o->ggml, 0, 0},
        {"--child", TEXT, &o->child, 0, 0},
        {"--list", FLAG, &o->list, 0, 0},
        {"--help", FLAG, &o->help, 0, 0},
    };
    const size_t count = sizeof all / sizeof all[0];

    for (int i = 1; i < argc; i++) {
        size_t at = 0;

        while (at < count && strcmp(all[at].name, argv[i]) != 0) {
            at++;
        }
        if (at < count && all[at].kind == FLAG) {
            *(bool *)all[at].value = true;
        } else if (at == count) {
            fprintf(stderr, "gqa-bench: unknown option %s\ngqa-bench: see gqa-bench --help\n",
                    argv[i]);
            return false;
        } else if (i + 1 == argc || !parse_value(&all[at], argv[i + 1])) {
            fprintf(stderr, "gqa-bench: bad value for %s: %s\n", argv[i],
                    i + 1 == argc ? "none" : argv[i + 1]);
            return false;
        } else {
            *isa_named = *isa_named || all[at].value == &o->isa;
            i++;
        }
    }
    return true;
}

bool bench_options_parse(struct bench_options *o, int argc, char **argv)
{
    gqa_error err;
    bool isa_named = false;

    memset(o, 0, sizeof *o);
    o->threads = 1;
    o->numerics = -1;
    o->repetitions = 9;
    o->seconds = 60;
    if (!read_words(o, argc, argv, &isa_named)) {
        return false;
    }
    if (!isa_named && gqa_isa_from_environment(&o->isa, &err) != GQA_OK) {
        fprintf(stderr, "gqa-bench: %s\n", err.message);
        return false;
    }
    if (o->isa != GQA_ISA_AUTO && !gqa__isa_within(o->isa, o->max_isa)) {
        fprintf(stderr, "gqa-bench: isa %s is above max-isa %s\n", gqa_isa_name(o->isa),
                gqa_isa_name(o->max_isa));
        return false;
    }
    return true;
}

bool bench_listed(const char *list, const char *name)
{
    size_t length;

    if (list == NULL) {
        return true;
    }
    for (; *list != '\0'; list += length + (list[length] == ',')) {
        length = strcspn(list, ",");
        if (strlen(name) == length && strncmp(list, name, length) == 0) {
            return true;
        }
    }
    return false;
}

bool bench_filter(const char *filter, const char *name)
{
    if (filter == NULL) {
        return true;
    }
    if (strpbrk(filter, "*?") != NULL) {
        return fnmatch(filter, name, 0) == 0;
    }
    return strstr(name, filter) != NULL;
}
