/* quantise.c - see quantise.h. */
#include "linear/quantise.h"

#include <math.h>

#include "base/guard.h"

/* Added and taken away, it rounds what is below 2^22 in size to the nearest integer. */
#define ROUNDER 12582912.0f

bool gqa__quantise(int8_t *q, float *scale, const float *w, int64_t n)
{
    float most = 0.0f, step;

    for (int64_t i = 0; i < n; i++) {
        const float size = fabsf(w[i]);
        if (!(size < INFINITY)) {
            return false;
        }
        most = size > most ? size : most;
    }
    step = most / 127.0f;
    for (int64_t i = 0; i < n; i++) {
        const float ratio = step > 0.0f ? w[i] / step : 0.0f;
        const float kept = ratio > 127.0f ? 127.0f : ratio < -127.0f ? -127.0f : ratio;
        q[i] = (int8_t)((kept + ROUNDER) - ROUNDER);
    }
    *scale = step;
    return true;
}
