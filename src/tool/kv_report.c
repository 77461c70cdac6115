/* SPDX-License-Identifier: Apache-2.0 */
/* kv_report.c - see kv_report.h: the text. */
#include "tool/kv_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tool/report.h"

static const char *kv_name(const struct tool_kv_meter *meter, int type)
{
    return meter->choice.type[type]->name;
}

/* "int8/int4". */
static const char *pair_name(const struct tool_kv_meter *meter, const struct tool_kv_pair *pair,
                             char text[48])
{
    snprintf(text, 48, "%s/%s", kv_name(meter, pair->k), kv_name(meter, pair->v));
    return text;
}

/* Nine characters: 0 exactly, 1.2e-03, nan. */
static void print_number(FILE *out, double x)
{
    if (x == 0 || isnan(x)) {
        fprintf(out, " %8s", x == 0 ? "0" : "nan");
    } else {
        fprintf(out, " %8.1e", x);
    }
}

/* Attention, its worst head, the output projection. */
static const char error_columns[] = " attn rms  largest    worst head  out rms  largest";

static void print_errors(FILE *out, const struct tool_case *c, const struct tool_kv_pair *pair)
{
    print_number(out, pair->attn.rms);
    print_number(out, pair->attn.most);
    print_number(out, pair->head[pair->worst].rms);
    fprintf(out, " %4d", pair->worst);
    if (c->block) {
        print_number(out, pair->out.rms);
        print_number(out, pair->out.most);
    } else {
        fprintf(out, " %8s %8s", "-", "-");
    }
}

static void print_title(FILE *out, const struct tool_kv_meter *meter)
{
    const struct tool_case *const c = meter->c;

    fprintf(out, "%s: %d x %d tokens, %d past, %d/%d heads of %d; %s %s\n", c->name, c->batch,
            c->tokens, c->past, c->hq, c->hkv, c->dk, tool_backend_name(meter->path.backend),
            meter->path.kernels);
    fprintf(out,
            "  measured against %s K and V; their scores' sums differ from the layer's by %.0e\n",
            kv_name(meter, 0), meter->gap);
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        if (meter->choice.refused[i].status != GQA_OK) {
            fprintf(out, "  no %s: %s\n", tool_kv_types[i].name, meter->choice.refused[i].message);
        }
    }
}

static void print_keys(FILE *out, const struct tool_kv_meter *meter)
{
    const struct tool_case *const c = meter->c;

    fprintf(out, "\n  K, with V %-6s bytes  KL mean  largest    worst head%s\n", kv_name(meter, 0),
            error_columns);
    for (int i = 0; i < meter->choice.n; i++) {
        const struct tool_kv_scores *const scores = &meter->scores[i];

        fprintf(out, "  %-15s %6lld", kv_name(meter, i),
                (long long)(c->hkv * tool_kv_row_bytes(meter->choice.type[i], c->dk)));
        print_number(out, scores->all.mean);
        print_number(out, scores->all.most);
        print_number(out, scores->head[scores->worst].mean);
        fprintf(out, " %4d", scores->worst);
        print_errors(out, c, tool_kv_pair(meter, i, 0));
        fputc('\n', out);
    }
}

static void print_values(FILE *out, const struct tool_kv_meter *meter)
{
    const struct tool_case *const c = meter->c;

    fprintf(out, "\n  V, with K %-6s bytes%32s%s\n", kv_name(meter, 0), "", error_columns);
    for (int i = 0; i < meter->choice.n; i++) {
        fprintf(out, "  %-15s %6lld%32s", kv_name(meter, i),
                (long long)(c->hkv * tool_kv_row_bytes(meter->choice.type[i], c->dv)), "");
        print_errors(out, c, tool_kv_pair(meter, 0, i));
        fputc('\n', out);
    }
}

/* --- pairs --------------------------------------------------------------------------------------
 */

static const char *const broken_limits[] = {"", "KL mean", "KL of the worst head", "error"};

static int fewer_bytes(const void *a, const void *b)
{
    const struct tool_kv_pair *const x = *(const struct tool_kv_pair *const *)a;
    const struct tool_kv_pair *const y = *(const struct tool_kv_pair *const *)b;

    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : (x > y) - (x < y);
}

static void print_pairs(FILE *out, const struct tool_kv_meter *meter,
                        const struct tool_kv_limits *limits, bool all)
{
    const struct tool_kv_pair *order[TOOL_KV_TYPES * TOOL_KV_TYPES];
    size_t n = 0;

    for (int i = 0; i < meter->choice.n * meter->choice.n; i++) {
        if (all || tool_kv_unbeaten(meter, &meter->pairs[i])) {
            order[n++] = &meter->pairs[i];
        }
    }
    qsort(order, n, sizeof order[0], fewer_bytes);
    fprintf(out, "\n  %-23s bytes  KL mean%s  over a limit\n", all ? "K/V" : "K/V that none beats",
            error_columns);
    for (size_t i = 0; i < n; i++) {
        const enum tool_kv_broken breaks = tool_kv_breaks(meter, order[i], limits);
        char name[48];

        fprintf(out, "  %-22s %6lld", pair_name(meter, order[i], name), (long long)order[i]->bytes);
        print_number(out, meter->scores[order[i]->k].all.mean);
        print_errors(out, meter->c, order[i]);
        fprintf(out, "%s%s\n", breaks != TOOL_KV_KEEPS ? "  " : "", broken_limits[breaks]);
    }
}

static void print_advice(FILE *out, const struct tool_kv_meter *meter,
                         const struct tool_kv_limits *limits)
{
    struct tool_kv_advice advice;
    char name[48];

    tool_kv_advise(meter, limits, &advice);
    fprintf(out, "\n  advice: K/V %s, %lld bytes a token, %.3g of %s: the fewest with",
            pair_name(meter, advice.pair, name), (long long)advice.pair->bytes,
            (double)advice.pair->bytes / (double)meter->pairs[0].bytes, kv_name(meter, 0));
    fprintf(out, " KL mean <= %.3g, of a head <= %.3g, error <= %.3g\n", limits->kl,
            limits->kl_head, limits->error);
    if (advice.pair != &meter->pairs[0]) {
        fprintf(out, "  its weaker one is %s, its worst head %d (KV head %d)\n",
                advice.weak_k ? "K" : "V", advice.pair->worst,
                advice.pair->worst / (meter->c->hq / meter->c->hkv));
    }
    if (advice.smaller != NULL) {
        fprintf(out, "  the next smaller pair, %s with %lld bytes, is over the limit: %s\n",
                pair_name(meter, advice.smaller, name), (long long)advice.smaller->bytes,
                broken_limits[tool_kv_breaks(meter, advice.smaller, limits)]);
    }
}

/* --- every head ---------------------------------------------------------------------------------
 */

enum head_column { KL_MEAN, KL_LARGEST, ERROR_OF_K, ERROR_OF_V, HEAD_COLUMNS };

static double head_number(const struct tool_kv_meter *meter, enum head_column column, int type,
                          int32_t h)
{
    switch (column) {
    case KL_MEAN:
        return meter->scores[type].head[h].mean;
    case KL_LARGEST:
        return meter->scores[type].head[h].most;
    case ERROR_OF_K:
        return tool_kv_pair(meter, type, 0)->head[h].rms;
    default:
        return tool_kv_pair(meter, 0, type)->head[h].rms;
    }
}

static void print_heads(FILE *out, const struct tool_kv_meter *meter)
{
    static const char *const titles[HEAD_COLUMNS] = {"KL mean by K", "largest KL by K",
                                                     "attn rms by K", "attn rms by V"};
    const struct tool_case *const c = meter->c;

    for (int column = 0; column < HEAD_COLUMNS; column++) {
        fprintf(out, "\n  %-21s", titles[column]);
        for (int i = 0; i < meter->choice.n; i++) {
            fprintf(out, " %10s", kv_name(meter, i));
        }
        for (int32_t h = 0; h < c->hq; h++) {
            fprintf(out, "\n  head %4d, KV head %2d ", h, h / (c->hq / c->hkv));
            for (int i = 0; i < meter->choice.n; i++) {
                fputs("  ", out);
                print_number(out, head_number(meter, (enum head_column)column, i, h));
            }
        }
        for (int32_t kv = 0; column <= KL_LARGEST && kv < c->hkv; kv++) {
            fprintf(out, "\n  all of KV head %4d   ", kv);
            for (int i = 0; i < meter->choice.n; i++) {
                fputs("  ", out);
                print_number(out, column == KL_MEAN ? meter->scores[i].kv_head[kv].mean
                                                    : meter->scores[i].kv_head[kv].most);
            }
        }
        fputc('\n', out);
    }
}

void tool_kv_print(FILE *out, const struct tool_kv_meter *meter,
                   const struct tool_kv_limits *limits, const struct tool_kv_shown *shown)
{
    print_title(out, meter);
    print_keys(out, meter);
    print_values(out, meter);
    print_pairs(out, meter, limits, shown->pairs);
    if (shown->heads) {
        print_heads(out, meter);
    }
    print_advice(out, meter, limits);
}

/* --- a table of cases ---------------------------------------------------------------------------
 */

void tool_kv_table_head(FILE *out)
{
    fputs("| case |", out);
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        fprintf(out, " %s |", tool_kv_types[i].name);
    }
    fputs(" advice |\n|---|", out);
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        fputs("---|", out);
    }
    fputs("---|\n", out);
}

static int find_type(const struct tool_kv_meter *meter, const struct tool_kv_type *type)
{
    for (int i = 0; i < meter->choice.n; i++) {
        if (meter->choice.type[i] == type) {
            return i;
        }
    }
    return -1;
}

void tool_kv_table_line(FILE *out, const struct tool_kv_meter *meter,
                        const struct tool_kv_limits *limits)
{
    struct tool_kv_advice advice;
    char name[48];

    fprintf(out, "| %s |", meter->c->name);
    for (int i = 0; i < TOOL_KV_TYPES; i++) {
        const int type = find_type(meter, &tool_kv_types[i]);

        if (type <= 0) {
            fputs(type == 0 ? " 0; 0 |" : " - |", out);
        } else {
            fprintf(out, " %.1e; %.2g %% |", meter->scores[type].all.mean,
                    100 * tool_kv_judged(meter, tool_kv_pair(meter, type, type)));
        }
    }
    tool_kv_advise(meter, limits, &advice);
    fprintf(out, " %s, %.0f %% |\n", pair_name(meter, advice.pair, name),
            100 * (double)advice.pair->bytes / (double)meter->pairs[0].bytes);
}
