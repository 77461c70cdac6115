#!/usr/bin/env bash
# usage: howto.sh SOURCE_DIR SHARED_LIBRARY CC
# include/gqa/gqa.h names every public header, and its five steps compile without a warning and run:
# six tokens and one more through a cache give the bits of seven without one.
. "$(dirname "$0")/lib.sh"
source_dir=$1 library=$2 cc=$3

# The code of the steps: lines indented by six, of the opening comment.
steps() {
    sed -n '/^ \* How to use it/,/^ \*\//p' "$1" | sed -n 's/^ \*      //p'
}

program() {
    cat <<'END'
#include <gqa/gqa.h>
#include <stdio.h>
#include <string.h>
static float wq[64 * 64], wk[32 * 64], wv[32 * 64], wo[64 * 64], x[7 * 64], y[7 * 64], z[7 * 64];
static int seven(const gqa_config *config, const gqa_weights *weights)
{
    gqa_layer *layer = NULL;
    gqa_inputs inputs;
    gqa_output output;
    gqa_inputs_init(&inputs);
    gqa_output_init(&output);
    inputs.hidden_states = gqa_tensor_2d(x, GQA_F32, 7, 64);
    output.hidden_states = gqa_tensor_2d(z, GQA_F32, 7, 64);
    if (gqa_create(&layer, config, weights, NULL, NULL) != GQA_OK ||
        gqa_forward(layer, NULL, &inputs, &output, NULL, 0, NULL) != GQA_OK) {
        return 1;
    }
    gqa_destroy(&layer);
    return memcmp(y, z, sizeof z) != 0 || z[6 * 64] == 0.0f;
}
int main(void)
{
    for (int i = 0; i < 64 * 64; i++) {
        wq[i] = wo[i] = (float)(i % 13 - 6) / 16;
        wk[i % (32 * 64)] = wv[i % (32 * 64)] = x[i % (7 * 64)] = (float)(i % 11 - 5) / 16;
    }
END
    steps "$1"
    cat <<'END'
    return seven(&config, &weights);
failed:
    return puts(err.message), 1;
}
END
}

check() { # GQA_H
    local header bad=0
    for header in "$source_dir"/include/gqa/*.h; do
        header=${header##*/}
        [ "$header" = gqa.h ] || grep -qE "^ \*   $header +[a-zA-Z]" "$1" ||
            { echo "the map of gqa.h does not have $header"; bad=1; }
    done
    program "$1" >"$scratch/howto.c"
    "$cc" -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -I"$source_dir/include" \
        -o "$scratch/howto" "$scratch/howto.c" "$library" -Wl,-rpath,"$(dirname "$library")" ||
        return 1
    "$scratch/howto" || { echo "the five steps fail, or give other bits than one call"; bad=1; }
    return $bad
}

header=$source_dir/include/gqa/gqa.h
sed 's/^ \*   pool\.h.*/ */' "$header" >"$scratch/map.h"
see_it_fail "a header that the map leaves out" "$scratch/map.h"
sed 's/num_key_value_heads = 2/kv_heads = 2/' "$header" >"$scratch/field.h"
see_it_fail "a step with a field that is not there" "$scratch/field.h"
sed '/max_tokens = /d' "$header" >"$scratch/cache.h"
see_it_fail "a step without the cache's size" "$scratch/cache.h"
verdict "$header"
