/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - gqa-bench: how fast libgqa is, against the machine and against others. */
#include <stdio.h>
#include <string.h>

#include "options.h"
#include "report.h"
#include "run.h"
#include "suites.h"
#include "tool/output.h"

static int finish(const struct bench_runner *runner, const struct bench_cases *cases)
{
    const struct bench_options *options = runner->options;
    int worse = 0;
    bool ok = true;

    if (options->json != NULL) {
        ok = bench_write_json(options->json, cases, runner) && ok;
    }
    if (options->csv != NULL) {
        ok = bench_write_csv(options->csv, cases) && ok;
    }
    if (options->compare != NULL) {
        worse = bench_compare(options->compare, cases);
    }
    return worse < 0 || !ok ? 2 : worse > 0 ? 1 : 0;
}

static void run_all(struct bench_runner *runner, struct bench_cases *cases)
{
    const struct bench_options *options = runner->options;

    runner->of = cases->count;
    bench_report_head(options);
    for (int32_t i = 0; i < cases->count; i++) {
        struct bench_case *one = &cases->at[i];

        runner->at = i;
        bench_run(runner, one);
        bench_report_case(one, i == 0 || strcmp(one[-1].suite, one->suite) != 0);
        if (options->json != NULL) {
            bench_write_json(options->json, cases,
                             runner); /* an interrupted run keeps what it has */
        }
    }
    bench_report_tail(runner);
    bench_runner_end(runner);
}

static int bench(int argc, char **argv)
{
    static struct bench_runner runner;
    struct bench_options options;
    struct bench_cases cases = {0};
    int status = 2;

    if (!bench_options_parse(&options, argc, argv)) {
        return 2;
    }
    if (options.help) {
        fputs(bench_manual_main, stdout);
        return 0;
    }
    if (options.child != NULL) {
        return bench_serve(&options);
    }
    if (!bench_suites_make(&cases, &options)) {
        bench_cases_free(&cases);
        return 2;
    }
    if (options.list) {
        for (int32_t i = 0; i < cases.count; i++) {
            puts(cases.at[i].name);
        }
        status = 0;
    } else if (cases.count == 0) {
        fprintf(stderr, "gqa-bench: no case of that name; --list shows them\n");
    } else {
        runner.options = &options;
        run_all(&runner, &cases);
        status = finish(&runner, &cases);
    }
    bench_cases_free(&cases);
    return status;
}

int main(int argc, char **argv)
{
    tool_output_open();
    return tool_output_close("gqa-bench", bench(argc, argv), 2);
}
