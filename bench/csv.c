/* SPDX-License-Identifier: Apache-2.0 */
/* csv.c - the table as comma-separated values: a line per case and one per opponent of it. */
#include "report.h"

static void line(FILE *file, const char *name, const char *against, const struct bench_stats *s)
{
    fprintf(file, "%s,%s,%zu,%.9g,%.9g,%.9g,%.9g,%.9g", name, against, s->count, s->median, s->min,
            s->max, s->p95, s->deviation);
}

bool bench_write_csv(const char *path, const struct bench_cases *cases)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL;

    if (ok) {
        fprintf(
            file,
            "name,opponent,calls,median_s,min_s,max_s,p95_s,deviation_s,flop,bytes,rate,percent\n");
    }
    for (int32_t i = 0; i < cases->count && ok; i++) {
        const struct bench_case *one = &cases->at[i];
        double limit = bench_case_limit_rate(one);

        if (!one->done) {
            continue;
        }
        line(file, one->name, "", &one->stats);
        fprintf(file, ",%.9g,%.9g,%.9g,%.4g\n", one->flop, one->bytes, bench_case_rate(one),
                limit > 0 ? 100 * bench_case_rate(one) / limit : 0);
        for (int32_t j = 0; j < one->opponents; j++) {
            if (!one->opponent[j].out) {
                line(file, one->name, one->opponent[j].label, &one->opponent[j].stats);
                fprintf(file, ",,,,\n");
            }
        }
    }
    ok = ok && ferror(file) == 0;
    ok = file != NULL && fclose(file) == 0 && ok;
    if (!ok) {
        fprintf(stderr, "gqa-bench: cannot write %s\n", path);
    }
    return ok;
}
