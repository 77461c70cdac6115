/* vector_stage.h - the element-wise passes: scalar_stage.h as the compiler vectorises it. */
#ifndef GQA__VECTOR_STAGE_H
#define GQA__VECTOR_STAGE_H

#include "kernel/scalar_stage.h"

#endif
