/* runtime.c - the defaults of gqa_runtime. It is checked in parallel/runtime.c. */
#include "gqa/runtime.h"

#include "base/import.h"

void gqa_runtime_init_sized(gqa_runtime *runtime, size_t size)
{
    gqa__init_struct(runtime, size);
}
