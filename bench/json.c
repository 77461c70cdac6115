/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - google-benchmark's JSON: one entry per case with its median as real_time, and one per
 * opponent, whose name ends in "/vs:LABEL". cpu_time repeats real_time, which the format wants. */
#include <jansson.h>
#include <string.h>

#include "context.h"
#include "report.h"

static json_t *entry(const char *name, const struct bench_stats *stats, int32_t threads)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", json_string(name));
    json_object_set_new(object, "run_name", json_string(name));
    json_object_set_new(object, "run_type", json_string("iteration"));
    json_object_set_new(object, "repetitions", json_integer(1));
    json_object_set_new(object, "repetition_index", json_integer(0));
    json_object_set_new(object, "threads", json_integer(threads));
    json_object_set_new(object, "iterations", json_integer((json_int_t)stats->count));
    json_object_set_new(object, "real_time", json_real(stats->median * 1e9));
    json_object_set_new(object, "cpu_time", json_real(stats->median * 1e9));
    json_object_set_new(object, "min_time", json_real(stats->min * 1e9));
    json_object_set_new(object, "max_time", json_real(stats->max * 1e9));
    json_object_set_new(object, "p95_time", json_real(stats->p95 * 1e9));
    json_object_set_new(object, "stddev_time", json_real(stats->deviation * 1e9));
    json_object_set_new(object, "time_unit", json_string("ns"));
    return object;
}

static void set_rates(json_t *object, const struct bench_case *one)
{
    double rate = bench_case_rate(one);
    double limit = bench_case_limit_rate(one);
    double median = one->stats.median;
    const char *label;

    json_object_set_new(object, "flop", json_real(one->flop));
    json_object_set_new(object, "bytes", json_real(one->bytes));
    json_object_set_new(object, "GFLOPS", json_real(median > 0 ? one->flop / median / 1e9 : 0));
    json_object_set_new(object, "GBps", json_real(median > 0 ? one->bytes / median / 1e9 : 0));
    if (rate > 0 && limit > 0) {
        json_object_set_new(object, "bound",
                            json_string(one->bound == BOUND_MEMORY ? "memory" : "compute"));
        json_object_set_new(object, "limit", json_real(limit / 1e9));
        json_object_set_new(object, "percent_of_machine", json_real(100 * rate / limit));
    }
    for (int32_t i = 0; (label = bench_case_label(one, i)) != NULL; i++) {
        double seconds = bench_case_opponent(one, label);
        char key[BENCH_LABEL + 8];

        if (seconds > 0 && median > 0) {
            snprintf(key, sizeof key, "ratio_%s", label);
            json_object_set_new(object, key, json_real(seconds / median));
        }
    }
}

static void add_case(json_t *array, const struct bench_case *one)
{
    json_t *object = entry(one->name, &one->stats, one->spec.threads);

    json_object_set_new(object, "suite", json_string(one->suite));
    json_object_set_new(object, "kernels", json_string(one->kernels == NULL ? "" : one->kernels));
    json_object_set_new(object, "tokens", json_integer((json_int_t)bench_spec_tokens(&one->spec)));
    json_object_set_new(object, "context",
                        json_integer((json_int_t)bench_spec_context(&one->spec)));
    json_object_set_new(object, "workspace_bytes", json_integer((json_int_t)one->workspace));
    json_object_set_new(object, "cache_bytes", json_integer((json_int_t)one->caches));
    set_rates(object, one);
    json_array_append_new(array, object);
    for (int32_t i = 0; i < one->opponents; i++) {
        const struct bench_opponent *opponent = &one->opponent[i];
        char name[BENCH_NAME + BENCH_LABEL + 32];

        if (!opponent->out && opponent->stats.count > 0) {
            snprintf(name, sizeof name, "%s/vs:%s:%d", one->name, opponent->label, (int)i);
            object = entry(name, &opponent->stats, opponent->spec.threads);
            json_object_set_new(object, "cache_bytes", json_integer((json_int_t)opponent->caches));
            json_object_set_new(object, "error", json_real(opponent->error));
            json_array_append_new(array, object);
        }
    }
}

/* The baselines that took part: what they are. */
static json_t *peers(const struct bench_runner *runner)
{
    json_t *object = json_object();

    for (int32_t i = 0; i < runner->children; i++) {
        const struct bench_child *child = &runner->child[i];

        if (child->ready) {
            json_object_set_new(object, bench_peer_names[child->peer], json_string(child->about));
        }
    }
    return object;
}

static json_t *describe(const struct bench_runner *runner)
{
    json_t *object = json_object();
    struct bench_context context;

    bench_context_read(&context);
    json_object_set_new(object, "date", json_string(context.date));
    json_object_set_new(object, "executable", json_string("gqa-bench"));
    json_object_set_new(object, "num_cpus", json_integer(context.cpus));
    json_object_set_new(object, "cpu_model", json_string(context.cpu));
    json_object_set_new(object, "governor", json_string(context.governor));
    json_object_set_new(object, "huge_pages", json_string(context.huge_pages));
    json_object_set_new(object, "load_avg",
                        context.load < 0 ? json_array() : json_pack("[f]", context.load));
    json_object_set_new(object, "kernel_sets", json_string(context.kernel_sets));
    json_object_set_new(object, "library_build_type",
#ifdef NDEBUG
                        json_string("release"));
#else
                        json_string("debug"));
#endif
    json_object_set_new(object, "compiler", json_string(context.compiler));
    json_object_set_new(object, "commit", json_string(context.commit));
    json_object_set_new(object, "repetitions", json_integer(runner->options->repetitions));
    json_object_set_new(object, "warmup", json_integer(runner->options->warmup));
    json_object_set_new(object, "peers", peers(runner));
    json_object_set_new(object, "caches", json_array());
    return object;
}

bool bench_write_json(const char *file, const struct bench_cases *cases,
                      const struct bench_runner *runner)
{
    json_t *root = json_object(), *array = json_array();
    bool ok;

    json_object_set_new(root, "context", describe(runner));
    for (int32_t i = 0; i < cases->count; i++) {
        if (cases->at[i].done) {
            add_case(array, &cases->at[i]);
        }
    }
    json_object_set_new(root, "benchmarks", array);
    ok = json_dump_file(root, file, JSON_INDENT(2)) == 0;
    json_decref(root);
    if (!ok) {
        fprintf(stderr, "gqa-bench: cannot write %s\n", file);
    }
    return ok;
}

static void compare_one(const json_t *old, const struct bench_case *one, int *worse)
{
    double median = json_number_value(json_object_get(old, "real_time")) * 1e-9;
    double max = json_number_value(json_object_get(old, "max_time")) * 1e-9;
    bool slower = median > 0 && one->stats.median > max && one->stats.median > 1.1 * median;

    printf("%-44s %12.4g us -> %12.4g us  %+6.1f%%%s\n", one->name, median * 1e6,
           one->stats.median * 1e6, 100 * (one->stats.median / median - 1),
           slower ? "  REGRESSION" : "");
    *worse += slower ? 1 : 0;
}

int bench_compare(const char *file, const struct bench_cases *cases)
{
    json_error_t error;
    json_t *root = json_load_file(file, 0, &error);
    const json_t *array = json_object_get(root, "benchmarks");
    int worse = 0, both = 0;

    if (!json_is_array(array)) {
        fprintf(stderr, "gqa-bench: %s: %s\n", file,
                root == NULL ? error.text : "there is no array benchmarks");
        json_decref(root);
        return -1;
    }
    printf("\ncompared with %s\n", file);
    for (int32_t i = 0; i < cases->count; i++) {
        for (size_t j = 0; j < json_array_size(array) && cases->at[i].done; j++) {
            const json_t *old = json_array_get(array, j);
            const char *name = json_string_value(json_object_get(old, "name"));

            if (name != NULL && strcmp(name, cases->at[i].name) == 0) {
                compare_one(old, &cases->at[i], &worse);
                both++;
                break;
            }
        }
    }
    printf("%d cases in both, %d slower beyond noise\n", both, worse);
    json_decref(root);
    return worse;
}
